"""Where an image comes from that is sent to nodes: an engine's storage or an archive, behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from mcpctl.images import names
from mcpctl.images.archive import Archive, open_archive, other_platform
from mcpctl.images.content import Package, Reading
from mcpctl.images.engine import Engine
from mcpctl.images.platforms import Platform, runs
from mcpctl.images.scratch import sweep
from mcpctl.images.storage import Facts, Stored, facts


class Source(Protocol):
    """One image, perhaps for several platforms."""

    @property
    def reference(self) -> str:
        """The name that nodes give it."""

    @property
    def diff_ids(self) -> frozenset[str]:
        """Of its layers, for all platforms."""

    async def check(self, machine: Platform) -> None:
        """Raises CliError when there is nothing in it for ``machine``."""

    async def fetch(self, lacking: frozenset[str]) -> None:
        """Makes sure that the layers ``lacking`` (diff ids) can be opened. Raises CliError."""

    async def package(self, machine: Platform, *, alone: bool) -> Package:
        """What ``machine`` is sent, behind `fetch`; ``alone``: without the list it was chosen from. Raises CliError."""

    async def open(self, digest: str) -> Reading:
        """A layer's blob. Raises CliError."""


@asynccontextmanager
async def from_engine(engine: Engine, image: str) -> AsyncIterator[Source]:
    """What the engine calls ``image``. Raises NotHereError, CliError."""
    found = await facts(engine, image)
    # A save that was killed has left gigabytes; this one may need none.
    await asyncio.to_thread(sweep)
    async with Stored(engine, found) as stored:
        yield _FromEngine(stored, found, image)


@asynccontextmanager
async def from_archive(path: Path, image: str) -> AsyncIterator[Source]:
    """The image in ``path`` that is called ``image``, or the only one. Raises CliError."""
    reference = names.whole(image)
    archive = await asyncio.to_thread(open_archive, path, names.without_digest(reference))
    try:
        yield _FromArchive(archive, reference, await asyncio.to_thread(lambda: archive.diff_ids))
    finally:
        archive.close()


class _FromEngine:
    def __init__(self, stored: Stored, found: Facts, image: str) -> None:
        self._stored = stored
        self._found = found
        self.reference = names.whole(image, found.names)
        self.diff_ids = frozenset(found.diff_ids)

    async def check(self, machine: Platform) -> None:
        if not runs(self._found.platform, machine):
            raise other_platform(self.reference, [self._found.platform], machine)

    async def fetch(self, lacking: frozenset[str]) -> None:
        await self._stored.fetch(lacking & self.diff_ids)

    async def package(self, machine: Platform, *, alone: bool) -> Package:
        return await asyncio.to_thread(self._stored.package, machine, alone=alone)

    async def open(self, digest: str) -> Reading:
        return await self._stored.open(digest)


class _FromArchive:
    def __init__(self, archive: Archive, reference: str, diff_ids: frozenset[str]) -> None:
        self._archive = archive
        self.reference = reference
        self.diff_ids = diff_ids

    async def check(self, machine: Platform) -> None:
        await self.package(machine, alone=False)

    async def fetch(self, lacking: frozenset[str]) -> None:
        """They are there."""

    async def package(self, machine: Platform, *, alone: bool) -> Package:
        return await asyncio.to_thread(self._archive.package, machine, alone=alone)

    async def open(self, digest: str) -> Reading:
        return await asyncio.to_thread(self._archive.open, digest)
