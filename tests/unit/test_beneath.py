"""Nothing outside of ROOT/<service>/ is reached, whatever a path says and whoever changes the folder meanwhile."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpd.errors import InvalidRequestError, McpdError, NotFoundError, RefusedError
from mcpd.files import beneath
from mcpd.files.beneath import Opener, Tree, openat2, opener_of, parts_of, walk
from mcpd.files.download import Download
from mcpd.files.ids import of_this_user
from mcpd.files.listing import listing
from mcpd.files.upload import Incoming, Upload

ROUNDS = int(os.environ.get("MCP_SWAP_ROUNDS", "2000"))
NEW = b"pushed"
SECRET = b"what nobody may read or change"

# Refused by what they say, whatever is there.
PATHS = [
    *("..", "../x", "a/..", "a/../x", "a/../../x", "a/b/../../../x", "../web/file", "../other/file", "../" * 100 + "x"),
    *("a/../../../../../../etc/passwd", ".", "./x", "x/.", "a/./x", "./..", "/", "//", "/etc/passwd", "//x", "/../x"),
    *(
        "/proc/self/root/etc/passwd",
        "/srv/web/file",
        "a//b",
        "a///b",
        "x//",
        "",
        "\0",
        "a\0b",
        "file\0",
        "x\0/../..",
        "\0/x",
    ),
    *(
        "a\nb",
        "\x1b[2J",
        "a\tb",
        "\x7f",
        "a\r",
        "x" * 256,
        "é" * 128,
        "x" * 5000,
        "a/" * 2500 + "x",
        ("n" * 255 + "/") * 17,
    ),
    *("a/" + "x" * 256 + "/b", "\udcff", "a/\ud800"),
]
# What a folder's path may end with, and a file's not.
SLASHED = ["file/", "a/x/", "file//"]
# Names like any others: they stay inside.
LITERAL = [
    *(
        "%2e%2e",
        "%2e%2e/x",
        "..%2fx",
        "%2e%2e%2fetc%2fpasswd",
        "%00",
        "..%00/x",
        "\u2025/x",
        "\uff0e\uff0e/x",
        "\u3002\u3002/x",
    ),
    *(
        "\u2024\u2024/x",
        "..\\x",
        "a\\..\\..\\x",
        "...",
        ".../x",
        "~root/x",
        "$HOME/x",
        "-rf",
        "; rm -rf x",
        "*",
        " ",
        ".. ",
        " ../x",
    ),
    *("\u200b../x", "..\u200b/x", "..;/x", "\u2215etc\u2215passwd", "n" * 255, "é" * 127),
]
SERVICES = [
    "..",
    ".",
    "a/b",
    "/etc",
    "",
    "A",
    "-a",
    "a-",
    "a" * 64,
    "web/../other",
    "web/",
    "wéb",
    "we b",
    "web\0",
    "../etc",
]


class Place:
    """A service's folder, a neighbour's, and what is outside of both."""

    def __init__(self, folder: Path, opener: Opener) -> None:
        self.folder = folder
        self.outside = folder / "outside"
        self.root = folder / "srv"
        self.web = self.root / "web"
        for each in (self.outside / "inner", self.web / "real/deep", self.root / "other"):
            each.mkdir(parents=True)
        for path in (self.outside / "canary", self.outside / "inner/canary", self.root / "other/file"):
            path.write_bytes(SECRET)
        for path in (self.web / "file", self.web / "real/file"):
            path.write_bytes(b"inside")
        self.tree = Tree(self.root, opener)
        self.held: list[int] = []

    def push(self, path: str, service: str = "web", content: bytes = NEW) -> None:
        wanted = Incoming(service, parts_of(path), len(content), 0o640, None)
        upload = Upload(self.tree, wanted, of_this_user())
        try:
            upload.write([content])
            upload.commit(hashlib.sha256(content).digest())
        finally:
            upload.close()

    def pull(self, path: str, service: str = "web") -> bytes:
        download = Download(self.tree, service, parts_of(path))
        try:
            return b"".join(download.read(100))
        finally:
            download.close()

    def list(self, path: str, service: str = "web") -> list[str]:
        found, _ = listing(self.tree, service, parts_of(path, empty=True, folder=True), after="", limit=1000)
        return [each.name for each in found]

    def everything(self) -> dict[str, tuple[object, ...]]:
        """All that is there, inside and outside: a push that did anything would show."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.folder.rglob("*")):
            looked = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(looked.st_mode) else b""
            target = str(path.readlink()) if path.is_symlink() else ""
            found[str(path)] = (looked.st_mode, looked.st_ino, looked.st_mtime_ns, looked.st_nlink, target, content)
        return found

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        before = self.everything()
        yield
        assert self.everything() == before


@pytest.fixture(params=[openat2, walk], ids=["openat2", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param is openat2 and opener_of_root() is not openat2:
        pytest.skip("this kernel, or its seccomp filter, has no openat2")
    chosen: Opener = request.param
    return chosen


def opener_of_root() -> Opener:
    root = os.open("/", os.O_PATH)
    try:
        return opener_of(root)
    finally:
        os.close(root)


@pytest.fixture
def place(tmp_path: Path, opener: Opener) -> Iterator[Place]:
    before = descriptors()
    made = Place(tmp_path, opener)
    yield made
    for each in made.held:
        os.close(each)
    assert descriptors() == before


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


ACTIONS: dict[str, Callable[[Place, str], object]] = {"push": Place.push, "pull": Place.pull, "list": Place.list}
TO_SERVICES: dict[str, Callable[[Place, str], object]] = {
    "push": lambda place, service: place.push("x", service),
    "pull": lambda place, service: place.pull("file", service),
    "list": lambda place, service: place.list("", service),
}


# ------------------------------------------------------------------------------------------------ what paths say


# To list, an empty path is the service's folder.
@pytest.mark.parametrize(
    ("path", "action"),
    [(path, action) for path in PATHS for action in ACTIONS if (path, action) != ("", "list")],
    ids=lambda value: ascii(value)[:40],
)
def test_a_path_that_is_no_plain_name_below_is_refused(place: Place, path: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError) as raised:
        ACTIONS[action](place, path)
    sentence = str(raised.value)
    assert len(sentence) < 300
    assert sentence.isprintable()


@pytest.mark.parametrize("action", ["push", "pull"])
@pytest.mark.parametrize("path", SLASHED)
def test_a_files_path_does_not_end_with_a_slash(place: Place, path: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError, match=r"slash"):
        ACTIONS[action](place, path)


@pytest.mark.parametrize("path", LITERAL, ids=lambda path: ascii(path)[:40])
def test_what_only_looks_like_a_way_out_is_a_name(place: Place, path: str) -> None:
    outside = {key: value for key, value in place.everything().items() if not key.startswith(str(place.web))}
    place.push(path)
    assert place.pull(path) == NEW
    assert (place.web / path).read_bytes() == NEW
    after = {key: value for key, value in place.everything().items() if not key.startswith(str(place.web))}
    assert after == outside


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("service", SERVICES, ids=ascii)
def test_what_is_no_services_name_is_refused(place: Place, service: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError, match="is not the name of a service"):
        TO_SERVICES[action](place, service)


# ------------------------------------------------------------------------------------------------ what is there


def link(name: str, target: str) -> Callable[[Place], str]:
    """Puts a symlink there; ``target`` may speak of {outside}, {web} and {fd}."""

    def make(place: Place) -> str:
        path = place.web / name
        # A descriptor of a file outside, which a magic link could lead to.
        place.held.append(os.open(place.outside / "canary", os.O_RDONLY))
        path.symlink_to(target.format(outside=place.outside, web=place.web, fd=place.held[-1]))
        return name

    return make


def below(name: str, target: str, rest: str) -> Callable[[Place], str]:
    return lambda place: f"{link(name, target)(place)}/{rest}"


def _chain(place: Place) -> str:
    for name, target in (("one", "two"), ("two", "real/three"), ("real/three", str(place.outside / "canary"))):
        (place.web / name).symlink_to(target)
    return "one"


def _fifo(place: Place) -> str:
    os.mkfifo(place.web / "fifo")
    return "fifo"


def _linked_fifo(place: Place) -> str:
    _fifo(place)
    return link("to-fifo", "fifo")(place)


def _socket(place: Place) -> str:
    here = os.open(place.web, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    return "socket"


def _device(place: Place) -> str:
    try:
        os.mknod(place.web / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make a device node")
    return "null"


THERE: dict[str, Callable[[Place], str]] = {
    "file out, absolute": link("l", "{outside}/canary"),
    "file out, relative": link("l", "../../outside/canary"),
    "file out, by a detour": link("l", "real/deep/../../../../outside/canary"),
    "new file out": link("l", "{outside}/new"),
    "neighbour's file": link("l", "../other/file"),
    "absolute, to the inside": link("l", "{web}/file"),
    "root": link("l", "/"),
    "parent": link("l", ".."),
    "itself": link("l", "l"),
    "folder out, its file": below("l", "{outside}", "canary"),
    "folder out, a new file": below("l", "{outside}", "new"),
    "folder out, a new folder": below("l", "{outside}", "new/file"),
    "folder out, deeper": below("l", "{outside}", "inner/canary"),
    "folder out, relative": below("l", "../../outside", "canary"),
    "neighbour": below("l", "../other", "file"),
    "parent, and back": below("l", "..", "web/file"),
    "root, and down": below("l", "/", "etc/hostname"),
    "deep folder out": below("real/deep/l", "../../../../outside", "canary"),
    "chain": _chain,
    "/proc/self/root": below("l", "/proc/self/root", "etc/hostname"),
    "/proc/self/cwd": below("l", "/proc/self/cwd", "new"),
    "/proc/self/fd": link("l", "/proc/self/fd/{fd}"),
    "/proc/thread-self/fd": link("l", "/proc/thread-self/fd/{fd}"),
    "/dev/fd": link("l", "/dev/fd/{fd}"),
    "fifo": _fifo,
    "link to a fifo": _linked_fifo,
    "socket": _socket,
    "device": _device,
    "folder": lambda _: "real",
    "file as folder": lambda _: "file/x",
    "file as folders": lambda _: "file/x/y/z",
}
# To list, a folder or what is no file at all is something to show.
SHOWN = ("fifo", "link to a fifo", "socket", "device", "folder")


@pytest.mark.parametrize(
    ("what", "action"),
    [(what, action) for what in THERE for action in ACTIONS if action != "list" or what not in SHOWN],
)
def test_what_leads_out_or_is_no_file_is_refused(place: Place, what: str, action: str) -> None:
    path = THERE[what](place)
    with place.untouched(), pytest.raises((RefusedError, NotFoundError)) as raised:
        ACTIONS[action](place, path)
    assert str(place.outside) not in str(raised.value)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("target", ["../outside", "/etc", "other", "/proc/self/cwd", "nothing"])
def test_a_services_folder_is_no_symlink(place: Place, target: str, action: str) -> None:
    (place.root / "linked").symlink_to(target)
    with place.untouched(), pytest.raises((RefusedError, NotFoundError)):
        TO_SERVICES[action](place, "linked")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_file_in_a_services_place_is_none(place: Place, action: str) -> None:
    (place.root / "plain").write_bytes(SECRET)
    with place.untouched(), pytest.raises(RefusedError):
        TO_SERVICES[action](place, "plain")


def test_a_fifo_is_listed_without_being_opened(place: Place) -> None:
    """Opening it would wait for somebody to write."""
    assert place.list(_fifo(place)) == ["fifo"]


def test_a_push_never_writes_through_a_hard_link(place: Place) -> None:
    (place.web / "twin").hardlink_to(place.outside / "canary")
    place.push("twin")
    assert (place.outside / "canary").read_bytes() == SECRET
    assert (place.outside / "canary").stat().st_nlink == 1
    assert (place.web / "twin").read_bytes() == NEW


# ---------------------------------------------------------------------------------------------- links that stay inside


@pytest.mark.parametrize("path", ["to-file", "to-folder/file", "up/file", "real/deep/up/file"])
def test_a_symlink_that_stays_inside_works_and_stays(tmp_path: Path, path: str) -> None:
    if opener_of_root() is not openat2:
        pytest.skip("without openat2 no symlink is followed")
    place = Place(tmp_path, openat2)
    for name, target in (
        ("to-file", "real/file"),
        ("to-folder", "real"),
        ("up", "real/deep/.."),
        ("real/deep/up", "../../real"),
    ):
        (place.web / name).symlink_to(target)
    links = {each: each.readlink() for each in place.web.rglob("*") if each.is_symlink()}
    assert place.pull(path) == b"inside"
    place.push(path)
    assert (place.web / "real/file").read_bytes() == NEW
    assert {each: each.readlink() for each in links} == links
    assert sorted(each.name for each in (place.web / "real").iterdir()) == ["deep", "file"]


def test_without_openat2_a_symlink_that_stays_inside_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, walk)
    (place.web / "to-folder").symlink_to("real")
    (place.web / "to-file").symlink_to("file")
    for path in ("to-folder/file", "to-file"):
        for action in ("push", "pull"):
            with place.untouched(), pytest.raises(RefusedError):
                ACTIONS[action](place, path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_without_openat2_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """ENOSYS: an old one; EPERM: what a seccomp filter answers."""

    def missing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(beneath, "openat2", missing)
    tree = Tree(Place(tmp_path, walk).root)
    download = Download(tree, "web", ("file",))
    download.close()
    assert tree._opener is walk


# ------------------------------------------------------------------------------------------------ folders


def test_folders_are_made_on_the_way_for_everybody_to_enter(place: Place) -> None:
    os.umask(before := os.umask(0))
    place.push("certs/2026/cert.pem", service="new")
    made = [place.root / "new", place.root / "new/certs", place.root / "new/certs/2026"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o755 & ~before] * 3
    assert (made[-1] / "cert.pem").read_bytes() == NEW


def test_a_root_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"create it, or set files\.root"):
        Download(Tree(tmp_path / "nowhere"), "web", ("x",))


@pytest.mark.parametrize("action", ["pull", "list"])
def test_a_service_without_a_folder_is_not_found(place: Place, action: str) -> None:
    with place.untouched(), pytest.raises(NotFoundError, match="nobody has no folder"):
        TO_SERVICES[action](place, "nobody")


# ------------------------------------------------------------------------------------------------ races

# Swaps, as fast as it can, a folder with a symlink that leads out, and puts such a symlink where a file is.
_SWAPPER = """
import ctypes, os, sys
web, outside = map(os.fsencode, sys.argv[1:])
os.chdir(web)
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("door")
os.symlink(outside, "trap")
open("door/canary", "wb").write(b"inside")
print("ready", flush=True)
while True:
    assert libc.renameat2(-100, b"door", -100, b"trap", 2) == 0, ctypes.get_errno()
    os.symlink(outside + b"/canary", "next")
    os.rename("next", "victim")
    os.close(os.open("next", os.O_CREAT | os.O_WRONLY))
    os.rename("next", "victim")
"""


@contextlib.contextmanager
def swapping(place: Place) -> Iterator[None]:
    argv = [sys.executable, "-c", _SWAPPER, str(place.web), str(place.outside)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()


def test_a_symlink_swapped_in_during_pushes_and_pulls_never_leads_out(opener: Opener) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        place = Place(Path(folder), opener)
        outcomes = {"door/canary": [0, 0], "victim": [0, 0], "door/sub/new": [0, 0], "pulled": [0, 0]}

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                action()
            except McpdError:
                outcomes[what][1] += 1
            else:
                outcomes[what][0] += 1

        def pull() -> None:
            assert place.pull("door/canary") in (b"inside", NEW)

        outside = {key: value for key, value in place.everything().items() if key.startswith(str(place.outside))}
        with swapping(place):
            for _ in range(ROUNDS):
                for path in ("door/canary", "victim", "door/sub/new"):
                    attempt(path, lambda path=path: place.push(path))  # type: ignore[misc]
                attempt("pulled", pull)
        after = {key: value for key, value in place.everything().items() if key.startswith(str(place.outside))}
        assert after == outside
        # Both sides of the race were seen, or this would have tried nothing.
        assert all(done for done, _ in outcomes.values()), outcomes
        assert all(refused for _, refused in outcomes.values()), outcomes
        assert not list(place.web.glob("**/.mcp-*"))
