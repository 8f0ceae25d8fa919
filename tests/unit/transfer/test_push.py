"""A push is all or nothing, whatever ends it: a client, a full disk, a daemon that is killed."""

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
    ExhaustedError,
    InvalidRequestError,
    RefusedError,
    UnavailableError,
)
from mcpd.files import transfer
from mcpd.files.beneath import Tree
from mcpd.files.transfer import MAX_TRANSFERS, Transfers
from mcpd.files.upload import Upload
from mcpd.model import Caller, Role
from mcpd.rpc.files import FileMethods
from protos.mcp import v1 as wire
from tests.support.transfers import MIB, NO_IDS, OLD, Given, Stuck, everything, incoming, nothing_changes


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
        (3, Given(b"abc", sha256=hashlib.sha256(b"abd").digest()), "SHA-256 differs"),
        (3, Given(b"abc", sha256=b""), "SHA-256 differs"),
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
        with pytest.raises(ExhaustedError, match="8 files are already being transferred"):
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
    with pytest.raises(ExhaustedError, match="the file system is full; nothing was changed"):
        await Transfers(small, 2**30).receive(incoming(path, 4 * MIB), source)
    filler.write_bytes(b"")
    assert everything(small) == before
    await Transfers(small, 2**30).receive(incoming(path, 4 * MIB), Given(*[bytes(MIB)] * 4))
    assert (small / "web" / path).stat().st_size == 4 * MIB
