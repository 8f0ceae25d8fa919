"""A push is all or nothing, whatever ends it; ids are the container's; listings and digests say what is there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mcpd.errors import (
    BusyError,
    ExhaustedError,
    InvalidRequestError,
    McpdError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from mcpd.files import ids, transfer, upload
from mcpd.files.beneath import Parts, Tree
from mcpd.files.download import CHUNK_BYTES, Download
from mcpd.files.ids import IdMap, IdRange, Ids, Owner
from mcpd.files.transfer import MAX_TRANSFERS, Transfers
from mcpd.files.upload import Incoming, Upload
from mcpd.model import Caller, Role
from mcpd.rpc.files import FileMethods
from protos.mcp import v1 as wire

OLD = b"old"
MIB = 1024 * 1024
NO_IDS = Ids(IdMap("uid", (IdRange(0, 0, 2**32 - 1),)), IdMap("gid", (IdRange(0, 0, 2**32 - 1),)))


def incoming(path: str, size: int, mode: int = 0o644, owner: Owner | None = None) -> Incoming:
    return Incoming("web", tuple(path.split("/")), size, mode, owner)


class Given:
    """A `Source` of what it is given."""

    def __init__(self, *chunks: bytes, sha256: bytes | None = None) -> None:
        self._chunks = list(chunks)
        self.sha256 = hashlib.sha256(b"".join(chunks)).digest() if sha256 is None else sha256

    async def batch(self) -> list[bytes]:
        return [self._chunks.pop(0)] if self._chunks else []


class Stuck(Given):
    """Never goes on after what it is given."""

    async def batch(self) -> list[bytes]:
        return await super().batch() or await trio.sleep_forever()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "srv/web").mkdir(parents=True)
    (tmp_path / "srv/web/file").write_bytes(OLD)
    return tmp_path / "srv"


@pytest.fixture
def transfers(root: Path) -> Transfers:
    return Transfers(root, 4 * MIB)


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, b"" if path.is_dir() else path.read_bytes())
        for path in root.rglob("*")
    }


@contextlib.contextmanager
def nothing_changes(root: Path) -> Iterator[None]:
    before = everything(root)
    yield
    assert everything(root) == before


# ------------------------------------------------------------------------------------------------ push


@pytest.mark.parametrize("path", ["file", "new", "some/new/folder/file"])
async def test_a_push_puts_the_whole_file_with_its_mode(root: Path, transfers: Transfers, path: str) -> None:
    await transfers.receive(incoming(path, 6, 0o604), Given(b"abc", b"", b"def"))
    assert (root / "web" / path).read_bytes() == b"abcdef"
    assert stat.S_IMODE((root / "web" / path).stat().st_mode) == 0o604


async def test_a_file_may_be_empty(root: Path, transfers: Transfers) -> None:
    await transfers.receive(incoming("file", 0), Given())
    assert (root / "web/file").read_bytes() == b""


@pytest.mark.parametrize(
    ("size", "source", "says"),
    [
        (5, Given(b"abc"), "ended after 3 of the 5 bytes"),
        (2, Given(b"abc"), "more than the 2 bytes announced"),
        (3, Given(b"abc", b"d"), "more than the 3 bytes announced"),
        (3, Given(b"abc", sha256=hashlib.sha256(b"abd").digest()), "SHA-256 is another"),
        (3, Given(b"abc", sha256=b""), "SHA-256 is another"),
    ],
)
@pytest.mark.parametrize("path", ["file", "some/new/folder/file"])
async def test_what_is_not_what_was_announced_changes_nothing(
    root: Path, transfers: Transfers, path: str, size: int, source: Given, says: str
) -> None:
    again = Given(*source._chunks, sha256=source.sha256)
    with nothing_changes(root), pytest.raises(InvalidRequestError, match=says):
        await transfers.receive(incoming(path, size), again)


async def test_a_file_above_the_nodes_limit_is_refused_before_anything_is_made(
    root: Path, transfers: Transfers
) -> None:
    with nothing_changes(root), pytest.raises(ExhaustedError, match=r"takes 4194304 at most \(files.max_size\)"):
        await transfers.receive(incoming("some/new/file", 4 * MIB + 1), Given())


async def test_a_file_that_cannot_fit_is_refused_before_anything_is_made(root: Path) -> None:
    with nothing_changes(root), pytest.raises(ExhaustedError, match="its file system has"):
        await Transfers(root, 2**63).receive(incoming("some/new/file", 2**60), Given())


@pytest.mark.parametrize("path", ["file", "some/new/folder/file"])
async def test_a_push_that_is_cut_off_leaves_nothing(
    root: Path, transfers: Transfers, path: str, autojump_clock: MockClock
) -> None:
    with nothing_changes(root):
        with trio.move_on_after(5):
            await transfers.receive(incoming(path, 6), Stuck(b"abc"))
    assert autojump_clock.current_time() == pytest.approx(5)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR])
@pytest.mark.parametrize("ends", ["whole", "broken"])
async def test_where_no_file_can_be_nameless_a_hidden_one_is_used(
    root: Path, transfers: Transfers, monkeypatch: pytest.MonkeyPatch, number: int, ends: str
) -> None:
    real = os.open

    def without(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", without)
    if ends == "whole":
        await transfers.receive(incoming("file", 3), Given(b"new"))
        assert everything(root)["web/file"][1] == b"new"
        assert len(everything(root)) == 2
    else:
        with nothing_changes(root), pytest.raises(InvalidRequestError):
            await transfers.receive(incoming("file", 3), Given(b"ne"))


async def test_what_a_killed_daemon_left_goes_with_the_next_push(root: Path, transfers: Transfers) -> None:
    left, other = root / "web/.mcp-0123456789abcdef", root / "web/.mcp-notes"
    left.write_bytes(b"half")
    other.write_bytes(b"an operator's")
    await transfers.receive(incoming("file", 3), Given(b"new"))
    assert not left.exists()
    assert other.exists()


def test_a_push_under_way_keeps_its_hidden_file_from_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # what `os.open` then says is EISDIR
    tree = Tree(root)
    first = Upload(tree, incoming("one", 3), NO_IDS)
    second = Upload(tree, incoming("two", 3), NO_IDS)
    for each in (second, first):
        each.write([b"abc"])
        each.commit(hashlib.sha256(b"abc").digest())
        each.close()
    assert sorted(everything(root)) == ["web", "web/file", "web/one", "web/two"]


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o7777, 0o100644, 2**32 - 1])
def test_setuid_and_such_are_refused(mode: int) -> None:
    with pytest.raises(InvalidRequestError, match="permission bits"):
        transfer.permissions(mode, 0o644)


def test_a_mode_that_was_not_given_is_the_usual_one() -> None:
    assert transfer.permissions(0, 0o644) == 0o644
    assert transfer.permissions(0o400, 0o644) == 0o400


async def test_a_folder_is_made_or_changed(root: Path, transfers: Transfers) -> None:
    for mode in (0o700, 0o750):
        await transfers.make_folder(incoming("a/b", 0, mode))
        assert stat.S_IMODE((root / "web/a/b").stat().st_mode) == mode
    assert stat.S_IMODE((root / "web/a").stat().st_mode) == 0o755
    with pytest.raises(RefusedError):
        await transfers.make_folder(incoming("file", 0))


class Mute:
    """A call (see `gate.Requests`) whose client sends so much and then nothing."""

    def __init__(self, *messages: wire.PushFileRequest) -> None:
        self._messages = messages

    def concerns(self, request: object) -> None:
        pass

    async def batch(self) -> list[wire.PushFileRequest]:
        found, self._messages = list(self._messages), ()
        return found or await trio.sleep_forever()


@pytest.mark.parametrize("sent", range(4))
async def test_a_client_that_stalls_is_not_waited_for(root: Path, sent: int, autojump_clock: MockClock) -> None:
    header = wire.FileHeader(service="web", path="new/file", size=6)
    messages = [wire.PushFileRequest(header=header), *[wire.PushFileRequest(chunk=b"ab")] * 2]
    caller = Caller("admin", Role.ADMIN)
    with nothing_changes(root), pytest.raises(UnavailableError, match="the client has sent nothing for 60 s"):
        await FileMethods(root, MIB).push_file(Mute(*messages[:sent]), caller)  # type: ignore[arg-type]
    assert autojump_clock.current_time() == pytest.approx(60)


# ------------------------------------------------------------------------------------------------ many at once


async def test_more_than_a_few_wait_for_their_turn_and_then_are_told(
    transfers: Transfers, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(MAX_TRANSFERS):
            nursery.start_soon(transfers.receive, incoming(f"f{number}", 3), Stuck(b"a"))
        await wait_all_tasks_blocked()
        with pytest.raises(ExhaustedError, match="8 files are being transferred already"):
            await transfers.receive(incoming("one-more", 3), Given(b"abc"))
        assert autojump_clock.current_time() == pytest.approx(30)
        nursery.cancel_scope.cancel()
    await transfers.receive(incoming("one-more", 3), Given(b"abc"))


# ------------------------------------------------------------------------------------------------ a full disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        (folder / "web").mkdir()
        (folder / "web/file").write_bytes(OLD)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_told_before_anything_is_written(small: Path) -> None:
    (small / "filler").write_bytes(bytes(6 * MIB))
    with (
        nothing_changes(small),
        pytest.raises(ExhaustedError, match=r"has 3145728 bytes; its file system has \d+ free"),
    ):
        await Transfers(small, 2**30).receive(incoming("new/file", 3 * MIB), Given())


class Filling(Given):
    """Fills the disk after the first chunk."""

    def __init__(self, filler: Path, *chunks: bytes) -> None:
        super().__init__(*chunks)
        self._filler = filler
        self._calls = 0

    async def batch(self) -> list[bytes]:
        self._calls += 1
        if self._calls == 2:
            with self._filler.open("wb") as file, contextlib.suppress(OSError):
                file.write(bytes(16 * MIB))
        return await super().batch()


@pytest.mark.parametrize("path", ["file", "new/folder/file"])
async def test_a_disk_that_fills_up_meanwhile_leaves_the_old_file_and_nothing_else(small: Path, path: str) -> None:
    filler = small / "filler"
    filler.touch()
    before = everything(small)
    source = Filling(filler, *[bytes(MIB)] * 4)
    with pytest.raises(ExhaustedError, match="the file system is full; what was there before is unchanged"):
        await Transfers(small, 2**30).receive(incoming(path, 4 * MIB), source)
    filler.write_bytes(b"")
    assert everything(small) == before
    await Transfers(small, 2**30).receive(incoming(path, 4 * MIB), Given(*[bytes(MIB)] * 4))
    assert (small / "web" / path).stat().st_size == 4 * MIB


# ------------------------------------------------------------------------------------------------ pull and digest


async def pulled(transfers: Transfers, path: str) -> tuple[bytes, bytes]:
    async with transfers.reading("web", (path,)) as download:
        content = b""
        while chunks := await transfers.batch(download):
            assert all(len(each) <= CHUNK_BYTES for each in chunks)
            content += b"".join(chunks)
        return content, download.sha256


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * MIB + 7])
async def test_a_pull_reads_all_of_it(root: Path, transfers: Transfers, size: int) -> None:
    content = os.urandom(size)
    (root / "web/file").write_bytes(content)
    assert await pulled(transfers, "file") == (content, hashlib.sha256(content).digest())
    digest = await transfers.digest("web", ("file",))
    assert (digest.stat.st_size, digest.sha256) == (size, hashlib.sha256(content).digest())


async def test_a_file_that_shrinks_while_it_is_read_is_told(root: Path, transfers: Transfers) -> None:
    (root / "web/file").write_bytes(bytes(3 * MIB))
    async with transfers.reading("web", ("file",)) as download:
        await transfers.batch(download)
        os.truncate(root / "web/file", 1000)
        with pytest.raises(BusyError, match="became shorter while it was read"):
            await transfers.batch(download)


async def test_a_file_that_grows_is_read_as_far_as_it_went(root: Path, transfers: Transfers) -> None:
    async with transfers.reading("web", ("file",)) as download:
        with (root / "web/file").open("ab") as file:
            file.write(b" and more")
        assert await transfers.batch(download) == [OLD]
        assert await transfers.batch(download) == []


async def test_a_file_replaced_meanwhile_is_read_as_it_was(transfers: Transfers) -> None:
    async with transfers.reading("web", ("file",)) as download:
        await transfers.receive(incoming("file", 3), Given(b"new"))
        assert await transfers.batch(download) == [OLD]


def test_a_file_that_may_not_be_read_says_whose_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    tree = Tree(root)
    with tree.service("web") as folder:
        monkeypatch.setattr(os, "open", forbidden)
        with pytest.raises(RefusedError, match="web/file belongs to another user"):
            folder.open_file(("file",))


# ------------------------------------------------------------------------------------------------ list


async def listed(transfers: Transfers, *parts: str, after: str = "", limit: int = 1000) -> tuple[list[str], bool]:
    found, more = await transfers.listing("web", parts, after, limit)
    return [each.name for each in found], more


async def test_a_listing_says_what_each_is(root: Path, transfers: Transfers) -> None:
    (root / "web/folder").mkdir()
    (root / "web/link").symlink_to("nowhere")
    os.mkfifo(root / "web/pipe")
    found, more = await transfers.listing("web", (), "", 1000)
    assert [(each.name, each.kind, each.target) for each in found] == [
        ("file", "file", ""),
        ("folder", "folder", ""),
        ("link", "symlink", "nowhere"),
        ("pipe", "other", ""),
    ]
    assert not more
    assert found[0].stat.st_size == len(OLD)
    assert found[0].modified_at.timestamp() == pytest.approx((root / "web/file").stat().st_mtime)


async def test_pages_follow_each_other(root: Path, transfers: Transfers) -> None:
    (root / "web/many").mkdir()
    names = sorted(["a", "b", "B", "ä", "é", "Z", "10", "9", "日本", "🦀", "\uffff"])
    for each in names:
        (root / "web/many" / each).touch()
    seen: list[str] = []
    more = True
    while more:
        page, more = await listed(transfers, "many", after=seen[-1] if seen else "", limit=3)
        seen += page
    assert seen == names


async def test_a_name_that_is_no_text_is_shown(root: Path, transfers: Transfers) -> None:
    (root / "web/raw").mkdir()
    os.close(os.open(os.fsencode(root) + b"/web/raw/\xff", os.O_CREAT))
    assert await listed(transfers, "raw") == (["\ufffd"], False)


@pytest.mark.parametrize("parts", [("nothing",), ("file", "x"), ("nothing", "at", "all")])
async def test_what_is_not_there_is_not_found(transfers: Transfers, parts: Parts) -> None:
    kinds: tuple[type[McpdError], ...] = (NotFoundError, RefusedError)
    for attempt in (transfers.listing("web", parts, "", 10), transfers.digest("web", parts)):
        with pytest.raises(kinds, match="web/" + "/".join(parts)):
            await attempt


# ------------------------------------------------------------------------------------------------ owners

SUBUID = "# a comment\nother:500000:100\nmcp:100000:65536\n1001:300000:10\nmcp:x:1\nmcp:1\nmcp:400000:5\n"


def test_a_rootless_container_has_the_users_id_and_then_the_ranges_in_order() -> None:
    uids = IdMap("uid", ids.rootless_ranges(1001, SUBUID, frozenset({"mcp", "1001"})))
    expected = {0: 1001, 1: 100000, 65536: 165535, 65537: 300000, 65546: 300009, 65547: 400000, 65551: 400004}
    assert {each: uids.to_node(each) for each in expected} == expected
    assert {number: uids.to_container(number) for number in expected.values()} == {b: a for a, b in expected.items()}
    assert uids.to_container(0) is None
    assert uids.to_container(500000) is None


def test_an_id_that_no_container_has_is_told_with_those_there_are() -> None:
    uids = IdMap("uid", ids.rootless_ranges(1001, SUBUID, frozenset({"mcp"})))
    with pytest.raises(InvalidRequestError, match="no container here has the uid 65542; there are 0 to 65541"):
        uids.to_node(65542)
    without = IdMap("gid", ids.rootless_ranges(1001, "", frozenset({"mcp"})))
    assert without.to_node(0) == 1001
    with pytest.raises(InvalidRequestError, match=r"there are 0 to 0; /etc/subgid gives this node's user no"):
        without.to_node(1)


@pytest.mark.parametrize(
    "text", ["1", "1:", ":1", "a:b", "1:2:3", "-1:0", "1 :2", "0x1:0", "4294967295:0", "\u0661:\u0662", "1:2\n"]
)
def test_an_owner_is_two_numbers(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="write UID:GID in numbers"):
        ids.owner_of(text)


def test_an_owner_is_read() -> None:
    assert ids.owner_of("") is None
    assert ids.owner_of("999:4294967294") == Owner(999, 2**32 - 2)
    assert str(Owner(1, 2)) == "1:2"


async def test_an_owner_out_of_range_changes_nothing(
    root: Path, transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Ids(IdMap("uid", (IdRange(0, 0, 10),)), IdMap("gid", (IdRange(0, 0, 10),)))
    monkeypatch.setattr(ids, "of_this_user", lambda: few)
    with nothing_changes(root), pytest.raises(InvalidRequestError, match="the gid 10; there are 0 to 9"):
        await transfers.receive(incoming("new/file", 3, owner=Owner(9, 10)), Given(b"abc"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_root_gives_a_file_to_its_owner(root: Path, transfers: Transfers) -> None:
    await transfers.receive(incoming("file", 3, owner=Owner(1234, 5678)), Given(b"abc"))
    found = (root / "web/file").stat()
    assert (found.st_uid, found.st_gid) == (1234, 5678)
    assert ids.of_this_user().to_container(found) == "1234:5678"


def test_a_rootless_daemon_has_podman_give_away_the_open_file(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *, stdin: int, **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        assert Path(f"/proc/self/fd/{stdin}").readlink() == tmp_path / "file"
        return subprocess.CompletedProcess(argv, 0, "", "")

    with (tmp_path / "file").open("wb") as file:
        upload.unshared_chown(file.fileno(), Owner(999, 998), run)
    assert asked == [["podman", "unshare", "chown", "999:998", "/proc/self/fd/0"]]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (FileNotFoundError(), UnavailableError, "podman is not installed"),
        (subprocess.TimeoutExpired("podman", 20), UnavailableError, "within 20 s"),
        (None, RefusedError, "could not give the file to 1:2: no such id"),
    ],
)
def test_a_podman_that_does_not_give_it_away_says_why(
    error: Exception | None, kind: type[McpdError], says: str
) -> None:
    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if error:
            raise error
        return subprocess.CompletedProcess(argv, 1, "", "no such id\n")

    with pytest.raises(kind, match=says):
        upload.unshared_chown(0, Owner(1, 2), run)


def test_a_download_leaves_no_descriptor_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("file", "nothing"):
        with contextlib.suppress(NotFoundError):
            Download(Tree(root), "web", (path,)).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
