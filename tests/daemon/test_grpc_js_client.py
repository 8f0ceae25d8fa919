"""The gRPC client of Node.js talks to the daemon: it reads the contract itself, and shares no code with the others."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mcpd.identity import tokens
from mcpd.model import Role
from tests.support.waiting import DEADLINE_S, until

from .conftest import NODE, Daemon, copy_daemon, serving

HERE = Path(__file__).parent / "grpc_js"
# By the hash of the lock: packages of another lock are beside these.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp"
# npm fetches them once.
INSTALL_S = 300.0
CALL_MS = 20_000
# For what would not end otherwise: the call reaches the daemon in a fraction of it.
SHORT_MS = 1_000
MIB = 2**20
CHUNK = 256 * 1024
MOST_MESSAGE_BYTES = 4 * MIB

# What the daemon refuses, once it has read all of it.
ELSEWHERE = {"name": "web", "node": "n2", "components": [{"name": "a", "image": "a"}]}


class Ended(NamedTuple):
    """How a call ended."""

    status: str
    details: str
    messages: list[dict[str, Any]]

    @property
    def message(self) -> dict[str, Any]:
        """Of a call that succeeded, and has one answer."""
        assert self.status == "OK", self.details
        (message,) = self.messages
        return message


class Client(NamedTuple):
    """A process of Node.js with one connection to the daemon."""

    daemon: Daemon
    process: subprocess.Popen[str]

    def call(self, rpc: str, *requests: Mapping[str, Any], **more: Any) -> Ended:
        (ended,) = self.call_all([self.asked(rpc, *requests, **more)])
        return ended

    def asked(self, rpc: str, *requests: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """A call of the admin's for `call_all`; `client.js` says what it may say ``more``."""
        return {
            "rpc": rpc,
            "requests": requests or ({},),
            "metadata": dict(self.daemon.bearer()),
            "deadline_ms": CALL_MS,
            **more,
        }

    def call_all(self, calls: list[dict[str, Any]]) -> list[Ended]:
        """Makes them at once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with ThreadPoolExecutor(1) as reader:
            line = reader.submit(self.process.stdout.readline)
            print(json.dumps(calls), file=self.process.stdin, flush=True)
            answers = line.result(2 * DEADLINE_S)
        assert answers, "node has ended; see its output"
        return [Ended(**each) for each in json.loads(answers)]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder with the packages that the lock pins, in the cache, where npm puts them once."""
    if missing := [each for each in ("node", "npm") if not shutil.which(each)]:
        pytest.skip(f"there is no {' and no '.join(missing)} here; contrib/test installs them")
    pins = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]
    folder = CACHE / f"grpc-js-{hashlib.sha256(b''.join(each.read_bytes() for each in pins)).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for each in pins:
                shutil.copy(each, folder)
            ran = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
            )
            assert ran.returncode == 0, ran.stderr
            (folder / "complete").touch()
    return folder / "node_modules"


@contextmanager
def running(packages: Path, daemon: Daemon, errors: Path) -> Iterator[Client]:
    """``errors``: the file for what Node.js complains of, which is nothing."""
    # It finds it worth a warning that TLS is told an IP address as the server's name.
    command = ["node", "--no-deprecation", HERE / "client.js", daemon.address, daemon.ca, files("protos")]
    with errors.open("w") as written:
        process = subprocess.Popen(
            [str(each) for each in command],
            env={**os.environ, "NODE_PATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    with process:
        try:
            yield Client(daemon, process)
        finally:
            process.kill()
    assert errors.read_text() == ""


@pytest.fixture(scope="module")
def client(packages: Path, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """For the tests that only read."""
    with running(packages, daemon, tmp_path_factory.mktemp("grpc_js") / "errors") as made:
        yield made


@pytest.fixture(scope="module")
def own(packages: Path, template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """For the tests that write, with an empty registry and a folder for the files of `web`."""
    node = copy_daemon(template, tmp_path_factory.mktemp("grpc_js") / "node")
    (node.folder / "srv/web").mkdir(parents=True)
    node.edit('root = "/srv"', 'root = "srv"')
    with serving(node), running(packages, node, node.folder / "errors") as made:
        yield made
    assert "Traceback" not in node.log


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def parts_of(path: str, content: bytes) -> list[dict[str, Any]]:
    """What PushFile is sent."""
    chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    return [
        {"header": {"service": "web", "path": path, "size": len(content), "mode": 0o640}},
        *({"chunk": base64_of(each)} for each in chunks),
        {"sha256": base64_of(hashlib.sha256(content).digest())},
    ]


# ------------------------------------------------------------------------------------------------ answers


def test_it_reads_what_mcpctl_reads(client: Client) -> None:
    listed = client.call("ListServices").message
    ran = client.daemon.mcpctl("list", "--output", "json")
    assert ran.returncode == 0, ran.stderr
    assert listed["node"] == NODE
    assert [
        (service["name"], service["active"], int(service["revision"]), each["container"], each["image"], each["drift"])
        for service in listed["services"]
        for each in service["components"]
    ] == [
        (service["name"], service["active"], service["revision"], each["container"], each["image"], each["drift"])
        for service in json.loads(ran.stdout)
        for each in service["components"]
    ]
    api, _ = listed["services"][1]["components"]
    assert (api["desired"], api["observed"]) == ("DESIRED_STATE_RUNNING", "OBSERVED_STATE_EXITED")
    assert api["ports"] == ["127.0.0.1:8080:80"]
    assert api["finished_at"] is None
    assert "exit_code" not in api
    assert listed["services"][1]["updated_at"] == {"seconds": "1772366400", "nanos": 0}


def test_every_token_is_who_it_is_on_one_connection(client: Client) -> None:
    viewer = tokens.add(client.daemon.folder / "tokens.json", "reader", Role.VIEWER, datetime.now(UTC))
    known = client.asked("WhoAmI")
    other = client.asked("WhoAmI", metadata=dict(client.daemon.bearer(viewer)))
    strange = client.asked("WhoAmI", metadata=dict(client.daemon.bearer(tokens.PREFIX + "x" * 43)))
    nobody = client.asked("WhoAmI", metadata={})
    admin, reader, *refused = client.call_all([known, other, strange, nobody])
    assert (admin.message["name"], admin.message["role"]) == ("admin", "admin")
    assert (reader.message["name"], reader.message["role"]) == ("reader", "viewer")
    assert [each.status for each in refused] == ["UNAUTHENTICATED"] * 2
    assert "authorization" in refused[1].details
    assert client.call("StopService", {"service": "web"}, metadata=other["metadata"]).status == "PERMISSION_DENIED"
    # Also where the client has more to say, or to hear.
    for rpc, *requests in (("WatchEvents", {}), ("PushFile", *parts_of("a", bytes(8 * MIB)))):
        ended = client.call(rpc, *requests, metadata=strange["metadata"])
        assert (ended.status, ended.messages) == ("UNAUTHENTICATED", [])


def test_metadata_that_the_daemon_does_not_know_changes_nothing(client: Client) -> None:
    strange = {"x-request-id": "7", "x-trace-bin": "\0\x01é", "user-agent": "mine", "x-long": "y" * 8_000}
    ended = client.call("WhoAmI", metadata={**dict(client.daemon.bearer()), **strange})
    assert ended.message["name"] == "admin"


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("rpc", "request_", "status", "sentence"),
    [
        ("GetStatus", {"service": "nobody"}, "NOT_FOUND", "no service nobody"),
        ("StopService", {}, "INVALID_ARGUMENT", "service"),
        ("LiveCheck", {}, "UNAVAILABLE", "podman does not answer"),
        ("Deploy", {"service": ELSEWHERE}, "INVALID_ARGUMENT", "n2"),
        ("Deploy", {"service": {"name": "w\n%41 ☃", "node": NODE}}, "INVALID_ARGUMENT", r"'w\n%41 ☃'"),
    ],
)
def test_a_refusal_has_its_status_and_its_sentence(
    client: Client, rpc: str, request_: dict[str, Any], status: str, sentence: str
) -> None:
    ended = client.call(rpc, request_)
    assert ended.status == status
    assert sentence in ended.details


def test_a_sentence_of_several_lines_arrives_as_it_is(client: Client) -> None:
    components = [{"name": "a", "image": "a b"}, {"name": "a", "image": "ok", "restart": "☃"}]
    ended = client.call("Deploy", {"service": {"name": "web", "node": NODE, "components": components}})
    assert ended.status == "INVALID_ARGUMENT"
    assert "components[1].restart: '☃'" in "".join(ended.details.splitlines()[1:])


def test_a_message_may_have_so_many_bytes_and_no_more(client: Client) -> None:
    def deploy(size: int) -> Ended:
        component = {"name": "a", "image": "a", "env": {"A": "x" * size}}
        return client.call("Deploy", {"service": {**ELSEWHERE, "components": [component]}})

    fits = deploy(MOST_MESSAGE_BYTES - 1024)
    assert (fits.status, "n2" in fits.details) == ("INVALID_ARGUMENT", True)
    large = deploy(MOST_MESSAGE_BYTES)
    assert (large.status, "4 MiB" in large.details) == ("RESOURCE_EXHAUSTED", True)


# ------------------------------------------------------------------------------------------------ streams


def test_a_stream_is_cancelled_and_the_others_go_on(client: Client) -> None:
    calls = [
        client.asked("WatchEvents", {"after_id": 1}, cancel_after=2),
        client.asked("WatchEvents", {"after_id": 1}, deadline_ms=SHORT_MS),
        client.asked("ListEvents", {"limit": 2}),
    ]
    cancelled, late, listed = client.call_all(calls)
    assert (cancelled.status, late.status) == ("CANCELLED", "DEADLINE_EXCEEDED")
    events = [each["event"] for each in cancelled.messages]
    assert [(each["id"], each["message"]) for each in events] == [
        ("2", "number 1, ünïcode"),
        ("3", "number 2, ünïcode"),
    ]
    assert [each["event"] for each in late.messages] == events == listed.message["events"]
    until(lambda: '"status": "CANCELLED"' in client.daemon.log)


def test_a_file_goes_up_and_comes_down_as_it_is(own: Client) -> None:
    content = os.urandom(5 * MIB + 1)
    pushed = own.call("PushFile", *parts_of("ä b", content)).message
    assert (pushed["path"], pushed["size"]) == ("ä b", str(len(content)))
    assert pushed["sha256"] == base64_of(hashlib.sha256(content).digest())
    assert (own.daemon.folder / "srv/web/ä b").read_bytes() == content
    pulled = own.call("PullFile", {"service": "web", "path": "ä b"})
    assert pulled.status == "OK"
    header, *chunks, end = pulled.messages
    assert (header["header"]["size"], header["header"]["mode"]) == (str(len(content)), 0o640)
    assert b"".join(base64.b64decode(each["chunk"]) for each in chunks) == content
    assert end["sha256"] == pushed["sha256"]


def test_a_file_that_is_not_whole_is_refused_or_forgotten(own: Client) -> None:
    header, chunk, _ = parts_of("parts/a", b"x")
    (own.daemon.folder / "srv/web/parts").mkdir()
    wrong, open_, stopped = own.call_all(
        [
            own.asked("PushFile", header, chunk, {"sha256": base64_of(bytes(32))}),
            own.asked("PushFile", header, chunk, leave_open=True, deadline_ms=SHORT_MS),
            own.asked("PushFile", header, chunk),
        ]
    )
    assert (wrong.status, open_.status, stopped.status) == ("INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT")
    assert "did not arrive intact" in wrong.details
    assert "ended without its SHA-256" in stopped.details
    until(lambda: not list((own.daemon.folder / "srv/web/parts").iterdir()), "nothing is left of them")


# ------------------------------------------------------------------------------------------------ connections


def test_two_hundred_calls_at_once_are_answered_on_one_connection(own: Client) -> None:
    """Twice as many as the daemon takes: the others wait with the client."""
    calls = [own.asked(rpc) for rpc in ("ListServices", "ListEvents")] * 100
    ended = own.call_all(calls)
    assert {each.message["node"] for each in ended} == {NODE}
    told = [json.loads(line) for line in own.daemon.log.splitlines() if '"method": "List' in line]
    assert len(told) == len(calls)
    assert len({each["peer"] for each in told}) == 1


def test_it_finds_a_daemon_again_that_was_restarted(own: Client) -> None:
    assert own.call("WhoAmI").status == "OK"
    assert own.daemon.terminate() == 0
    own.daemon.start()
    assert own.call("WhoAmI").status == "OK"
