"""The monitor over a podman whose events come too late: what an operation has started is known all the same."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec import UNSET

from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Known, Observed, Sighting
from monitor.ports import Alert, Ran, Target
from monitor.watch import Monitor, Settings
from protos.parts import Health
from tests.support.idle_node import Late, StillIntent, StillRuntime

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_what_an_operation_started_is_known_though_it_was_gone_before_podman_told(
    registry: Registry, nursery: trio.Nursery
) -> None:
    ledger, late = MonitorLedger(registry, "n1"), Late()
    dispatcher = Dispatcher(ledger, lambda: ("/bin/true",), 10.0)
    await nursery.start(Monitor("n1", late, late, ledger, dispatcher, Settings()).run)
    kinds: list[str] = []
    with trio.fail_after(30):
        while kinds != ["running", "removed"]:
            await trio.sleep(0.02)
            kinds = [each.kind for each in await registry.events("web")]


WELL = Health(cmd=("true",), interval=timedelta(milliseconds=10), retries=1)
ILL = msgspec.structs.replace(WELL, cmd=("false",))
HEALTHY, UNHEALTHY, RUNNING = Observed.HEALTHY, Observed.UNHEALTHY, Observed.RUNNING


class Probed(StillRuntime, StillIntent):
    """A container that runs on while its probe is changed; the command says what that finds."""

    def __init__(self, health: Health | None) -> None:
        self.seen = Sighting(0, "c1", "web", "web", "web", RUNNING, START)
        self.health = health
        self._changed = trio.Event()

    async def targets(self) -> Sequence[Target]:
        await trio.lowlevel.checkpoint()
        return (msgspec.structs.replace(self.wanted, health=self.health),)

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed = trio.Event()

    def change(self, health: Health | None) -> None:
        self.health = health
        self._changed.set()

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        await trio.lowlevel.checkpoint()
        return Ran(int(argv == ("false",)), "")


@asynccontextmanager
async def watched(registry: Registry, world: Probed) -> AsyncIterator[Monitor]:
    """What one daemon knows, as long as it lives."""
    ledger = MonitorLedger(registry, "n1")
    monitor = Monitor("n1", world, world, ledger, Dispatcher(ledger, lambda: (), 10.0), Settings())
    async with trio.open_nursery() as nursery:
        await nursery.start(monitor.run)
        yield monitor
        nursery.cancel_scope.cancel()


async def becomes(monitor: Monitor, state: Observed) -> None:
    with trio.fail_after(30):
        while True:
            if [each.state for each in monitor.known.values()] == [state]:
                return
            await trio.sleep(0.01)


async def test_a_probe_that_is_changed_in_place_is_heard_however_often(registry: Registry) -> None:
    world = Probed(WELL)
    async with watched(registry, world) as monitor:
        await becomes(monitor, HEALTHY)
        for health, state in [(ILL, UNHEALTHY), (WELL, HEALTHY), (ILL, UNHEALTHY), (None, RUNNING), (ILL, UNHEALTHY)]:
            world.change(health)
            await becomes(monitor, state)
        await becomes(monitor, UNHEALTHY)
    kinds = [each.kind for each in await registry.events("web")]
    # What a probe said is over when it is changed; the next is heard of the same run.
    assert " ".join(kinds) == ("running healthy running unhealthy running healthy running unhealthy running unhealthy")


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [(WELL, ILL, UNHEALTHY), (ILL, WELL, HEALTHY), (ILL, None, RUNNING), (WELL, None, RUNNING)],
)
async def test_a_probe_that_was_changed_before_a_restart_of_mcpd_is_heard_after_it(
    registry: Registry, before: Health, after: Health | None, state: Observed
) -> None:
    world = Probed(before)
    async with watched(registry, world) as monitor:
        await becomes(monitor, HEALTHY if before is WELL else UNHEALTHY)
    world.health = after
    async with watched(registry, world) as monitor:
        await becomes(monitor, state)


class OfImage(Probed):
    """A container whose image has a health check; counts how often podman is asked about it."""

    def __init__(self, check: Health | None, health: Health | None = None) -> None:
        super().__init__(health)
        self.seen = msgspec.structs.replace(self.seen, own_probe=check)
        self.looks = 0

    async def look(self, container: str) -> Sighting | None:
        self.looks += 1
        return await super().look(container)


@pytest.mark.parametrize(
    ("check", "health", "state"),
    [
        (WELL, None, HEALTHY),
        (ILL, None, UNHEALTHY),
        (ILL, WELL, HEALTHY),
        (ILL, Health(disable=True), RUNNING),
        (None, None, RUNNING),
    ],
)
async def test_the_probe_is_the_declared_one_or_the_images(
    registry: Registry, check: Health | None, health: Health | None, state: Observed
) -> None:
    async with watched(registry, OfImage(check, health)) as monitor:
        await becomes(monitor, state)


async def test_an_images_health_check_outlives_mcpd_without_another_look(registry: Registry) -> None:
    async with watched(registry, OfImage(ILL)) as monitor:
        await becomes(monitor, UNHEALTHY)
    world = OfImage(ILL)
    async with watched(registry, world) as monitor:
        assert [each.own_probe for each in monitor.known.values()] == [ILL]
        await becomes(monitor, UNHEALTHY)
        await monitor.progressed()
    # What is ill is looked at once more before that is said.
    assert world.looks <= 1
    assert [each.kind for each in await registry.events("web")] == ["running", "unhealthy"]


async def test_a_container_that_an_mcpd_of_before_knew_is_looked_at_once_and_gets_its_probe(
    registry: Registry,
) -> None:
    before = Known("c1", "web", "web", "web", RUNNING, START, START, 7, own_probe=UNSET)
    await MonitorLedger(registry, "n1").record((), (before,), (), START)
    world = OfImage(WELL)
    async with watched(registry, world) as monitor:
        await becomes(monitor, HEALTHY)
    # The resync, and the first word of the probe.
    assert world.looks <= 2
    assert await MonitorLedger(registry, "n1").alerts() == ()
    async with watched(registry, world) as monitor:
        await monitor.progressed()
        assert [each.own_probe for each in monitor.known.values()] == [WELL]


async def test_a_restart_of_mcpd_tells_nothing_of_a_probe_that_is_the_same(registry: Registry) -> None:
    world = Probed(WELL)
    for _ in range(3):
        async with watched(registry, world) as monitor:
            await becomes(monitor, HEALTHY)
            await monitor.progressed()
    assert [each.kind for each in await registry.events("web")] == ["running", "healthy"]


class Asked(StillRuntime, StillIntent):
    """A container that somebody stops by hand; podman says so when ``answers`` is set, and nothing before."""

    def __init__(self, seen: Sighting) -> None:
        self.seen: Sighting = seen
        self.answers = trio.Event()
        self.answers.set()

    async def look(self, container: str) -> Sighting | None:
        await self.answers.wait()
        return await super().look(container)

    def is_being_stopped(self) -> None:
        self.seen = msgspec.structs.replace(self.seen, by_hand=True)
        self.answers = trio.Event()


class Telling(Dispatcher):
    """Says when it has something to tell."""

    def __init__(self, ledger: MonitorLedger) -> None:
        super().__init__(ledger, lambda: (), 10.0)
        self.has_alert = trio.Event()

    def submit(self, alert: Alert) -> None:
        super().submit(alert)
        self.has_alert.set()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A container's main process, and its conmon, which writes the exit code into the folder ``exits``."""
    sleeps = [sys.executable, "-c", "import time; time.sleep(1000)", "--exit-dir", str(tmp_path)]
    both = subprocess.Popen(sleeps), subprocess.Popen(sleeps)
    try:
        yield both
    finally:
        for each in both:
            each.kill()
            each.wait()


async def test_an_end_is_no_alert_before_it_is_known_whether_somebody_stopped_it_by_hand(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    processes: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]],
) -> None:
    monkeypatch.setattr("monitor.sources.exits._BY_HAND_DEADLINE_S", 30.0)
    main, conmon = processes
    ledger, now = MonitorLedger(registry, "n1"), datetime.now(UTC)
    world = Asked(Sighting(0, "c1", "web", "web", "web", RUNNING, now, pid=main.pid, conmon_pid=conmon.pid))
    dispatcher = Telling(ledger)
    monitor = Monitor("n1", world, world, ledger, dispatcher, Settings())
    async with trio.open_nursery() as nursery:
        await nursery.start(monitor.run)
        await becomes(monitor, RUNNING)
        await monitor.progressed()
        world.is_being_stopped()
        (tmp_path / "c1").write_text("143")
        main.kill()
        await becomes(monitor, Observed.EXITED)
        await monitor.progressed()
        assert await ledger.alerts() == ()
        world.answers.set()
        with trio.fail_after(30):
            await dispatcher.has_alert.wait()
        nursery.cancel_scope.cancel()
    assert [each.alert.reason for each in await ledger.alerts()] == ["exited 143 (SIGTERM), stopped by hand"]
