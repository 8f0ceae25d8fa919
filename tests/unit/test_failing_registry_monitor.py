"""The monitor beside a registry that cannot be written: it observes and alerts, and writes when it can."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from mcpd.errors import RegistryError, UnwritableError
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor import writer
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, AlertKind, Delivery, Desired, Execution, Fact, Known, Observed, Sighting, Wanted
from monitor.ports import NewAlert
from monitor.ports import Target as Declared
from monitor.watch import Monitor, Settings
from monitor.writer import Writer
from tests.support.builders import service
from tests.support.failing_registry import NOW, read_only, until, until_so
from tests.support.idle_node import StillIntent, StillRuntime


class World(StillRuntime, StillIntent):
    """One container of one component; the test says what becomes of it."""

    wanted = Declared(Wanted("web", "api", Desired.RUNNING, "", ""), "web-api")
    seen: Sighting

    def __init__(self) -> None:
        self.seen = Sighting(0, "c1", "web-api", "web", "api", Observed.RUNNING, NOW)
        self.healed = 0

    def dies(self) -> None:
        ended = Observed.EXITED
        self.seen = Sighting(0, "c1", "web-api", "web", "api", ended, self.seen.started_at, NOW, 137)

    def starts(self) -> None:
        self.seen = Sighting(0, "c1", "web-api", "web", "api", Observed.RUNNING, datetime.now(UTC))

    async def heal(self, service: str, component: str) -> None:
        self.healed += 1


class Command:
    """The operator's command: keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Alert] = []
        self.ends = [Execution(0, "exited 0")]

    async def execute(self, argv: tuple[str, ...], alert: Alert, timeout: float) -> Execution:
        await trio.lowlevel.checkpoint()
        self.told.append(alert)
        return self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]

    def kinds(self) -> list[str]:
        return [str(each.kind) for each in self.told]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_FIRST_S", 0.05)
    monkeypatch.setattr(writer, "_LONGEST_S", 0.1)


class Watched:
    """A monitor over a world, with a command that tells."""

    def __init__(self, registry: Registry) -> None:
        self.world, self.command = World(), Command()
        self.ledger = MonitorLedger(registry, "n1")
        self.dispatcher = Dispatcher(self.ledger, lambda: ("notify",), 10.0, self.command.execute)
        settings = Settings(drift_grace=0.5, cooldown=0.0, flap_threshold=100, resync_interval=0.02)
        self.monitor = Monitor("n1", self.world, self.world, self.ledger, self.dispatcher, settings)

    def link(self) -> tuple[bool, str]:
        found = {each.name: each for each in self.monitor.sources}["registry"]
        return found.ok, found.detail


@pytest.fixture
async def watched(registry: Registry, nursery: trio.Nursery, quick: None) -> Watched:  # noqa: ARG001
    await registry.put_service(service(), {"api": "h"}, NOW)
    made = Watched(registry)
    await nursery.start(made.monitor.run)
    await until(lambda: registry.newest_event)  # it is known to run
    return made


async def test_a_death_is_told_while_nothing_can_be_written_and_kept_when_it_can(
    registry: Registry, watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    with read_only(registry):
        watched.world.dies()
        await until(lambda: len(watched.command.told) == 2)
        assert sorted(watched.command.kinds()) == ["drift", "registry"]
        assert not watched.link()[0]
        assert "attempt to write a readonly database" in watched.link()[1]
        (trouble_told,) = [each for each in watched.command.told if each.kind is AlertKind.REGISTRY]
        assert "mcp.db cannot be written" in trouble_told.reason
        assert all(not each.is_kept for each in watched.command.told)
        watched.world.starts()
        await until(lambda: len(watched.command.told) == 3)
        assert await watched.ledger.alerts() == ()
    await until(lambda: watched.link()[0])
    await until(lambda: len(watched.command.told) == 4)
    assert sorted(watched.command.kinds()) == ["drift", "recovered", "recovered", "registry"]

    async def all_are_sent() -> bool:
        return bool(await watched.ledger.alerts()) and not await watched.ledger.pending_alerts()

    await until_so(all_are_sent)
    drift, recovered = await watched.ledger.alerts()
    assert (drift.alert.kind, drift.delivery, drift.alert.attempts) == (AlertKind.DRIFT, Delivery.SENT, 1)
    assert drift.closed_at is not None
    assert (recovered.alert.kind, recovered.delivery) == (AlertKind.RECOVERED, Delivery.SENT)
    assert [each.kind for each in await registry.events("web", "api")] == ["running", "exited", "running"]
    assert len(watched.command.told) == 4, "nothing was told twice"
    out = capsys.readouterr().out
    assert out.count("the registry cannot be written;") == 1
    assert out.count("the registry can be written again") == 1


async def test_what_nobody_took_before_is_tried_on_under_its_own_id(
    registry: Registry, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command fails while the registry does; its next attempt is of an alert that has a row."""
    monkeypatch.setattr("monitor.alerts.dispatch._BACKOFF_S", (0.5, 0.5, 0.5, 0.5))
    watched.command.ends = [Execution(1, "exited 1")]
    with read_only(registry):
        watched.world.dies()
        await until(lambda: "drift" in watched.command.kinds())
    await until(lambda: watched.link()[0])
    watched.command.ends = [Execution(0, "exited 0")]

    async def is_sent() -> bool:
        return any(each.delivery is Delivery.SENT for each in await watched.ledger.alerts())

    await until_so(is_sent)
    found = await watched.ledger.alerts()
    drifts = [each for each in watched.command.told if each.kind is AlertKind.DRIFT]
    assert not drifts[0].is_kept
    assert drifts[-1].id == found[0].alert.id
    assert len(drifts) == found[0].alert.attempts


async def test_how_an_alert_was_told_is_written_later_and_it_is_not_told_again(
    registry: Registry, nursery: trio.Nursery
) -> None:
    ledger, command = MonitorLedger(registry, "n1"), Command()
    dispatcher = Dispatcher(ledger, lambda: ("notify",), 10.0, command.execute)
    await nursery.start(dispatcher.run)
    new = NewAlert("web", "api", AlertKind.DRIFT, "running", "exited", "exited 1", NOW, 0, "")
    (alert,) = await ledger.record((), (), [new], NOW)
    with read_only(registry):
        dispatcher.submit(alert)
        await until(lambda: dispatcher._unrecorded)
        with pytest.raises(UnwritableError):
            await dispatcher.catch_up()
        assert await dispatcher._pending() == {}, "it is pending there only because that could not be written"
    await dispatcher.catch_up()
    (record,) = await ledger.alerts()
    assert (record.delivery, record.alert.attempts) == (Delivery.SENT, 1)
    assert command.kinds() == ["drift"]


async def test_a_command_that_never_works_is_run_a_bounded_number_of_times(
    registry: Registry, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.alerts.dispatch._BACKOFF_S", (0.0, 0.0, 0.0, 0.0))
    ledger, command = MonitorLedger(registry, "n1"), Command()
    command.ends = [Execution(1, "exited 1")]
    dispatcher = Dispatcher(ledger, lambda: ("notify",), 10.0, command.execute)
    await nursery.start(dispatcher.run)
    new = NewAlert("web", "api", AlertKind.DRIFT, "running", "exited", "exited 1", NOW, 0, "")
    (alert,) = await ledger.record((), (), [new], NOW)
    with read_only(registry):
        dispatcher.submit(alert)
        await until(lambda: not dispatcher._lanes)
    await dispatcher.catch_up()
    (record,) = await ledger.alerts()
    assert (record.delivery, record.alert.attempts, len(command.told)) == (Delivery.FAILED, 5, 5)


async def test_memory_is_bounded_and_the_newest_facts_stay(
    registry: Registry,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    quick: None,  # noqa: ARG001
) -> None:
    monkeypatch.setattr(writer, "_FACTS_HELD", 10)
    monkeypatch.setattr(writer, "_ALERTS_HELD", 4)
    ledger, command = MonitorLedger(registry, "n1"), Command()
    dispatcher = Dispatcher(ledger, lambda: ("notify",), 10.0, command.execute)
    kept = Writer("n1", ledger, dispatcher)
    await nursery.start(dispatcher.run)
    nursery.start_soon(kept.run)
    with read_only(registry):
        for number in range(30):
            fact = Fact(f"k{number}", "web", "api", "c1", Observed.EXITED, NOW, f"{number}")
            known = Known("c1", "web-api", "web", "api", Observed.EXITED, NOW, NOW, number)
            kind = AlertKind.RECOVERED if number % 2 else AlertKind.DRIFT
            new = NewAlert("web", "api", kind, "running", "exited", f"{number}", NOW, 0, "")
            await kept.record([fact], [known], [new], NOW)
        await until(lambda: len(command.told) == 31)
        assert len(kept._states) == 1
    await registry.until(ok=True)
    await until(lambda: not kept._is_behind)
    assert [each.message for each in await registry.events()] == [str(number) for number in range(20, 30)]
    records = await ledger.alerts()
    assert [each.alert.reason for each in records] == ["26", "27", "28", "29"]
    assert all(each.closed_at for each in records)
    assert len(command.told) in (31, 32), "told once each; and that the registry works again"


async def test_what_was_held_is_written_before_anything_else_and_a_failure_in_the_middle_loses_nothing(
    registry: Registry,
) -> None:
    class Refusing(MonitorLedger):
        refuses = False

        async def record(self, *args: Any) -> tuple[Alert, ...]:
            if self.refuses:
                raise UnwritableError("disk is full")
            return await super().record(*args)

    def fact(number: int) -> Fact:
        return Fact(f"k{number}", "web", "api", "c1", Observed.EXITED, NOW, f"{number}")

    ledger = Refusing(registry, "n1")
    kept = Writer("n1", ledger, Dispatcher(ledger, tuple, 10.0))
    with read_only(registry):
        await kept.record([fact(0)], (), (), NOW)
    await kept.record([fact(1)], (), (), NOW)
    assert await registry.events() == (), "it could be written, and would come before what was held"
    ledger.refuses = True
    with pytest.raises(UnwritableError):
        await kept._write()
    await kept.record([fact(2)], (), (), NOW)
    ledger.refuses = False
    await kept._write()
    assert [each.message for each in await registry.events()] == ["0", "1", "2"]


async def test_what_the_ledger_refuses_is_a_bug_and_not_held_for_ever(registry: Registry) -> None:
    class Refusing(MonitorLedger):
        async def record(self, *_: object) -> tuple[Alert, ...]:
            raise RegistryError("UNIQUE constraint failed")

    ledger = Refusing(registry, "n1")
    kept = Writer("n1", ledger, Dispatcher(ledger, tuple, 10.0))
    with pytest.raises(RegistryError, match="UNIQUE"):
        await kept.record([Fact("k", "web", "api", "c1", Observed.EXITED, NOW)], (), (), NOW)
