"""Thousands of random histories of a node: what the monitor knows, tells and closes is what truly happened.

``MCP_SIMULATION_HISTORIES`` is how many are played; ``MCP_SIMULATION_SEED`` plays the one of that seed alone.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import pytest
import trio
from trio.testing import MockClock

from mcpd.model import Event
from mcpd.registry import schema
from mcpd.registry.alerts import AlertRecord
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.drift import drift
from monitor.model import Alert, AlertKind, Delivery, Desired, Execution, Observed
from monitor.watch import Monitor, Settings
from protos.spec import Heal

from .world import OTHER, PATIENT, PROBE, PROBES, START, Key, Node, Quality, WallClock

T = TypeVar("T")

HISTORIES = int(os.environ.get("MCP_SIMULATION_HISTORIES", "150"))
SEED = os.environ.get("MCP_SIMULATION_SEED")
# A part of them a second time, with a wall clock that jumps.
JUMPING = max(1, HISTORIES // 5)
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

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == MAX_STEPS:
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
    spinning = Spinning()
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


def populate(node: Node) -> None:
    draw = node.draws.of("populate")
    for service, components in (("web", ("api", "db")), ("shop", ("cart",))):
        for component in components:
            node.declare(
                service,
                component,
                restart=draw.choice(["no", "always", "on-failure"]),
                heal=draw.choice([Heal.ALERT, Heal.RESTART]),
                probed=draw.random() < 0.5,
                settle=draw.choice([0.02, 0.5, 5.0, 60.0]),
            )
    for target in node.declared.values():
        node.runtime.start(node.runtime.create(target))


async def random_life(node: Node) -> None:
    """Things happen one after the other, or several at once; podman answers again at the end."""
    draw = node.draws.of("life")
    async with trio.open_nursery() as nursery:
        for _ in range(draw.randint(3, 25)):
            befall(node, draw, nursery)
            await trio.sleep(draw.choice([0.0, draw.uniform(0, 1), draw.uniform(0, 15), draw.uniform(0, 200)]))


def befall(node: Node, draw: random.Random, nursery: trio.Nursery) -> None:
    key = draw.choice([("web", "api"), ("web", "db"), ("shop", "cart")])
    service = key[0]
    code = draw.choice([0, 1, 137])
    at_once: dict[str, Callable[[], None]] = {
        "dies": lambda: node.dies(key, code),
        "out of memory": lambda: node.dies(key, 137, out_of_memory=True),
        "started by hand": lambda: node.started_by_hand(key),
        "removed": lambda: node.removed_by_hand(key),
        "recreated": lambda: node.recreated_by_hand(key),
        "paused": lambda: node.paused(key, paused=True),
        "goes on": lambda: node.paused(key, paused=False),
        "falls ill": lambda: node.falls_ill(key),
        "gets well": lambda: node.gets_well(key),
        "stream breaks": node.runtime.break_streams,
    }
    takes_time: dict[str, Callable[[], Any]] = {
        "stopped by hand": lambda: node.stopped_by_hand(key),
        "outage": lambda: node.outage(draw.uniform(0.1, 90)),
        "crashes": lambda: crashes(node, key, draw.randint(2, 6)),
        "deploy": lambda: node.deploy(service),
        "stop": lambda: node.set_desired(service, Desired.STOPPED),
        "start": lambda: node.set_desired(service, Desired.RUNNING),
        "undeploy": lambda: node.undeploy(service),
        "deploy again": lambda: node.deploy_again(service),
        "probe changed": lambda: node.change_probe(key, draw.choice(PROBES), asked=draw.random() < 0.7),
    }
    weights = {"dies": 5, "started by hand": 3, "gets well": 2, "deploy": 3, "deploy again": 3, "start": 2}
    weights |= {"falls ill": 2, "probe changed": 3}
    names = [*at_once, *takes_time]
    (name,) = draw.choices(names, [weights.get(each, 1) for each in names])
    if name in at_once:
        at_once[name]()
    else:
        nursery.start_soon(takes_time[name])


async def crashes(node: Node, key: Key, times: int) -> None:
    draw = node.draws.of("crashes")
    for _ in range(times):
        node.dies(key, 1)
        await trio.sleep(draw.uniform(0, 8))
        node.started_by_hand(key)


# What must hold at the end of every history


def the_state_known_is_the_true_one(played: Played) -> None:
    for key, target in played.node.declared.items():
        found = [each for each in played.monitor.known.values() if each.name == target.container]
        known = {each.state for each in found if each.state is not Observed.REMOVED} or {Observed.REMOVED}
        truth = {played.node.truth(key)}
        assert known <= truth, f"{key} is {truth}, and known to be {known}"
        assert len(known) == 1


def every_drift_has_an_open_alert_and_nothing_else_has(played: Played) -> None:
    for key, target in played.node.declared.items():
        reason = drift(target.wanted, played.node.seen(key))
        kinds = played.open(key)
        if reason:
            assert kinds, f"{key}: {reason}, and no alert is open"
            assert set(kinds) <= {AlertKind.DRIFT, AlertKind.FLAP}
            assert max(Counter(kinds).values()) == 1, f"{key}: {kinds} are open"
        else:
            assert kinds == [], f"{key} is as wanted, and {kinds} are open"


def nothing_is_open_of_what_is_not_declared_any_more(played: Played) -> None:
    for key in played.node.undeclared:
        assert played.open(key) == [], f"{key} was undeployed, and {played.open(key)} are open"


def every_alert_was_closed_before_another_of_its_kind(played: Played) -> None:
    for key in [*played.node.declared, *played.node.undeclared]:
        opened: dict[AlertKind, str] = {}
        for record in played.of(key):
            kind = record.alert.kind
            if kind is RECOVERED:
                assert opened, f"{key} recovered from nothing"
                opened.clear()
            else:
                # Again only for what a rule kept quiet, when the rule has ended.
                assert opened.get(kind, "a rule"), f"{key}: a second {kind} while one is open"
                opened[kind] = record.suppressed_by


def none_was_raised_during_our_own_operation(played: Played) -> None:
    for record in played.alerts:
        when = played.raised_at[record.alert.id]
        for span in played.node.operations:
            at_work = span.service == record.alert.service and span.begin < when < span.end
            # A service that is undeployed closes what was open of it, within the operation.
            assert not at_work or record.alert.kind is RECOVERED, f"{record.alert} within {span}"


def everything_that_was_not_suppressed_was_told_once(played: Played) -> None:
    for record in played.alerts:
        ran = played.ran.get(record.alert.id, [])
        if record.suppressed_by:
            assert ran == []
            assert record.delivery is Delivery.SUPPRESSED
        else:
            assert ran, f"{record.alert} was never told"
            assert True not in ran[:-1], f"{record.alert} was told again after it had been"
            assert record.delivery is (Delivery.SENT if ran[-1] else Delivery.FAILED)


INVARIANTS = (
    the_state_known_is_the_true_one,
    every_drift_has_an_open_alert_and_nothing_else_has,
    nothing_is_open_of_what_is_not_declared_any_more,
    every_alert_was_closed_before_another_of_its_kind,
    none_was_raised_during_our_own_operation,
    everything_that_was_not_suppressed_was_told_once,
)


def seeds(number: int) -> range | list[int]:
    return [int(SEED)] if SEED else range(number)


def stepped_clock(seed: int) -> WallClock:
    """Steps by hours, to and fro, every now and then."""

    def offset(now: float) -> float:
        return random.Random(f"{seed}/{int(now / 37)}").choice([0, 0, 3600, -3600, 7 * 3600, -5 * 3600])

    return WallClock(offset)


def test_whatever_happens_the_end_is_as_it_should_be() -> None:
    for seed in seeds(HISTORIES):
        try:
            played = play(seed, random_life)
            for holds in INVARIANTS:
                holds(played)
        except BaseException:
            print(f"MCP_SIMULATION_SEED={seed}")
            raise


def test_a_wall_clock_that_is_stepped_neither_fires_an_alert_nor_hides_one() -> None:
    for seed in seeds(JUMPING):
        try:
            steady, stepped = play(seed, random_life), play(seed, random_life, clock=stepped_clock(seed))
            assert stepped.told == steady.told
        except BaseException:
            print(f"MCP_SIMULATION_SEED={seed}")
            raise


def test_a_history_is_the_same_when_it_is_played_again() -> None:
    for seed in seeds(3):
        first, second = play(seed, random_life), play(seed, random_life)
        assert first.told == second.told
        assert first.raised_at == second.raised_at


# Single stories


@pytest.mark.parametrize("seed", range(20))
def test_a_deploy_of_what_is_well_tells_nothing(seed: int) -> None:
    """However late podman's events come, and however many are lost: what an operation did is not told afterwards."""

    async def story(node: Node) -> None:
        for _ in range(3):
            await trio.sleep(50)
            await node.deploy("web")

    assert play(seed, story).told == []


@pytest.mark.parametrize("seed", range(10))
def test_a_podman_that_does_not_answer_for_a_while_is_no_drift(seed: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        await node.outage(100)

    assert play(seed, story).told == []


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_probe_without_a_start_period_counts_at_once_whatever_the_wall_clock_says(hours: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        for key in node.declared:
            node.recreated_by_hand(key)
            node.falls_ill(key)

    played = play(2, story, clock=WallClock(lambda _: hours * 3600))
    assert any(target.health for target in played.node.declared.values())
    every_drift_has_an_open_alert_and_nothing_else_has(played)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_undeployed_while_it_drifts_is_let_go(seed: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        node.dies(("web", "api"), 1)
        await trio.sleep(4)
        await node.undeploy("web")

    played = play(seed, story)
    nothing_is_open_of_what_is_not_declared_any_more(played)
    assert all(each.service != "web" for each in played.monitor.known.values())


@pytest.mark.parametrize("seed", range(10))
def test_what_somebody_recreated_while_no_event_came_is_as_wanted_again(seed: int) -> None:
    """The new container is seen before the old one is known to be gone; both have the proper name."""

    async def story(node: Node) -> None:
        await trio.sleep(50)
        node.recreated_by_hand(("web", "api"))

    played = play(seed, story, quality=Quality(lost=1.0))
    for holds in INVARIANTS:
        holds(played)


# Probes that change, pauses, and what is ill


def one(node: Node, heal: Heal = Heal.ALERT, **changes: Any) -> Key:
    """The one component that a story is about, with a probe, and running."""
    node.declare("solo", "solo", **{"restart": "no", "heal": heal, "probed": True, **changes})
    node.runtime.start(node.runtime.create(node.declared["solo", "solo"]))
    node.notify()
    return "solo", "solo"


def ill(node: Node, key: Key, *names: str) -> None:
    container = node.container(key)
    assert container
    container.ill = frozenset(names)


SOLO = ("solo", "solo")


@pytest.mark.parametrize("seed", range(10))
def test_a_probe_that_is_changed_in_place_is_the_one_that_counts(seed: int) -> None:
    """Again and again, both ways: what one probe said is over when another is asked."""

    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(100)
        ill(node, key, "other")
        for health in (OTHER, PROBE, OTHER):
            await node.change_probe(key, health, asked=False)
            await trio.sleep(200)
        # One that is asked first, and finds fault, changes nothing.
        ill(node, key, "probe")
        await trio.sleep(200)
        await node.change_probe(key, PROBE, asked=True)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert played.node.truth(SOLO) is Observed.HEALTHY
    kinds = [each.alert.kind for each in played.of(SOLO)]
    assert kinds == [AlertKind.DRIFT, RECOVERED] * 2


@pytest.mark.parametrize("seed", range(5))
def test_a_probe_that_is_taken_away_takes_its_verdict_with_it(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        await node.change_probe(key, None, asked=False)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert played.kinds(SOLO)[-2:] == [
        ("unhealthy", "probe exited 1: no answer"),
        ("running", "it no longer has a probe"),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_probe_that_is_asked_otherwise_keeps_its_verdict(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        await node.change_probe(key, PATIENT, asked=False)

    played = play(seed, story)
    assert [kind for kind, _ in played.kinds(SOLO)] == ["running", "healthy", "unhealthy"]
    assert played.open(SOLO) == [AlertKind.DRIFT]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_paused_is_neither_ill_nor_healed_and_that_it_was_is_in_the_ledger(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        await trio.sleep(50)
        node.paused(key, paused=True)
        await trio.sleep(300)
        node.paused(key, paused=False)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert [each.alert.reason for each in played.of(SOLO)] == ["paused, should be running", "drift is over"]
    assert played.node.restarts == []
    assert played.kinds(SOLO) == [
        ("running", ""),
        ("healthy", "probe exited 0"),
        ("paused", "paused"),
        ("healthy", "unpaused"),
    ]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_ill_is_restarted_until_it_is_well(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story, quiet=3000)
    for holds in INVARIANTS:
        holds(played)
    assert played.node.restarts
    assert played.node.truth(SOLO) is Observed.HEALTHY
    assert not any("by hand" in each.alert.reason for each in played.of(SOLO))


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_ill_is_restarted_ever_less_often(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        node.cures = 0.0
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story, quiet=10_000)
    times = [when for _, when in played.node.restarts]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(times) > 5
    assert pauses[0] < 120
    # podman does not answer every time, and a start that failed is another attempt.
    assert min(pauses[-5:]) > 250
    assert not any("by hand" in each.alert.reason for each in played.of(SOLO))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_ill_is_left_alone_where_only_an_alert_is_wanted(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story)
    assert played.node.restarts == []
    assert played.open(SOLO) == [AlertKind.DRIFT]


def test_the_start_of_the_clock_is_in_the_past() -> None:
    """Else the probes' start period would be counted from a time that is still to come."""
    assert START.year < 2026
