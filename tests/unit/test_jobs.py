"""What is kept of jobs, and the alerts of their runs: beside those of their containers, and exactly while it is so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
import trio

from mcpd.changes.jobs.keeper import Jobs
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.registry import jobs as rows
from mcpd.registry.job_ledger import Counted, JobLedger
from mcpd.registry.jobs import KEPT_RUNS, Run, RunState
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.runtime.api import NoSuchError
from monitor.alerts.policy import Memory, Rules, judge
from monitor.drift import drift
from monitor.model import Alert, AlertKind, Desired, Observed, Seen, Wanted
from monitor.ports import NewAlert
from protos.fingerprint import spec_hash
from protos.spec import Component, Service

NOW = datetime(2027, 3, 28, 2, 30, tzinfo=UTC)
KEY = ("shop", "work")
WORK = Component("work", "job:v1", schedule="30 2 * * *")
WEB = Component("web", "x:v1")


class Kept:
    """A registry with one job that counts."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.monitor = MonitorLedger(registry, "rift")
        self.ledger = JobLedger(registry, self.monitor, "rift")
        self.told: list[Alert] = []

    async def declare(self, *components: Component) -> None:
        hashes = {each.name: spec_hash(each) for each in components}
        await self.registry.put_service(Service("shop", "rift", components), hashes, NOW)

    async def begin(self, number: int = 0, missed: str = "", **changes: object) -> Run:
        at = NOW + timedelta(days=number)
        run = Run(0, *KEY, at, 0, "mcpd", "c1", None, None, at, at)
        run, alerts = await self.ledger.account(msgspec.structs.replace(run, **changes), at, missed)
        self.told += alerts
        return run

    async def end(self, run: Run, state: RunState, message: str = "") -> None:
        over = (run.started_at or run.at) + timedelta(minutes=5)
        words = message or (f"job failed: {state}" if state.is_failure else "")
        ended = msgspec.structs.replace(run, state=state, message=words, ended_at=over)
        self.told += await self.ledger.ended(ended, over)

    @property
    def kinds(self) -> list[AlertKind]:
        return [each.kind for each in self.told]

    async def trouble(self) -> str:
        service = await self.registry.service("shop")
        assert service
        found = service.component("work")
        assert found
        return found.trouble

    async def open(self) -> list[AlertKind]:
        return [each.alert.kind for each in await self.monitor.alerts(open_only=True)]


@pytest.fixture
async def kept(registry: Registry) -> Kept:
    kept = Kept(registry)
    await kept.declare(WORK, WEB)
    await kept.ledger.count_from([Counted(*KEY, "30 2 * * *", "UTC")], NOW)
    return kept


JOB, RECOVERED, DRIFT = AlertKind.JOB, AlertKind.RECOVERED, AlertKind.DRIFT


async def test_a_failure_is_told_once_and_closes_with_the_next_success(kept: Kept) -> None:
    await kept.end(await kept.begin(0), RunState.FAILED, "job failed: exited 1; it printed last:\n    secret")
    await kept.end(await kept.begin(1), RunState.TIMED_OUT)
    await kept.end(await kept.begin(2), RunState.NOT_STARTED)
    assert kept.kinds == [JOB]
    assert "secret" in kept.told[0].reason
    # In status, without what it printed.
    assert await kept.trouble() == "job failed: not-started"
    await kept.end(await kept.begin(3), RunState.SUCCEEDED)
    assert kept.kinds == [JOB, RECOVERED]
    assert (await kept.trouble(), await kept.open()) == ("", [])
    await kept.end(await kept.begin(4), RunState.FAILED)
    assert kept.kinds == [JOB, RECOVERED, JOB]


async def test_a_run_that_an_operation_ended_says_nothing_of_the_job(kept: Kept) -> None:
    await kept.end(await kept.begin(0), RunState.STOPPED)
    assert kept.kinds == []
    await kept.end(await kept.begin(1), RunState.FAILED)
    await kept.end(await kept.begin(2), RunState.STOPPED)
    assert (kept.kinds, await kept.open()) == ([JOB], [JOB])


@pytest.mark.parametrize(
    ("state", "kinds", "stays"),
    [
        (RunState.SUCCEEDED, [JOB, RECOVERED], []),
        (RunState.STOPPED, [JOB, RECOVERED], []),
        # Another story: it is told as well, in the place of the first.
        (RunState.FAILED, [JOB, JOB], [JOB]),
    ],
)
async def test_what_is_overdue_is_so_until_it_ends(
    kept: Kept, state: RunState, kinds: list[AlertKind], stays: list[AlertKind]
) -> None:
    run = await kept.begin(0)
    kept.told += await kept.ledger.overdue(run, "job overdue", NOW)
    assert (await kept.trouble(), await kept.open()) == ("job overdue", [JOB])
    await kept.end(msgspec.structs.replace(run, overdue=True), state)
    assert (kept.kinds, await kept.open()) == (kinds, stays)


async def test_what_was_missed_is_news_and_closes_nothing(kept: Kept) -> None:
    await kept.end(await kept.begin(0), RunState.FAILED)
    await kept.begin(1, "3 runs were missed")
    assert [each.reason for each in kept.told] == ["job failed: failed", "3 runs were missed"]
    (record,) = await kept.monitor.alerts(open_only=True)
    assert record.alert.reason == "job failed: failed"


async def test_alerts_of_the_container_and_of_its_runs_close_each_by_itself(kept: Kept) -> None:
    await kept.end(await kept.begin(0), RunState.FAILED)
    missing = NewAlert(*KEY, DRIFT, "scheduled", "removed", "missing", NOW, 0, "")
    await kept.monitor.record((), (), [missing], NOW)
    assert await kept.open() == [JOB, DRIFT]
    # The monitor goes on with its own after a restart, and not with these.
    assert [each.kind for each, _ in (await kept.monitor.remembered())[1]] == [DRIFT]
    await kept.monitor.record((), (), [missing._replace(kind=RECOVERED)], NOW)
    assert await kept.open() == [JOB]
    await kept.monitor.record((), (), [missing], NOW)
    await kept.end(await kept.begin(1), RunState.SUCCEEDED)
    assert await kept.open() == [DRIFT]


async def test_what_a_silence_kept_quiet_is_told_when_it_ends(kept: Kept) -> None:
    until = NOW + timedelta(hours=1)
    silence = await kept.monitor.silence(*KEY, until, "moving", "kyle")
    await kept.end(await kept.begin(0), RunState.FAILED)
    kept.told += await kept.ledger.settle(NOW + timedelta(minutes=10))
    assert (kept.kinds, await kept.open()) == ([], [JOB])
    kept.told += await kept.ledger.settle(until + timedelta(seconds=1))
    assert (kept.kinds, await kept.open()) == ([JOB], [JOB])
    assert await kept.ledger.settle(until + timedelta(seconds=30)) == ()
    assert silence.until == until
    # One that was never told recovers without a word.
    await kept.monitor.silence(*KEY, until + timedelta(days=9), "moving", "kyle")
    await kept.end(await kept.begin(1), RunState.SUCCEEDED)
    kept.told.clear()
    await kept.end(await kept.begin(2), RunState.FAILED)
    await kept.end(await kept.begin(3), RunState.SUCCEEDED)
    assert (kept.kinds, await kept.open()) == ([], [])


async def test_one_that_is_stopped_is_in_no_trouble_and_makes_up_for_nothing(kept: Kept) -> None:
    await kept.end(await kept.begin(0), RunState.FAILED)
    await kept.registry.set_active("shop", "work", False, NOW)
    assert await kept.trouble() == ""
    kept.told += await kept.ledger.settle(NOW)
    assert (kept.kinds, await kept.open()) == ([JOB, RECOVERED], [])
    assert [each.schedule for each in (await kept.ledger.read())[0]] == [""]
    # Nor is what ends then.
    await kept.end(await kept.begin(1), RunState.FAILED)
    assert (await kept.trouble(), kept.kinds) == ("", [JOB, RECOVERED])
    await kept.registry.set_active("shop", "work", True, NOW)
    assert [each.schedule for each in (await kept.ledger.read())[0]] == [""]


@pytest.mark.parametrize(
    "changes", [{"schedule": "31 2 * * *"}, {"timezone": "Europe/Berlin"}, {"schedule": None}, {"active": False}]
)
async def test_another_schedule_counts_from_when_it_is_declared(kept: Kept, changes: dict[str, object]) -> None:
    await kept.declare(msgspec.structs.replace(WORK, timezone="UTC"), WEB)
    assert [each.schedule for each in (await kept.ledger.read())[0]] == ["30 2 * * *"]
    await kept.declare(msgspec.structs.replace(WORK, **changes), WEB)
    assert [each.schedule for each in (await kept.ledger.read())[0]] == [""]


async def test_one_that_is_forgotten_leaves_nothing_behind(kept: Kept) -> None:
    run = await kept.begin(0)
    await kept.registry.forget("shop", ["work"], NOW)
    await kept.end(run, RunState.FAILED)
    assert (await kept.ledger.read(), await kept.ledger.runs(KEY, 9)) == (([], []), [])
    assert kept.kinds == []
    # Also what the registry could not be told of in time.
    await kept.end(msgspec.structs.replace(run, id=0), RunState.FAILED)
    assert await kept.ledger.runs(KEY, 9) == []


async def test_no_more_runs_are_kept_than_a_person_looks_at(kept: Kept) -> None:
    for number in range(KEPT_RUNS + 5):
        await kept.end(await kept.begin(number), RunState.SUCCEEDED)
    found = await kept.ledger.runs(KEY, 1000)
    assert len(found) == KEPT_RUNS
    assert found[0].due_at == NOW + timedelta(days=KEPT_RUNS + 4)
    removed = await kept.monitor.prune(NOW + timedelta(days=KEPT_RUNS))
    assert removed >= KEPT_RUNS - 5
    assert len(await kept.ledger.runs(KEY, 1000)) == 5


async def test_who_is_about_to_end_a_run_is_known_of_that_run_alone(kept: Kept) -> None:
    before = await kept.begin(0)
    await kept.end(before, RunState.SUCCEEDED)
    run = await kept.begin(1)
    await kept.registry.transact(lambda db: rows.mark_stopped(db, *KEY, "deploy of shop by kyle"))
    await kept.ledger.started(run)
    assert await kept.ledger.stopped_by(run) == "deploy of shop by kyle"
    assert await kept.ledger.stopped_by(before) == ""


# -- what the monitor makes of a job

WANTED = Wanted("shop", "work", Desired.SCHEDULED, "job:v1", "h1")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(Observed.CREATED), ""),
        (Seen(Observed.RUNNING), ""),
        (Seen(Observed.EXITED, exit_code=0), ""),
        # That is told by whoever runs it.
        (Seen(Observed.EXITED, exit_code=1), ""),
        (Seen(Observed.PAUSED), "paused"),
        (Seen(Observed.REMOVED), "missing: no such container"),
        (Seen(Observed.UNKNOWN), "unknown: not seen"),
        (Seen(Observed.EXITED, "job:v1", "h2", 0), "ran with settings other than those declared"),
    ],
)
def test_a_job_has_to_be_there_and_not_to_run(seen: Seen, reason: str) -> None:
    assert drift(WANTED, seen) == reason


def test_its_trouble_is_shown_and_not_told_by_the_monitor() -> None:
    wanted, seen = msgspec.structs.replace(WANTED, trouble="job failed"), Seen(Observed.EXITED, exit_code=1)
    assert drift(wanted, seen) == "job failed"
    assert drift(msgspec.structs.replace(wanted, desired=Desired.STOPPED), seen) == ""
    memory = Memory(was_up=True)
    for _ in range(5):
        verdict = judge(memory, wanted, seen, 0.0, Rules())
        assert (verdict.raised, verdict.heal) == ((), False)
        memory = msgspec.structs.replace(verdict.memory, was_up=True)
    assert memory.falls == ()


def test_its_container_is_told_of_like_any_other() -> None:
    verdict = judge(Memory(), WANTED, Seen(Observed.REMOVED), 0.0, Rules())
    assert [each.kind for each in verdict.raised] == [DRIFT]


class Idle:
    """Operations, of which there are none."""

    running = ()

    def intent_changed(self) -> None:
        return


async def test_of_several_runs_that_an_earlier_daemon_has_left_open_one_is_followed(kept: Kept) -> None:
    # The registry could not be written when the first ended, and mcpd was killed soon after the second had begun.
    await kept.begin(0)
    await kept.begin(1)

    class Gone:
        async def inspect(self, container: str) -> None:
            raise NoSuchError(f"no such container: {container}", 404)

        async def logs(self, *_: object) -> list[tuple[int, bytes]]:
            raise NoSuchError("no such container", 404)

    node = cast(Node, SimpleNamespace(name="rift", podman=Gone(), registry=kept.registry))
    jobs = Jobs(node, cast(Operations, Idle()), kept.ledger, kept.told.append)
    async with trio.open_nursery() as jobs._nursery:
        await jobs._look()
    ended = await kept.ledger.runs(KEY, 10)
    assert [each.state for each in ended] == [RunState.FAILED, RunState.FAILED]
    assert "its container is gone" in ended[0].message
    assert "another run has begun since" in ended[1].message
