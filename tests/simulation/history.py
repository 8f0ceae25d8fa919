"""Plays a history of a node against the real monitor, and tells how it ended."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import trio
from trio.testing import MockClock

from mcpd.model import Event
from mcpd.registry import schema
from mcpd.registry.alerts import AlertRecord
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, AlertKind, Execution
from monitor.watch import Monitor, Settings

from .clocks import WallClock
from .life import populate
from .node import Key, Node
from .runtime import Quality

T = TypeVar("T")

SETTINGS = Settings(drift_grace=10.0, flap_threshold=3, flap_window=120.0, cooldown=60.0, resync_interval=30.0)
# Longer than resync, grace and window together, than the longest pause in healing, and than all of an alert's attempts.
QUIET_S = 1000.0
# A history takes some ten thousand steps of tasks; a monitor that spins takes this many in no time at all.
MAX_STEPS = 1_000_000
RECOVERED = AlertKind.RECOVERED


class InlineRegistry(Registry):
    """The real registry's statements on a database in memory, without its thread: the mock clock waits for none."""

    def __init__(self) -> None:
        connection = sqlite3.connect(":memory:")
        connection.row_factory = sqlite3.Row
        for script in schema.MIGRATIONS:
            connection.executescript(script)
        super().__init__(connection, connection)

    async def transact(
        self, transaction: Callable[[sqlite3.Connection], T], *, changes_services: bool = False, durable: bool = True
    ) -> T:
        await trio.lowlevel.checkpoint()
        with self._writer:
            result = transaction(self._writer)
        await trio.lowlevel.checkpoint()
        return result

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return await self.transact(question)

    def close(self) -> None:
        self._writer.close()


class Command:
    """Stands in for the operator's command: fails at random, and keeps when it was run for what."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.ran: defaultdict[int, list[bool]] = defaultdict(list)

    async def execute(self, argv: tuple[str, ...], alert: Alert, timeout: float) -> Execution:
        draw = self._node.draws.of(f"execute {alert.service}/{alert.component}")
        await trio.sleep(draw.uniform(0, 2))
        succeeded = draw.random() < 0.8
        self.ran[alert.id].append(succeeded)
        return Execution(0 if succeeded else 1, "exited")


class Spinning(trio.abc.Instrument):
    """Ends a run whose tasks take steps without end while no time passes."""

    def __init__(self, most: int) -> None:
        self.scope = trio.CancelScope()
        self.steps = 0
        self._most = most

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._most:
            self.scope.cancel()


class Played(NamedTuple):
    """A history at its end, and what the monitor made of it."""

    node: Node
    monitor: Monitor
    alerts: tuple[AlertRecord, ...]
    raised_at: dict[int, float]
    ran: dict[int, list[bool]]
    events: tuple[Event, ...]

    def open(self, key: Key) -> list[AlertKind]:
        return [each.alert.kind for each in self.of(key) if each.closed_at is None]

    def kinds(self, key: Key) -> list[tuple[str, str]]:
        """What the ledger says of a component, in the order in which it came to know it."""
        return [(each.kind, each.message) for each in self.events if (each.service, each.component) == key]

    def of(self, key: Key) -> list[AlertRecord]:
        return [each for each in self.alerts if (each.alert.service, each.alert.component) == key]

    @property
    def told(self) -> list[tuple[str, str, AlertKind]]:
        return [(each.alert.service, each.alert.component, each.alert.kind) for each in self.alerts]


Story = Callable[[Node], Any]


def play(
    seed: int, story: Story, *, clock: WallClock | None = None, quality: Quality | None = None, quiet: float = QUIET_S
) -> Played:
    """Plays one history to the end of its quiet period, and returns all that is to be known of it."""
    spinning = Spinning(MAX_STEPS)
    played: list[Played] = []

    async def main() -> None:
        registry = InlineRegistry()
        ledger = MonitorLedger(registry, "rift")
        async with trio.open_nursery() as nursery:
            node = Node(seed, nursery, quality or Quality())
            command = Command(node)
            dispatcher = Dispatcher(ledger, lambda: ("notify",), 30.0, command.execute)
            monitor = Monitor("rift", node.runtime, node, ledger, dispatcher, SETTINGS)
            raised_at = note_times(ledger)
            with spinning.scope:
                populate(node)
                await nursery.start(monitor.run)
                await story(node)
                await trio.sleep(quiet)
                alerts = await ledger.alerts(limit=10_000)
                events = await registry.events(limit=10_000)
                played.append(Played(node, monitor, alerts, raised_at, command.ran, events))
            nursery.cancel_scope.cancel()
        registry.close()

    with (clock or WallClock()).worn():
        schedule_by(seed)
        trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[spinning])
    assert played, f"the monitor spins: {MAX_STEPS} steps, and the end was not reached"
    return played[0]


def schedule_by(seed: int) -> None:
    """Trio runs what is ready at once in a random order, on purpose; a history must be the same when played again."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r = random.Random(seed)  # type: ignore[attr-defined]


def note_times(ledger: MonitorLedger) -> dict[int, float]:
    """When each alert was raised, by the clock that only moves forwards, as the ledger is told to keep it."""
    times: dict[int, float] = {}
    insert = ledger._insert

    def noting(db: sqlite3.Connection, *arguments: Any) -> Alert | None:
        made = insert(db, *arguments)
        (number,) = db.execute("SELECT max(id) FROM alerts").fetchone()
        times[number] = trio.current_time()
        return made

    ledger._insert = noting  # type: ignore[method-assign]
    return times
