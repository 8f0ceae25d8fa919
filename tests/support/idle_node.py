"""A runtime and an intent in which nothing happens by itself; a test says what differs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import trio

from monitor.model import Desired, Sighting, Wanted
from monitor.ports import Happening, Ran, Target


class StillRuntime:
    """podman with at most one container, ``seen``, of which no event tells."""

    seen: Sighting | None = None

    async def listed(self) -> Sequence[Sighting]:
        await trio.lowlevel.checkpoint()
        return (self.seen,) if self.seen else ()

    async def look(self, container: str) -> Sighting | None:
        await trio.lowlevel.checkpoint()
        return self.seen if self.seen and container == self.seen.container else None

    async def events(self, since: datetime | None) -> AsyncGenerator[Happening, None]:
        await trio.sleep_forever()
        yield Happening("", datetime.now(UTC))

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        return Ran(0, "")


class StillIntent:
    """One component should run, and nobody is at work on it."""

    wanted = Target(Wanted("web", "web", Desired.RUNNING, "", ""), "web")

    async def targets(self) -> Sequence[Target]:
        await trio.lowlevel.checkpoint()
        return (self.wanted,)

    def is_busy(self, service: str) -> bool:
        return False

    async def changed(self) -> None:
        await trio.sleep_forever()

    async def started(self) -> Sighting:
        await trio.sleep_forever()
        raise AssertionError

    async def heal(self, service: str, component: str, *, ill: str = "") -> bool:
        raise AssertionError("nothing is to be healed here")
