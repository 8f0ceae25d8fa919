"""The monitor on a real ledger, over one pretended container, which may kill itself at a point. Run as a program.

    watcher.py DATABASE COMMAND running|exited POINT

It ends by itself when the container is known to run (`running`), or when an alert was told (`exited`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

import mcpd  # noqa: F401
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, Delivery, Execution, Fact, Known, Observed, Sighting
from monitor.ports import NewAlert
from monitor.watch import Monitor, Settings
from tests.support.idle_node import StillIntent, StillRuntime

START = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE_S = 30.0


class World(StillRuntime, StillIntent):
    """One container of one component."""

    def __init__(self, state: Observed) -> None:
        code, end = (137, datetime(2026, 1, 2, tzinfo=UTC)) if state is Observed.EXITED else (None, None)
        self.seen = Sighting(0, "c1", "web", "web", "web", state, START, end, code)


class DyingLedger(MonitorLedger):
    """Kills its process at ``point``, and notes what was written."""

    def __init__(self, registry: Registry, point: str) -> None:
        super().__init__(registry, "n1")
        self._point = point
        self.known = trio.Event()
        self.told = trio.Event()

    async def record(
        self, facts: Sequence[Fact], states: Sequence[Known], alerts: Sequence[NewAlert], now: datetime
    ) -> tuple[Alert, ...]:
        if alerts:
            self._die_at("before commit")
        sent = await super().record(facts, states, alerts, now)
        if alerts:
            self._die_at("after commit")
        self.known.set()
        return sent

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        self._die_at("after exec")
        await super().record_attempt(alert, execution, delivery, now)
        self._die_at("after it was recorded")
        self.told.set()

    def _die_at(self, point: str) -> None:
        if self._point == point:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(database: Path, command: str, state: Observed, point: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with Registry.open(database) as registry, trio.open_nursery() as nursery:
            ledger, world = DyingLedger(registry, point), World(state)
            dispatcher = Dispatcher(ledger, lambda: (command,), 10.0)
            await nursery.start(Monitor("n1", world, world, ledger, dispatcher, Settings()).run)
            if state is Observed.RUNNING:
                await ledger.known.wait()
            elif not await ledger.alerts() or await ledger.pending_alerts():
                await ledger.told.wait()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], Observed(sys.argv[3]), sys.argv[4])
