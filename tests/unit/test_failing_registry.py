"""A registry that cannot be written: what is observed and told goes on, what changes is refused, nothing is half done.

The disk is SQLite's own: a database that may have no more pages is full, one that may only be asked is read-only.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from grpclib.const import Status

from mcpd.changes.operations import Operation, Operations, RevertedError
from mcpd.errors import DamagedRegistryError, RegistryError, UnwritableError
from mcpd.model import Caller, Result, Role, Target
from mcpd.node.restore_report import tell_of_missing
from mcpd.registry import health
from mcpd.registry.audit import AuditEntry, AuditLog
from mcpd.registry.journal import State
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc.call import Call
from mcpd.rpc.grpc_status import status_of
from mcpd.snapshots import take
from monitor import writer
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, AlertKind, Delivery, Desired, Execution, Fact, Known, Observed, Sighting, Wanted
from monitor.ports import NewAlert
from monitor.ports import Target as Declared
from monitor.watch import Monitor, Settings
from monitor.writer import Writer
from tests.support.builders import service
from tests.support.failing_changes import BOTH, CHANGES, Changed, carry_out
from tests.support.idle_node import StillIntent, StillRuntime

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPS = Caller("ops", Role.ADMIN)
DEADLINE_S = 30


async def until(condition: Callable[[], object]) -> None:
    """Waits until ``condition`` is true; the test's nursery goes on meanwhile."""
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.01)


async def until_so(question: Callable[[], Awaitable[object]]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not await question():  # noqa: ASYNC110
            await trio.sleep(0.01)


@contextlib.contextmanager
def read_only(registry: Registry) -> Iterator[None]:
    registry._writer.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        registry._writer.execute("PRAGMA query_only = OFF")


@contextlib.contextmanager
def full(registry: Registry) -> Iterator[None]:
    """No page more: what fits into those that are there still does."""
    (pages,) = registry._writer.execute("PRAGMA page_count").fetchone()
    registry._writer.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        registry._writer.execute("PRAGMA max_page_count = 1073741823")


async def note(registry: Registry, words: str = "x") -> None:
    await registry.add_event("web", "api", "deployed", words, "kyle", NOW)


# --------------------------------------------------------------------------------------- what the registry says of it


async def test_what_cannot_be_written_is_told_with_the_file_sqlites_words_and_the_remedy(
    registry: Registry, tmp_path: Path
) -> None:
    assert (registry.state.name, registry.state.ok, registry.state.detail) == ("registry", True, "")
    with read_only(registry), pytest.raises(UnwritableError) as refused:
        await note(registry)
    assert f"{tmp_path / 'mcp.db'} cannot be written: attempt to write a readonly database; make it" in str(
        refused.value
    )
    assert (registry.state.ok, registry.state.detail) == (False, str(refused.value))
    with full(registry), pytest.raises(UnwritableError, match=r"database or disk is full; free space .*df -h"):
        await note(registry, "x" * 100_000)
    assert "disk is full" in registry.state.detail


async def test_it_works_again_when_a_trial_with_room_for_more_says_so(registry: Registry) -> None:
    with full(registry):
        with pytest.raises(UnwritableError):
            await note(registry, "x" * 100_000)
        await note(registry)
        assert not registry.state.ok, "that a little fits says nothing"
        with pytest.raises(UnwritableError):
            await registry.attempt()
    await registry.attempt()
    assert (registry.state.ok, registry.state.detail) == (True, "")
    left = await registry.ask(lambda db: db.execute("SELECT count(*) FROM facts_of_node").fetchone()[0])
    assert left == 0, "the trial leaves nothing behind"


async def test_a_write_that_failed_changes_nothing_of_what_is_answered_from_memory(registry: Registry) -> None:
    await registry.put_service(service(), {"api": "h"}, NOW)
    known = await registry.services()
    with read_only(registry), pytest.raises(UnwritableError):
        await registry.forget("web", ["api"], NOW)
    assert registry.services_in_memory == known
    assert await registry.services() == known


async def test_a_statement_that_is_refused_is_no_failure_of_the_disk(registry: Registry) -> None:
    def twice(db: sqlite3.Connection) -> None:
        for _ in range(2):
            db.execute("INSERT INTO facts_of_node (name, value) VALUES ('a', 'b')")

    with pytest.raises(RegistryError, match="UNIQUE"):
        await registry.transact(twice)
    assert registry.state.ok


async def test_a_damaged_registry_is_written_no_more_and_says_how_to_restore_it(registry: Registry) -> None:
    def malformed(_: sqlite3.Connection) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(DamagedRegistryError, match=r"is damaged: .*malformed; stop mcpd, and `mcpd restore`"):
        await registry.ask(malformed)
    assert not registry.state.ok
    with pytest.raises(DamagedRegistryError, match="malformed"):
        await note(registry)
    assert await registry.events() == ()
    await registry.attempt()
    await note(registry)
    assert registry.state.ok, "a look at all of it found nothing wrong"


async def test_bytes_that_mcpd_never_wrote_are_damage(registry: Registry, tmp_path: Path) -> None:
    await registry.put_service(service(), {"api": "h"}, NOW)
    for column, value in (("spec", "no JSON"), ("desired", "runnung"), ("spec", b"\xff\xfe")):
        path = tmp_path / f"{column}{len(value)}.db"
        with contextlib.closing(sqlite3.connect(path)) as copy:
            registry._writer.backup(copy)
            copy.execute(f"UPDATE components SET {column} = CAST(? AS TEXT)", (value,))
            copy.commit()
        with pytest.raises(DamagedRegistryError, match=r"is damaged.*`mcpd restore`"):
            async with Registry.open(path):
                pass


def test_every_error_of_the_disk_has_a_remedy_and_a_status(tmp_path: Path) -> None:
    for code in health._UNWRITABLE:
        error = sqlite3.OperationalError("words of SQLite's")
        error.sqlite_errorcode = code | 1 << 8
        found = health.failure(tmp_path / "mcp.db", error)
        assert isinstance(found, UnwritableError)
        assert not isinstance(found, DamagedRegistryError)
        assert str(found).startswith(f"{tmp_path}/mcp.db cannot be written: words of SQLite's; ")
    for kind in (UnwritableError, DamagedRegistryError):
        call = Call("/mcp.v1.AgentService/Deploy", "")
        assert status_of(kind("words"), call, has_gone=False) == (Status.FAILED_PRECONDITION, "words")


async def test_that_a_registry_is_missing_beside_its_snapshots_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "mcp.db"
    tell_of_missing(database)
    async with Registry.open(database):
        pass
    made = take.take(database, take.default_folder(database), NOW)
    tell_of_missing(database)
    assert capsys.readouterr().out == "", "a node that is new, and one that has its registry"
    database.unlink()
    tell_of_missing(database)
    assert f"`mcpd restore {made.path}`" in capsys.readouterr().out


async def test_calls_wait_for_the_audit_table_and_are_said_to_once(
    registry: Registry, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    refused: list[RegistryError] = []

    class Heard(AuditLog):
        async def _insert(self, batch: list[AuditEntry]) -> None:
            try:
                await super()._insert(batch)
            except RegistryError as error:
                refused.append(error)
                raise

    audit = Heard(registry)
    nursery.start_soon(audit.run)

    def call(method: str) -> None:
        audit.note(AuditEntry(NOW, method, "kyle", "admin", "", "", "OK", NOW - NOW))

    with read_only(registry):
        call("Deploy")
        await until(lambda: len(refused) == 1)
        call("Plan")
        await until(lambda: len(refused) == 2)
    call("Sync")

    async def all_are_there() -> bool:
        return len(await audit.entries()) == 3

    await until_so(all_are_there)
    out = capsys.readouterr().out
    assert out.count("the audit table cannot be written yet") == 1
    assert out.count("caught up") == 1


# --------------------------------------------------------------------------------------------- what the monitor does


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


# ------------------------------------------------------------------------------------------- what changes do about it


@pytest.mark.parametrize("kind", CHANGES)
async def test_the_first_write_refuses_it_and_nothing_was_done(changed: Changed, kind: str) -> None:
    before = dict(changed.podman.found)
    changed.registry.limit(0)
    operation, error = await carry_out(changed, kind)
    assert operation is None
    assert isinstance(error, UnwritableError)
    assert "disk is full; free space" in str(error)
    assert changed.podman.found == before


@pytest.mark.parametrize("left", range(1, 20))
@pytest.mark.parametrize("kind", CHANGES)
async def test_wherever_it_fails_what_ran_runs_or_was_to_be_stopped(changed: Changed, kind: str, left: int) -> None:
    """However far it came: a restart and a deploy end what they began, and whoever asked is told of what was not."""
    before = dict(changed.podman.found)
    changed.registry.limit(left)
    operation, error = await carry_out(changed, kind)
    assert operation is not None
    if kind not in ("stop", "undeploy"):
        assert changed.running == BOTH
    if kind == "deploy" and error:
        assert isinstance(error, RevertedError | UnwritableError)
        assert "disk is full" in str(error)
        assert changed.podman.found == before
    if kind in ("stop", "undeploy") and error is None:
        # No component that still runs is said to be stopped, and none that was stopped is said to have failed.
        said = {each.component: each.result for each in operation.outcomes}
        for name, result in said.items():
            gone = f"web-{name}" not in changed.running
            assert gone == (result in (Result.STOPPED, Result.REMOVED)) or result is Result.FAILED


async def test_what_died_is_started_again_though_nothing_of_that_can_be_kept(changed: Changed) -> None:
    from mcpd.node.intent import NodeIntent

    await changed.podman.stop("web-db", NOW - NOW)
    changed.registry.limit(0)
    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            await NodeIntent(changed.node, operations, changed.seen).heal("web", "db")
        assert operations.running == ()
    assert changed.running == BOTH


async def test_an_end_that_could_not_be_kept_is_kept_before_anything_else_begins(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open in the journal, the next daemon would take it back: with what was deployed after it."""
    monkeypatch.setattr("mcpd.changes.operations._RECORD_AGAIN_S", 3600.0)
    states = []

    async def body(_: Operation) -> None:
        states.extend(each.state for each in await changed.journal.newest())

    async def fills_the_disk(_: Operation) -> None:
        await trio.lowlevel.checkpoint()
        changed.registry.limit(0)

    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            first = await operations.start("deploy", Target("web"), OPS, fills_the_disk)
            await first.finished()
            with pytest.raises(UnwritableError):
                await operations.start("deploy", Target("web"), OPS, body)
            changed.registry.limit(1000)
            await (await operations.start("deploy", Target("web"), OPS, body)).finished()
        nursery.cancel_scope.cancel()
    assert states == [State.COMPLETED, State.RUNNING]


async def test_an_end_that_could_not_be_kept_is_kept_without_anything_else(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpd.changes.operations._RECORD_AGAIN_S", 0.01)

    async def fills_the_disk(_: Operation) -> None:
        await trio.lowlevel.checkpoint()
        changed.registry.limit(0)

    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            await (await operations.start("stop", Target("web"), OPS, fills_the_disk)).finished()
            changed.registry.limit(1000)

            async def has_no_open_one() -> bool:
                return not await changed.journal.open()

            await until_so(has_no_open_one)
        nursery.cancel_scope.cancel()
