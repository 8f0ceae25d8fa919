"""The monitor on a real ledger, over pretended containers, which may kill itself at a point. Run as a program.

    watcher.py DATABASE COMMAND running|exited POINT CONTAINERS

It ends by itself when the containers are known to run (`running`), or when every alert was told (`exited`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

import mcpd  # noqa: F401
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, Delivery, Desired, Execution, Fact, Known, Observed, Sighting, Wanted
from monitor.ports import NewAlert, Target
from monitor.watch import Monitor, Settings
from tests.support.idle_node import StillIntent, StillRuntime

START = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE_S = 30.0


class World(StillRuntime, StillIntent):
    """Components of one service, each with one container: all of them run, or all have ended."""

    def __init__(self, state: Observed, count: int) -> None:
        code, end = (137, datetime(2026, 1, 2, tzinfo=UTC)) if state is Observed.EXITED else (None, None)
        self._seen = {
            f"c{number}": Sighting(0, f"c{number}", f"web-{number}", "web", f"{number}", state, START, end, code)
            for number in range(1, count + 1)
        }

    async def listed(self) -> Sequence[Sighting]:
        await trio.lowlevel.checkpoint()
        return tuple(self._seen.values())

    async def look(self, container: str) -> Sighting | None:
        await trio.lowlevel.checkpoint()
        return self._seen.get(container)

    async def targets(self) -> Sequence[Target]:
        await trio.lowlevel.checkpoint()
        return [
            Target(Wanted(each.service, each.component, Desired.RUNNING, "", ""), each.name)
            for each in self._seen.values()
        ]


class DyingLedger(MonitorLedger):
    """Kills its process at ``point``, and says when something was written."""

    def __init__(self, registry: Registry, point: str) -> None:
        super().__init__(registry, "n1")
        self._point = point
        self._written = trio.Event()

    async def written_until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Waits until ``condition`` holds, which is asked after every write."""
        while True:
            written = self._written
            if await condition():
                return
            await written.wait()

    async def record(
        self, facts: Sequence[Fact], states: Sequence[Known], alerts: Sequence[NewAlert], now: datetime
    ) -> tuple[Alert, ...]:
        if alerts:
            self._die_at("before commit")
        sent = await super().record(facts, states, alerts, now)
        if alerts:
            self._die_at("after commit")
        self._tell()
        return sent

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        self._die_at("after exec")
        await super().record_attempt(alert, execution, delivery, now)
        self._die_at("after it was recorded")
        self._tell()

    def _tell(self) -> None:
        self._written.set()
        self._written = trio.Event()

    def _die_at(self, point: str) -> None:
        if self._point == point:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(database: Path, command: str, state: Observed, point: str, count: int) -> None:
    with trio.fail_after(DEADLINE_S):
        async with Registry.open(database) as registry, trio.open_nursery() as nursery:
            ledger, world = DyingLedger(registry, point), World(state, count)

            async def all_run() -> bool:
                states, _ = await ledger.remembered()
                return len(states) == count

            async def all_are_told() -> bool:
                return len(await ledger.alerts()) == count and not await ledger.pending_alerts()

            dispatcher = Dispatcher(ledger, lambda: (command,), 10.0)
            await nursery.start(Monitor("n1", world, world, ledger, dispatcher, Settings()).run)
            await ledger.written_until(all_run if state is Observed.RUNNING else all_are_told)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], Observed(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
