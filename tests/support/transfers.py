"""Uploads that a test gives to the files of a service, and what they leave there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import trio

from mcpd.files.ids import IdMap, IdRange, Ids, Owner
from mcpd.files.upload import Incoming

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
