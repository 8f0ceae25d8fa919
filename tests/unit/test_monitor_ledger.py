"""The monitor's ledger on a real database: what is kept once, together, and for how long."""

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpd.errors import NotFoundError, RegistryError
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind, Delivery, Execution, Fact, Known, Observed
from monitor.ports import NewAlert
from protos.fingerprint import spec_hash
from protos.parts import Health
from tests.support.builders import NOW, component, service

DRIFT, FLAP, RECOVERED = AlertKind.DRIFT, AlertKind.FLAP, AlertKind.RECOVERED
RUNNING, EXITED, REMOVED = Observed.RUNNING, Observed.EXITED, Observed.REMOVED
WELL = Execution(0, "exited 0", "sent")
BADLY = Execution(1, "exited 1", "no route to host")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fact(key: str = "c1/1/exited", state: Observed = EXITED, when: datetime = NOW, **changes: Any) -> Fact:
    made = Fact(key, "web", "api", "c1", state, when, "exited 1" if state is EXITED else "")
    return msgspec.structs.replace(made, **changes)


def known(state: Observed = EXITED, container: str = "c1", component: str = "api") -> Known:
    return Known(container, f"web-{component}", "web", component, state, NOW, NOW, 1, exit_code=1)


def alert(
    kind: AlertKind = DRIFT, component: str = "api", suppressed_by: str = "", reason: str = "exited 1"
) -> NewAlert:
    return NewAlert("web", component, kind, "running", "exited", reason, at(-5), 2, suppressed_by)


@pytest.fixture
async def ledger(registry: Registry) -> MonitorLedger:
    await declare(registry, "api", "db")
    return MonitorLedger(registry, "rift")


async def declare(registry: Registry, *names: str, of: str = "web") -> None:
    made = service(*(component(name) for name in names), name=of)
    await registry.put_service(made, {each.name: spec_hash(each) for each in made.components}, NOW)


async def raise_(ledger: MonitorLedger, *news: NewAlert, now: datetime = NOW) -> tuple[Alert, ...]:
    return await ledger.record((), (), news, now)


async def open_kinds(ledger: MonitorLedger) -> list[AlertKind]:
    return [each.alert.kind for each in await ledger.alerts(open_only=True)]


# Facts and states


async def test_a_fact_is_kept_once_by_its_key(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record((fact(), fact()), (), (), NOW)
    await ledger.record((fact(when=at(9), message="exited 2"), fact("c1/2/exited")), (), (), at(9))
    kept = await registry.events()
    assert [(each.kind, each.message, each.at) for each in kept] == [
        ("exited", "exited 1", NOW),
        ("exited", "exited 1", NOW),
    ]


async def test_a_fact_has_no_caller(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record((fact(),), (), (), NOW)
    (kept,) = await registry.events()
    assert (kept.service, kept.component, kept.caller) == ("web", "api", "")


async def test_a_failure_in_the_middle_keeps_nothing(registry: Registry, ledger: MonitorLedger) -> None:
    broken = alert()._replace(desired=None)  # type: ignore[arg-type]
    with pytest.raises(RegistryError):
        await ledger.record((fact(),), (known(),), (alert(), broken), NOW)
    assert await registry.events() == ()
    assert await ledger.remembered() == ([], [])
    found = await registry.service("web")
    assert found is not None
    assert found.components[0].observed is Observed.UNKNOWN


async def test_states_are_remembered_until_the_container_is_gone(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as first:
        await MonitorLedger(first, "rift").record((), (known(), known(RUNNING, "c2", "db")), (), NOW)
        await MonitorLedger(first, "rift").record((), (known(RUNNING), known(REMOVED, "c2", "db")), (), NOW)
    async with Registry.open(tmp_path / "mcp.db") as second:
        states, _ = await MonitorLedger(second, "rift").remembered()
    assert states == [known(RUNNING)]


YESTERDAYS = (
    '{"container":"c1","name":"web-api","service":"web","component":"api","state":"healthy",'
    '"since":"2026-03-01T12:00:00Z","started_at":"2026-03-01T12:00:00Z","order":7,"exit_code":null,'
    '"out_of_memory":false,"by_hand":false,"pid":42,"conmon_pid":41,"image":"app:v1","spec_hash":"h1",'
    '"probed":"healthy","probed_order":3,"words":"","probe":"0123456789abcdef","is_paused":false,"by_us":false}'
)


async def test_what_an_mcpd_of_before_knew_is_known_but_for_what_it_did_not_ask(registry: Registry) -> None:
    await registry.transact(lambda db: db.execute("INSERT INTO containers VALUES ('c1', ?)", (YESTERDAYS,)).close())
    ((found,), _) = await MonitorLedger(registry, "rift").remembered()
    assert (found.state, found.probe, found.own_probe) == (Observed.HEALTHY, "0123456789abcdef", msgspec.UNSET)


@pytest.mark.parametrize("probe", [None, msgspec.UNSET, Health(cmd=("ask", "it"), interval=timedelta(seconds=3))])
async def test_a_health_check_is_remembered_and_so_is_that_there_is_none(registry: Registry, probe: Any) -> None:
    ledger = MonitorLedger(registry, "rift")
    state = msgspec.structs.replace(known(), own_probe=probe)
    await ledger.record((), (state,), (), NOW)
    assert await ledger.remembered() == ([state], [])


async def test_a_state_is_that_of_the_component_whose_container_has_the_proper_name(
    registry: Registry, ledger: MonitorLedger
) -> None:
    await ledger.record((), (known(), msgspec.structs.replace(known(RUNNING, "c2"), name="web-api.last")), (), NOW)
    found = await registry.service("web")
    assert found is not None
    assert [(each.observed, each.container_id) for each in found.components] == [
        (EXITED, "c1"),
        (Observed.UNKNOWN, ""),
    ]


# Alerts


async def test_an_alert_gets_an_id_and_stays_open(ledger: MonitorLedger) -> None:
    first, second = await raise_(ledger, alert(), alert(component="db"))
    assert second.id > first.id
    assert (first.node, first.service, first.component, first.kind) == ("rift", "web", "api", DRIFT)
    assert (first.reason, first.since, first.transitions, first.attempts) == ("exited 1", at(-5), 2, 0)
    assert await open_kinds(ledger) == [DRIFT, DRIFT]


async def test_ids_are_never_used_again(ledger: MonitorLedger) -> None:
    (last,) = await raise_(ledger, alert(RECOVERED))
    await ledger.prune(at(10))
    (next_,) = await raise_(ledger, alert())
    assert next_.id > last.id


async def test_a_recovery_closes_what_is_open_of_its_component_and_is_not_open_itself(ledger: MonitorLedger) -> None:
    await raise_(ledger, alert(), alert(FLAP), alert(component="db"))
    await raise_(ledger, alert(RECOVERED), now=at(60))
    closed = {each.alert.kind: each.closed_at for each in await ledger.alerts("web", "api")}
    assert closed == {DRIFT: at(60), FLAP: at(60), RECOVERED: at(60)}
    assert [each.alert.component for each in await ledger.alerts(open_only=True)] == ["db"]


async def test_an_alert_after_the_recovery_is_open_again(ledger: MonitorLedger) -> None:
    await raise_(ledger, alert(), alert(RECOVERED), alert(FLAP))
    assert await open_kinds(ledger) == [FLAP]


async def test_what_a_reboot_lost_is_told_once_and_is_open_at_no_time(ledger: MonitorLedger) -> None:
    (told,) = await raise_(ledger, alert(AlertKind.REBOOT))
    assert told.kind is AlertKind.REBOOT
    assert await open_kinds(ledger) == []


async def test_what_is_suppressed_is_kept_with_its_rule_and_not_sent(ledger: MonitorLedger) -> None:
    assert await raise_(ledger, alert(suppressed_by="silence 3")) == ()
    (kept,) = await ledger.alerts()
    assert (kept.delivery, kept.suppressed_by, kept.closed_at) == (Delivery.SUPPRESSED, "silence 3", None)
    assert await ledger.pending_alerts() == ()


async def test_alerts_are_pending_after_a_restart_until_they_are_sent_or_have_failed(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as first:
        before = MonitorLedger(first, "rift")
        made = await raise_(before, alert(), alert(component="db"), alert(FLAP), alert(RECOVERED))
        await before.record_attempt(made[0].id, WELL, Delivery.SENT, NOW)
        await before.record_attempt(made[1].id, BADLY, Delivery.FAILED, NOW)
        await before.record_attempt(made[2].id, BADLY, Delivery.PENDING, NOW)
    async with Registry.open(tmp_path / "mcp.db") as second:
        pending = await MonitorLedger(second, "rift").pending_alerts()
    assert [(each.id, each.attempts) for each in pending] == [(made[2].id, 1), (made[3].id, 0)]
    assert pending[1] == made[3]


async def test_open_alerts_are_remembered_with_whether_they_were_suppressed(ledger: MonitorLedger) -> None:
    await raise_(ledger, alert(), alert(FLAP, suppressed_by="cooldown"), alert(component="db"))
    await raise_(ledger, alert(RECOVERED, "db"))
    _, alerts = await ledger.remembered()
    assert [(each.component, each.kind, suppressed) for each, suppressed in alerts] == [
        ("api", DRIFT, False),
        ("api", FLAP, True),
    ]


async def test_attempts_are_counted_and_the_last_one_is_shown(ledger: MonitorLedger) -> None:
    (made,) = await raise_(ledger, alert())
    await ledger.record_attempt(made.id, BADLY, Delivery.PENDING, at(1))
    await ledger.record_attempt(made.id, WELL, Delivery.SENT, at(2))
    (kept,) = await ledger.alerts()
    assert (kept.alert.attempts, kept.delivery, kept.exit_status) == (2, Delivery.SENT, 0)
    assert kept.output == "exited 0\nsent"


async def test_an_attempt_that_could_not_be_made_says_why(ledger: MonitorLedger) -> None:
    (made,) = await raise_(ledger, alert())
    await ledger.record_attempt(made.id, Execution(None, "no such file"), Delivery.PENDING, NOW)
    (kept,) = await ledger.alerts()
    assert (kept.exit_status, kept.output) == (None, "no such file")


async def test_the_output_that_is_kept_is_bounded(ledger: MonitorLedger) -> None:
    (made,) = await raise_(ledger, alert())
    await ledger.record_attempt(made.id, Execution(1, "exited 1", "x" * 100_000), Delivery.PENDING, NOW)
    (kept,) = await ledger.alerts()
    assert len(kept.output) <= 4096


async def test_the_newest_alerts_are_listed_oldest_first(ledger: MonitorLedger) -> None:
    made = await raise_(ledger, *(alert(component=name) for name in ("api", "db", "api", "api")))
    assert [each.alert.id for each in await ledger.alerts(limit=2)] == [made[2].id, made[3].id]
    assert [each.alert.id for each in await ledger.alerts("web", "db")] == [made[1].id]
    assert await ledger.alerts("shop") == ()


async def test_an_acknowledgement_is_kept_with_who_and_why(ledger: MonitorLedger) -> None:
    (made,) = await raise_(ledger, alert())
    acked = await ledger.acknowledge(made.id, "ops", "on it")
    assert (acked.acked_by, acked.ack_note, acked.closed_at) == ("ops", "on it", None)
    assert await ledger.alerts() == (acked,)


async def test_what_there_is_not_cannot_be_acknowledged(ledger: MonitorLedger) -> None:
    with pytest.raises(NotFoundError, match="no alert 99 on rift"):
        await ledger.acknowledge(99, "ops", "")


@pytest.mark.parametrize("text", ["'; DROP TABLE alerts; --", "a\nb\0c", "\N{SNOWMAN}" * 5000, "$(reboot)"])
async def test_any_text_comes_back_as_it_was(ledger: MonitorLedger, text: str) -> None:
    (made,) = await raise_(ledger, alert(reason=text))
    await ledger.acknowledge(made.id, text, text)
    (kept,) = await ledger.alerts()
    assert (kept.alert.reason, kept.acked_by, kept.ack_note) == (text, text, text)


# Silences


async def test_a_silence_is_in_force_until_its_time(ledger: MonitorLedger) -> None:
    assert await ledger.silences(NOW) == []
    made = await ledger.silence("web", "api", at(60), "upgrade", "ops")
    assert await ledger.silences(NOW) == [made]
    assert await ledger.silences(at(59)) == [made]
    assert await ledger.silences(at(60)) == []


async def test_silences_outlive_a_restart(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as first:
        made = await MonitorLedger(first, "rift").silence("web", "", at(60), "upgrade", "ops")
    async with Registry.open(tmp_path / "mcp.db") as second:
        assert await MonitorLedger(second, "rift").silences(NOW) == [made]


# Housekeeping


async def test_a_silence_that_is_ended_keeps_its_row_until_it_is_pruned(ledger: MonitorLedger) -> None:
    made = await ledger.silence("web", "api", at(600), "upgrade", "ops")
    other = await ledger.silence("web", "", at(600), "upgrade", "ops")
    assert await ledger.silences(NOW) == [made, other]
    assert await ledger.end_silence(made.id, at(60)) == made._replace(until=at(60))
    assert await ledger.silences(at(59)) == [made._replace(until=at(60)), other]
    assert await ledger.silences(at(60)) == [other]
    for number in (made.id, 99, 2**63 + 5):
        with pytest.raises(NotFoundError, match=f"silence {number} .*mcpctl alerts list"):
            await ledger.end_silence(number, at(61))


async def test_silences_of_exactly_a_target_are_ended_together(ledger: MonitorLedger) -> None:
    one, two = [await ledger.silence("web", "api", at(600 + number), "x", "ops") for number in range(2)]
    whole = await ledger.silence("web", "", at(600), "x", "ops")
    assert [each.id for each in await ledger.end_silences("web", "api", NOW)] == [one.id, two.id]
    assert await ledger.silences(NOW) == [whole]
    with pytest.raises(NotFoundError, match=f"of web/api is in force on rift, but silence {whole.id} of web;"):
        await ledger.end_silences("web", "api", NOW)
    assert [each.id for each in await ledger.end_silences("web", "", NOW)] == [whole.id]
    with pytest.raises(NotFoundError, match="no silence of web is in force on rift; `mcpctl alerts list`"):
        await ledger.end_silences("web", "", NOW)


async def test_open_alerts_are_counted_with_those_that_a_silence_keeps_quiet(ledger: MonitorLedger) -> None:
    await raise_(ledger, alert(), alert(component="db"), alert(FLAP, component="db"))
    await ledger.silence("web", "db", at(60), "x", "ops")
    standing = await ledger.standing(NOW)
    assert (standing.open, standing.silenced) == ({DRIFT: 2, FLAP: 1}, {DRIFT: 1, FLAP: 1})
    assert (await ledger.standing(at(60))).silenced == {}


async def test_old_events_and_closed_alerts_go(registry: Registry, ledger: MonitorLedger) -> None:
    await registry.add_event("web", "api", "deployed", "v1", "ops", NOW)
    await ledger.record((fact("1"), fact("2", when=at(1))), (), (alert(), alert(RECOVERED)), NOW)
    for each in await ledger.pending_alerts():
        await ledger.record_attempt(each.id, Execution(0, "exited 0"), Delivery.SENT, NOW)
    await ledger.silence("web", "", at(5), "", "ops")
    removed = await ledger.prune(at(100))
    assert [each.at for each in await registry.events()] == [at(1)]
    assert await ledger.alerts() == ()
    assert removed == 5


async def test_what_is_within_the_retention_stays(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record((fact(),), (), (alert(), alert(RECOVERED)), NOW)
    await ledger.silence("web", "", at(5), "", "ops")
    assert await ledger.prune(NOW) == 0
    assert len(await registry.events()) == 1
    assert len(await ledger.alerts()) == 2


async def test_the_newest_fact_of_every_component_stays_however_old(registry: Registry, ledger: MonitorLedger) -> None:
    facts = [fact(f"{name}/{number}", component=name) for name in ("api", "db") for number in range(3)]
    await ledger.record(facts, (), (), NOW)
    await registry.add_event("web", "api", "stopped", "", "ops", NOW)
    await ledger.prune(at(10_000))
    assert [each.component for each in await registry.events()] == ["api", "db"]
    assert set(await registry.states_at(at(10_000))) == {("web", "api"), ("web", "db")}


async def test_open_alerts_stay_however_old(ledger: MonitorLedger) -> None:
    await raise_(ledger, alert(), alert(FLAP, suppressed_by="silence 1"))
    await ledger.prune(at(1_000_000))
    assert await open_kinds(ledger) == [DRIFT, FLAP]


async def test_what_is_still_to_be_sent_is_not_pruned(ledger: MonitorLedger) -> None:
    """A command that has failed for the whole retention: the recovery is news to the operator all the same."""
    made = await raise_(ledger, alert(), alert(RECOVERED))
    await ledger.prune(at(1_000_000))
    assert [each.id for each in await ledger.pending_alerts()] == [each.id for each in made]


async def test_the_boot_id_is_exchanged(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as first:
        assert await MonitorLedger(first, "rift").exchange_boot_id("a") == ""
        assert await MonitorLedger(first, "rift").exchange_boot_id("a") == "a"
    async with Registry.open(tmp_path / "mcp.db") as second:
        assert await MonitorLedger(second, "rift").exchange_boot_id("b") == "a"


# The past


async def test_the_state_at_any_time_is_that_of_the_last_fact_before_it(
    registry: Registry, ledger: MonitorLedger
) -> None:
    for number in range(300):
        state = RUNNING if number % 2 == 0 else EXITED
        await ledger.record(
            [
                fact(f"api/{number}", state, at(number)),
                fact(f"db/{number}", state, at(number + 0.5), component="db"),
            ],
            (),
            (),
            at(number),
        )
        await registry.add_event("web", "api", "deployed", "", "ops", at(number))
    assert await registry.states_at(at(-1)) == {}
    for number in (0, 1, 17, 150, 299):
        found = await registry.states_at(at(number))
        assert found["web", "api"].kind == ("running" if number % 2 == 0 else "exited")
        assert found["web", "api"].at == at(number)
        assert number == 0 or found["web", "db"].at == at(number - 0.5)
    assert found["web", "db"].kind == "running"


async def test_a_fact_that_was_learned_late_counts_at_its_own_time(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record([fact("2", RUNNING, at(20))], (), (), at(20))
    await ledger.record([fact("1", EXITED, at(10))], (), (), at(30))
    assert (await registry.states_at(at(15)))["web", "api"].kind == "exited"
    assert (await registry.states_at(at(25)))["web", "api"].kind == "running"


async def test_pruning_keeps_the_fact_that_is_newest_by_its_own_time(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record([fact("2", RUNNING, at(20))], (), (), at(20))
    await ledger.record([fact("1", EXITED, at(10))], (), (), at(30))
    await ledger.prune(at(10_000))
    assert (await registry.states_at(at(20_000)))["web", "api"].kind == "running"


async def test_what_a_deploy_replaced_is_gone_last_and_its_successor_runs(
    registry: Registry, ledger: MonitorLedger
) -> None:
    of_old = [fact("old/1/running", RUNNING, at(0)), fact("old/1/exited", EXITED, at(10))]
    of_new = [fact("new/1/running", RUNNING, at(11), container="c2")]
    await ledger.record([*of_old, *of_new, fact("old//removed", REMOVED, at(12))], (), (), at(12))

    async def state(seconds: float) -> str:
        return (await registry.states_at(at(seconds)))["web", "api"].kind

    assert [await state(5), await state(10.5), await state(20)] == ["running", "exited", "running"]
    await ledger.prune(at(10_000))
    assert await state(20) == "running"
    await ledger.record([fact("new//removed", REMOVED, at(30))], (), (), at(30))
    assert await state(40) == "removed"


async def test_what_is_not_declared_any_more_has_no_state_then(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.record([fact(), fact("x", component="db")], (), (), NOW)
    await registry.forget("web", ["api"], at(10))
    assert set(await registry.states_at(at(20))) == {("web", "db")}


async def test_an_alert_that_is_acknowledged_or_silenced_is_told_no_more(registry: Registry) -> None:
    ledger = MonitorLedger(registry, "rift")
    first, second, third = await ledger.record((), (), [alert(component=name) for name in ("a", "b", "c")], NOW)
    assert not await ledger.suppress_if_hushed(first, NOW)
    await ledger.acknowledge(first.id, "ops", "seen")
    await ledger.silence(second.service, "b", NOW + timedelta(hours=1), "maintenance", "ops")
    assert await ledger.suppress_if_hushed(first, NOW)
    assert await ledger.suppress_if_hushed(second, NOW)
    assert not await ledger.suppress_if_hushed(third, NOW)
    assert [each.id for each in await ledger.pending_alerts()] == [third.id]
    assert [each.suppressed_by for each in await ledger.alerts()] == [
        "acknowledged by ops",
        f"silence 1 until {NOW + timedelta(hours=1):%Y-%m-%d %H:%M} UTC",
        "",
    ]


async def test_what_was_seen_before_a_component_was_recorded_is_known_when_it_is(registry: Registry) -> None:
    """A first deploy starts the container before it commits what was deployed."""
    ledger = MonitorLedger(registry, "rift")
    await ledger.record((), [known(RUNNING)], (), NOW)
    await declare(registry, "api", "db")
    found = await registry.service("web")
    assert found
    assert [each.observed for each in found.components] == [RUNNING, Observed.UNKNOWN]
    assert found.components[0].container_id == "c1"


# What a loss of power takes back


async def lose(registry: Registry, alert: Alert) -> None:
    """As a loss of power does with an alert that no later write has brought to the disk."""

    def take_back(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM alerts WHERE id = ?", (alert.id,))
        db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'alerts'", (alert.id - 1,))

    await registry.transact(take_back)


@pytest.fixture
def durable(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each transaction, whether it waits for the disk."""
    found: list[bool] = []
    transact = registry.transact

    def noted(transaction: Any, *, durable: bool = True, **more: Any) -> Any:
        found.append(durable)
        return transact(transaction, durable=durable, **more)

    monkeypatch.setattr(registry, "transact", noted)
    return found


async def test_the_id_of_an_alert_that_a_loss_of_power_took_back_is_not_given_again(
    registry: Registry, ledger: MonitorLedger
) -> None:
    await ledger.exchange_boot_id("first")
    await raise_(ledger, alert())
    (told,) = await raise_(ledger, alert(component="db"))
    await lose(registry, told)
    after = MonitorLedger(registry, "rift")
    await after.exchange_boot_id("second")
    (another,) = await raise_(after, alert(component="db"))
    assert another.id > told.id


async def test_within_a_boot_ids_follow_each_other(registry: Registry, ledger: MonitorLedger) -> None:
    await ledger.exchange_boot_id("first")
    (one,) = await raise_(ledger, alert())
    after = MonitorLedger(registry, "rift")
    await after.exchange_boot_id("first")
    (other,) = await raise_(after, alert(component="db"))
    assert (one.id, other.id) == (1, 2)


async def test_an_alert_waits_for_the_disk_when_no_id_is_reserved_for_it(
    ledger: MonitorLedger, durable: list[bool]
) -> None:
    durable.clear()  # of what the ledger began with
    for _ in range(3):
        await raise_(ledger, *[alert() for _ in range(25)])
    assert durable == [True, False, False]
    # What is told of the node takes an id, too; it waits anyway.
    await ledger.record_disk("/", is_full=True, reason="full", now=NOW)
    await raise_(ledger, alert())
    await raise_(ledger, alert())
    assert durable[3:] == [True, True, False]
