"""A runtime and an intent in which nothing happens by itself; a test says what differs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import trio

from monitor.model import Desired, Observed, Sighting, Wanted
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

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

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


# No process can have it (proc(5): at most 2^22), so its run has ended as soon as it is watched.
NO_PID = 2**22 + 1


class Late(StillRuntime, StillIntent):
    """A container that was started and removed before podman told of either."""

    def __init__(self) -> None:
        self._was_started = Sighting(
            0, "c1", "web", "web", "web", Observed.RUNNING, datetime(2026, 1, 1, tzinfo=UTC), pid=NO_PID
        )
        self._told = False

    async def started(self) -> Sighting:
        if self._told:
            await trio.sleep_forever()
        self._told = True
        return self._was_started
