"""Files to and from containers' folders, in worker threads: memory use stays flat and nothing else blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import trio

from mcpd.errors import ExhaustedError, InvalidRequestError
from mcpd.files import ids
from mcpd.files.beneath import Parts, Tree
from mcpd.files.download import Download
from mcpd.files.listing import Found, listing
from mcpd.files.upload import Incoming, Upload, put_folder

T = TypeVar("T")

# Each holds a few MiB and keeps the disk busy; one operator who pushes a folder needs no more.
MAX_TRANSFERS = 8
# How long to wait for a free slot. The client's connection stays alive, and its data waits on its side.
_TURN_S = 30.0
# A limiter of their own: a slow disk below ROOT must never keep the registry waiting for a thread.
_THREADS = MAX_TRANSFERS
# 1 MiB: a hop to a thread and back costs some 0.1 ms, and reading that much from the page cache 0.3 ms.
_CHUNKS_AT_ONCE = 4
# 4 MiB between two checks for cancellation.
_DIGEST_CHUNKS = 16


class Source(Protocol):
    """The source of an incoming file's bytes."""

    async def batch(self) -> list[bytes]:
        """The next chunks; none at the end, and then there is `sha256`."""

    @property
    def sha256(self) -> bytes: ...


class Digest(NamedTuple):
    stat: os.stat_result
    sha256: bytes


class Transfers:
    """The files below ``root``; refuses files larger than ``max_size`` bytes."""

    def __init__(self, root: Path, max_size: int) -> None:
        self._tree = Tree(root)
        self._max_size = max_size
        self._turns = trio.Semaphore(MAX_TRANSFERS)
        self._threads = trio.CapacityLimiter(_THREADS)

    async def receive(self, wanted: Incoming, source: Source) -> None:
        """Raises InvalidRequestError, ExhaustedError, RefusedError; then nothing was changed."""
        if wanted.size > self._max_size:
            raise ExhaustedError(
                f"the file has {wanted.size} bytes; this node takes {self._max_size} at most (files.max_size)"
            )
        async with self._turn():
            upload = await self._in_thread(lambda: Upload(self._tree, wanted, ids.of_this_user()))
            try:
                while chunks := await source.batch():
                    await self._in_thread(lambda chunks=chunks: upload.write(chunks))  # type: ignore[misc]
                await self._in_thread(lambda: upload.commit(source.sha256))
            finally:
                with trio.CancelScope(shield=True):
                    await self._in_thread(upload.close)

    async def make_folder(self, wanted: Incoming) -> None:
        """Raises InvalidRequestError, RefusedError."""
        await self._in_thread(lambda: put_folder(self._tree, wanted, ids.of_this_user()))

    @contextlib.asynccontextmanager
    async def reading(self, service: str, parts: Parts) -> AsyncIterator[Download]:
        """One file, open; see `batch`. Raises NotFoundError, RefusedError."""
        async with self._turn():
            download = await self._in_thread(lambda: Download(self._tree, service, parts))
            try:
                yield download
            finally:
                download.close()

    async def batch(self, download: Download) -> list[bytes]:
        """The next chunks, none at the end. Raises BusyError."""
        return await self._in_thread(lambda: download.read(_CHUNKS_AT_ONCE))

    async def digest(self, service: str, parts: Parts) -> Digest:
        """Raises NotFoundError, RefusedError, BusyError."""
        async with self.reading(service, parts) as download:
            while await self._in_thread(lambda: download.read(_DIGEST_CHUNKS)):
                pass
            return Digest(download.stat, download.sha256)

    async def listing(self, service: str, parts: Parts, after: str, limit: int) -> tuple[list[Found], bool]:
        """See `mcpd.files.listing.listing`."""
        return await self._in_thread(lambda: listing(self._tree, service, parts, after=after, limit=limit))

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with trio.move_on_after(_TURN_S) as waiting:
            await self._turns.acquire()
        if waiting.cancelled_caught:
            raise ExhaustedError(f"{MAX_TRANSFERS} files are already being transferred; try again when one is done")
        try:
            yield
        finally:
            self._turns.release()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """Cannot be abandoned: the descriptors that it opens must be returned."""
        return await trio.to_thread.run_sync(function, limiter=self._threads)


def permissions(mode: int, default: int) -> int:
    """The permission bits of ``mode``; ``default`` when it is 0, as in a message without a mode.

    Raises InvalidRequestError for setuid, setgid and sticky bits: a file that arrives through the network becomes
    nobody's key to another user's rights.
    """
    if mode & ~0o777:
        raise InvalidRequestError(
            f"mode {mode:o} has more than permission bits (0 to 777); special bits such as setuid are not kept"
        )
    return mode or default
