"""Downloads, digests and listings say what is there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mcpd.errors import (
    BusyError,
    McpdError,
    NotFoundError,
    RefusedError,
)
from mcpd.files.beneath import Parts, Tree
from mcpd.files.download import CHUNK_BYTES
from mcpd.files.transfer import Transfers
from tests.support.transfers import MIB, OLD, Given, incoming


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
