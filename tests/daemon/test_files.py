"""Files to and from a real daemon: whole or not at all, whoever is killed, and in a memory that stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.mcp import v1 as wire
from tests.support.waiting import until

from .conftest import Daemon, copy_daemon, serving

AGENT = "/mcp.v1.AgentService/"
CALL_S = 60.0
CHUNK = 256 * 1024
MIB = 1024 * 1024
# By hand: 1024.
BIG_MIB = int(os.environ.get("MCP_FILE_MIB", "64"))
KILL_ROUNDS = int(os.environ.get("MCP_KILL_ROUNDS", "6"))
# What a transfer may take: a window of HTTP/2, what is received ahead, and what OpenSSL and the allocator add.
FLAT_BYTES = 32 * MIB

Part = wire.PushFileRequest
Metadata = tuple[tuple[str, str], ...]


class Client:
    """An admin with a gRPC client of another make."""

    def __init__(self, daemon: Daemon, channel: grpc.Channel) -> None:
        self.daemon = daemon
        self.root = daemon.folder / "srv"
        self.web = self.root / "web"
        self._channel = channel

    def _options(self) -> dict[str, Any]:
        return {"metadata": self.daemon.bearer(), "timeout": CALL_S}

    def start_push(self, parts: Iterable[Part], metadata: Metadata = ()) -> Any:
        push = self._channel.stream_unary(AGENT + "PushFile", bytes, wire.PushFileResponse.FromString)
        return push.future(iter(parts), metadata=metadata or self.daemon.bearer(), timeout=CALL_S)

    def push(self, path: str, content: bytes, **header: Any) -> wire.PushFileResponse:
        answer: wire.PushFileResponse = self.start_push(parts_of(path, content, **header)).result()
        return answer

    def pull(self, path: str, service: str = "web") -> Iterator[wire.PullFileResponse]:
        pull = self._channel.unary_stream(AGENT + "PullFile", bytes, wire.PullFileResponse.FromString)
        answers: Iterator[wire.PullFileResponse] = pull(
            wire.PullFileRequest(service=service, path=path), **self._options()
        )
        return answers

    def list(self, path: str = "", service: str = "web", **more: Any) -> wire.ListFilesResponse:
        ask = self._channel.unary_unary(AGENT + "ListFiles", bytes, wire.ListFilesResponse.FromString)
        answer: wire.ListFilesResponse = ask(
            wire.ListFilesRequest(service=service, path=path, **more), **self._options()
        )
        return answer

    def digest(self, path: str, service: str = "web") -> wire.DigestFileResponse:
        ask = self._channel.unary_unary(AGENT + "DigestFile", bytes, wire.DigestFileResponse.FromString)
        answer: wire.DigestFileResponse = ask(wire.DigestFileRequest(service=service, path=path), **self._options())
        return answer


def parts_of(path: str, content: bytes, service: str = "web", **header: Any) -> Iterator[Part]:
    yield Part(header=wire.FileHeader(service=service, path=path, size=len(content), **header))
    yield from chunks_of(content)
    yield Part(sha256=hashlib.sha256(content).digest())


def chunks_of(content: bytes) -> Iterator[Part]:
    for start in range(0, len(content), CHUNK):
        yield Part(chunk=content[start : start + CHUNK])


@pytest.fixture(scope="module")
def shared(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for all tests that neither end it nor read its log."""
    made = copy_daemon(template, tmp_path_factory.mktemp("files") / "node")
    set_up(made)
    with serving(made):
        yield made


@pytest.fixture
def client(shared: Daemon) -> Iterator[Client]:
    (shared.folder / "srv/web").mkdir()
    with asking(shared) as found:
        yield found
    for path in (shared.folder / "srv").iterdir():
        shutil.rmtree(path)


@pytest.fixture
def own_client(node: Daemon) -> Iterator[Client]:
    """With a daemon of its own."""
    set_up(node)
    (node.folder / "srv/web").mkdir()
    node.start()
    with asking(node) as found:
        yield found


@contextlib.contextmanager
def asking(node: Daemon) -> Iterator[Client]:
    with node.channel() as channel:
        yield Client(node, channel)
    assert "Traceback" not in node.log
    assert "call crashed" not in node.log


def set_up(node: Daemon) -> None:
    (node.folder / "srv").mkdir()
    (node.folder / "outside").mkdir()
    (node.folder / "outside/canary").write_text("secret")
    node.edit('root = "/srv"', 'root = "srv"')


def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        list(call())
    return raised.value.code(), raised.value.details()


def listing(folder: Path) -> dict[str, bytes]:
    while True:
        # What is being taken back may go while it is looked at.
        with contextlib.suppress(FileNotFoundError):
            return {str(path): b"" if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def peak(daemon: Daemon) -> int:
    """The most memory that the daemon has had resident so far, in bytes."""
    assert daemon.process
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024


# ------------------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * MIB + 17])
def test_what_is_pushed_is_what_is_there_and_what_is_pulled(client: Client, size: int) -> None:
    content = os.urandom(size)
    answer = client.push("certs/new.pem", content, mode=0o600)
    assert (answer.path, answer.size, answer.sha256) == ("certs/new.pem", size, hashlib.sha256(content).digest())
    assert (client.web / "certs/new.pem").read_bytes() == content
    header, *chunks, last = client.pull("certs/new.pem")
    assert b"".join(each.chunk for each in chunks) == content
    assert last.sha256 == answer.sha256
    assert (header.header.size, header.header.mode, header.header.path) == (size, 0o600, "certs/new.pem")
    assert header.header.owner == "0:0" if os.geteuid() == 0 else header.header.owner
    digest = client.digest("certs/new.pem")
    assert (digest.size, digest.mode, digest.sha256) == (size, 0o600, answer.sha256)
    (info,) = client.list("certs").files
    assert (info.name, info.kind, info.size, info.mode) == ("new.pem", "file", size, 0o600)
    assert info.modified_at == digest.modified_at


def test_a_folder_is_made_with_its_mode(client: Client) -> None:
    header = wire.FileHeader(service="web", path="data/", mode=0o700, is_folder=True)
    client.start_push([Part(header=header)]).result()
    assert (client.web / "data").stat().st_mode & 0o777 == 0o700


def test_a_listing_comes_in_pages(client: Client) -> None:
    for number in range(1005):
        (client.web / f"{number:04}").touch()
    first = client.list(limit=5000)
    second = client.list(after=first.files[-1].name)
    assert (len(first.files), first.more, len(second.files), second.more) == (1000, True, 5, False)


def test_the_audit_says_which_file(client: Client) -> None:
    client.push("certs/new.pem", b"secret content")
    list(client.pull("certs/new.pem"))

    def targets() -> dict[str, str]:
        ran = client.daemon.mcpctl("audit", "--output", "json")
        return {each["method"]: each["target"] for each in json.loads(ran.stdout)}

    # Written a moment after the answer.
    until(lambda: {"PushFile": "web/certs/new.pem", "PullFile": "web/certs/new.pem"}.items() <= targets().items())
    assert "secret content" not in client.daemon.log


# ------------------------------------------------------------------------------------------------ refusals

HEADER = Part(header=wire.FileHeader(service="web", path="new/file", size=3))
DIGEST = Part(sha256=hashlib.sha256(b"abc").digest())
ABC = Part(chunk=b"abc")
FOLDER = Part(header=wire.FileHeader(service="web", path="new", is_folder=True))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "begins with a header"),
        ([Part()], "begins with a header"),
        ([ABC, HEADER], "begins with a header"),
        ([DIGEST], "begins with a header"),
        ([HEADER], "ended without its SHA-256"),
        ([HEADER, ABC], "ended without its SHA-256"),
        ([HEADER, HEADER], "the header of a push is followed by chunks"),
        ([HEADER, ABC, HEADER, DIGEST], "the header of a push is followed by chunks"),
        ([HEADER, Part(), ABC, DIGEST], "the header of a push is followed by chunks"),
        ([HEADER, ABC, DIGEST, ABC], "data follows the SHA-256"),
        ([HEADER, ABC, DIGEST, DIGEST], "data follows the SHA-256"),
        ([HEADER, DIGEST], "ended after 0 of the 3 bytes"),
        ([HEADER, ABC, ABC, DIGEST], "more than the 3 bytes"),
        ([HEADER, Part(chunk=b"abd"), DIGEST], "SHA-256 differs"),
        ([FOLDER, ABC], "nothing may follow the header of a folder"),
        ([Part(header=wire.FileHeader(service="web", path="new", mode=0o4755))], "permission bits"),
        ([Part(header=wire.FileHeader(service="web", path="new", owner="root"))], "UID:GID in numbers"),
    ],
)
def test_a_push_in_another_order_changes_nothing(client: Client, parts: list[Part], says: str) -> None:
    status, sentence = refusal(lambda: client.start_push(parts).result())
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert says in sentence
    assert listing(client.root) == {str(client.web): b""}


def test_what_is_no_message_changes_nothing(client: Client) -> None:
    push = client._channel.stream_unary(AGENT + "PushFile")
    sent = iter([bytes(HEADER), b"\xff" * 11])
    status, sentence = refusal(lambda: push(sent, metadata=client.daemon.bearer(), timeout=CALL_S))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a message" in sentence
    assert listing(client.root) == {str(client.web): b""}


def test_a_file_above_the_limit_is_refused_at_its_header(client: Client) -> None:
    header = Part(header=wire.FileHeader(service="web", path="new", size=2**30 + 1))
    status, sentence = refusal(lambda: client.start_push([header]).result())
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "files.max_size" in sentence


@pytest.mark.parametrize("rpc", ["push", "pull", "list", "digest"])
def test_nothing_outside_is_reached(client: Client, rpc: str) -> None:
    (client.web / "folder").symlink_to(client.daemon.folder / "outside")
    (client.web / "link").symlink_to("../../outside/canary")
    actions: dict[str, Any] = {
        "push": lambda path, service: client.push(path, b"abc", service=service),
        "pull": client.pull,
        "list": client.list,
        "digest": client.digest,
    }
    paths = [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "a\0b",
        "a\nb",
        "x" * 5000,
        "folder/canary",
        "folder/new",
        "link",
    ]
    before = listing(client.daemon.folder / "srv") | listing(client.daemon.folder / "outside")
    for path in paths:
        status, _ = refusal(lambda path=path: actions[rpc](path, "web"))
        links = path.startswith(("folder", "link"))
        assert status is (grpc.StatusCode.FAILED_PRECONDITION if links else grpc.StatusCode.INVALID_ARGUMENT), path
    for service in ("..", "", "a/b", "/etc", "A", "."):
        status, _ = refusal(lambda service=service: actions[rpc]("canary", service))
        assert status is grpc.StatusCode.INVALID_ARGUMENT, service
    assert listing(client.daemon.folder / "srv") | listing(client.daemon.folder / "outside") == before


@pytest.mark.parametrize("rpc", ["pull", "list", "digest"])
def test_what_is_not_there_is_not_found(client: Client, rpc: str) -> None:
    for path, service in (("nothing", "web"), ("file", "nobody")):
        status, sentence = refusal(lambda path=path, service=service: getattr(client, rpc)(path, service))
        assert status is grpc.StatusCode.NOT_FOUND
        assert service in sentence


# ------------------------------------------------------------------------------------------------ cut off


class Held:
    """A push whose sender waits after its first chunk until it is told to go on."""

    def __init__(self, content: bytes, path: str = "file") -> None:
        self.content = content
        self.path = path
        self.go_on = threading.Event()

    def parts(self) -> Iterator[Part]:
        header, first, *rest = parts_of(self.path, self.content)
        yield header
        yield first
        self.go_on.wait(CALL_S)
        yield from rest


def test_a_client_that_cancels_leaves_nothing(own_client: Client) -> None:
    held = Held(os.urandom(2 * MIB), "new/folder/file")
    call = own_client.start_push(held.parts())
    until(lambda: (own_client.web / "new/folder").exists(), "the push has begun")
    call.cancel()
    held.go_on.set()
    until(lambda: listing(own_client.root) == {str(own_client.web): b""}, "everything is taken back")
    until(lambda: '"PushFile"' in own_client.daemon.log or "CANCELLED" in own_client.daemon.log)


def test_a_push_whose_token_is_revoked_is_cut_off_and_leaves_nothing(client: Client) -> None:
    made = client.daemon.mcpd("token", "add", "pusher", "--role", "admin")
    assert made.returncode == 0, made.stderr
    held = Held(os.urandom(2 * MIB), "new/folder/file")
    call = client.start_push(held.parts(), client.daemon.bearer(made.stdout.strip()))
    until(lambda: (client.web / "new/folder").exists(), "the push has begun")
    assert client.daemon.mcpd("token", "revoke", "pusher").returncode == 0
    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    held.go_on.set()
    until(lambda: listing(client.root) == {str(client.web): b""}, "everything is taken back")


# Pushes the same file over and over, as fast as it can.
_PUSHER = """
import itertools, sys, grpc
from pathlib import Path
from tests.daemon.test_files import AGENT, parts_of
address, folder, *contents = sys.argv[1:]
token = Path(folder, "admin.token").read_text().strip()
credentials = grpc.ssl_channel_credentials(Path(folder, "certs/ca.pem").read_bytes())
with grpc.secure_channel(address, credentials) as channel:
    push = channel.stream_unary(AGENT + "PushFile", bytes)
    for each in itertools.cycle(contents):
        push(parts_of("file", Path(each).read_bytes()), metadata=(("authorization", "Bearer " + token),))
        print("pushed", flush=True)
"""


@contextlib.contextmanager
def pushing(client: Client, contents: list[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that pushes each of ``contents`` in turn, without end."""
    paths = [client.daemon.folder / f"content-{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    argv = [sys.executable, "-c", _PUSHER, client.daemon.address, str(client.daemon.folder), *map(str, paths)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"pushed\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("killed", ["mcpd", "client"])
def test_a_kill_in_the_middle_of_pushes_leaves_one_whole_file(own_client: Client, killed: str) -> None:
    contents = [os.urandom(4 * MIB), os.urandom(3 * MIB + 5)]
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    for number in range(KILL_ROUNDS):
        with pushing(own_client, contents) as process:
            # Some pushes later, and then somewhere in one.
            assert process.stdout
            for _ in range(chance.randrange(3)):
                process.stdout.readline()
            threading.Event().wait(chance.random() * 0.1)
            if killed == "mcpd":
                assert own_client.daemon.process
                own_client.daemon.signal(signal.SIGKILL)
                own_client.daemon.process.wait()
            else:
                process.kill()
                process.wait()
        where = f"round {number} of seed {seed}"
        assert (own_client.web / "file").read_bytes() in contents, where
        if killed == "mcpd":
            own_client.daemon.start()
        with own_client.daemon.channel() as channel:
            Client(own_client.daemon, channel).push("file", contents[0])
        until(lambda: [each.name for each in own_client.web.iterdir()] == ["file"], f"nothing is left after {where}")


# ------------------------------------------------------------------------------------------------ memory


def test_a_big_file_takes_no_memory(own_client: Client) -> None:
    own_client.daemon.edit('max_size = "1GiB"', 'max_size = "8GiB"')
    own_client.daemon.stop()
    own_client.daemon.start()
    piece = os.urandom(CHUNK)
    pieces = BIG_MIB * MIB // CHUNK
    summed = hashlib.sha256()
    for _ in range(pieces):
        summed.update(piece)

    def parts() -> Iterator[Part]:
        yield Part(header=wire.FileHeader(service="web", path="big", size=pieces * CHUNK))
        for _ in range(pieces):
            yield Part(chunk=piece)
        yield Part(sha256=summed.digest())

    own_client.push("small", piece)
    list(own_client.pull("small"))
    before = peak(own_client.daemon)
    assert own_client.start_push(parts()).result().sha256 == summed.digest()
    assert peak(own_client.daemon) - before < FLAT_BYTES
    answers = own_client.pull("big")
    assert next(answers).header.size == pieces * CHUNK
    # A reader that is slow: others are answered meanwhile, and what it has not asked for is not read for it.
    for _ in range(20):
        assert len(own_client.list().files) == 2
    pulled = hashlib.sha256()
    last = b""
    for each in answers:
        last = each.sha256 or b"" if not each.is_set("chunk") else b""
        if each.is_set("chunk"):
            pulled.update(each.chunk)
    assert last == pulled.digest() == summed.digest()
    assert own_client.digest("big").sha256 == summed.digest()
    assert peak(own_client.daemon) - before < FLAT_BYTES
