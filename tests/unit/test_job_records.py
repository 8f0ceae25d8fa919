"""What waits in memory while the registry cannot be written, and how it is written when it can be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mcpd.changes.jobs.records import _MOST_WAITING, Records
from mcpd.errors import UnwritableError
from mcpd.registry.job_ledger import Counted, JobLedger, Key
from mcpd.registry.jobs import KEPT_RUNS, Run, RunState
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind
from protos.fingerprint import spec_hash
from protos.spec import Component, Service

NOW = datetime(2027, 3, 28, 2, 30, tzinfo=UTC)
KEY = ("shop", "work")
WORK = Component("work", "job:v1", schedule="30 2 * * *")


class Told:
    """A registry with one job, on a disk that may be full, and what is told of its runs."""

    def __init__(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.sent: list[Alert] = []
        self.going: dict[Key, Run] = {}
        self.ledger = JobLedger(registry, MonitorLedger(registry, "rift"), "rift")
        self.records = Records(self.ledger, self.sent.append, self.going)
        transact = registry.transact

        async def full_or_not(transaction: Callable[..., Any], **how: Any) -> Any:
            if self.is_full:
                raise UnwritableError("the disk is full")
            return await transact(transaction, **how)

        monkeypatch.setattr(registry, "transact", full_or_not)

    async def begin(self, number: int, missed: str = "") -> Run:
        at = NOW + timedelta(days=number)
        return await self.records.begun(Run(0, *KEY, at, 0, "mcpd", "c1", None, None, at), at, missed)

    async def end(self, run: Run, state: RunState = RunState.SUCCEEDED) -> None:
        over = run.at + timedelta(minutes=5)
        words = f"job failed: {run.at:%d}" if state.is_failure else ""
        await self.records.ended(msgspec.structs.replace(run, state=state, message=words, ended_at=over))
        del self.going[KEY]

    async def kept(self) -> list[tuple[int, RunState]]:
        """The days of the runs that the registry has, oldest first, and how they are."""
        return [((each.at - NOW).days, each.state) for each in (await self.ledger.runs(KEY, 1000))[::-1]]

    async def accounted(self) -> tuple[int, int]:
        """Up to which day the job is accounted for: as the registry has it, and as it is."""
        (kept,), _ = await self.ledger.read()
        (true,), _ = await self.records.read()
        return (kept.accounted_until - NOW).days, (true.accounted_until - NOW).days


@pytest.fixture
async def told(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Told:
    await registry.put_service(Service("shop", "rift", (WORK,)), {"work": spec_hash(WORK)}, NOW)
    told = Told(registry, monkeypatch)
    await told.ledger.count_from([Counted(*KEY, "30 2 * * *", "UTC")], NOW)
    return told


RUNNING, SUCCEEDED, FAILED = RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED


async def test_a_run_that_goes_on_gets_its_row_and_its_account_when_the_disk_has_room(told: Told) -> None:
    told.is_full = True
    run = await told.begin(1, "1 run was missed")
    assert run.id == 0
    assert await told.accounted() == (0, 1)
    with pytest.raises(UnwritableError):
        await told.records.write()

    told.is_full = False
    await told.records.write()

    assert await told.kept() == [(1, RUNNING)]
    assert await told.accounted() == (1, 1)
    assert told.going[KEY].id
    assert [each.reason for each in told.sent] == ["1 run was missed"]
    # Who follows it has it as it was before.
    await told.end(run)
    await told.records.write()
    assert await told.kept() == [(1, SUCCEEDED)]
    assert len(told.sent) == 1


@pytest.mark.parametrize("how", ["written", "begun", "ended"])
async def test_ends_that_waited_are_written_before_what_comes_after_them(told: Told, how: str) -> None:
    first = await told.begin(1)
    told.is_full = True
    await told.end(first, FAILED)
    await told.end(await told.begin(2), FAILED)
    third = await told.begin(3) if how == "ended" else None
    assert await told.kept() == [(1, RUNNING)]

    told.is_full = False
    if how == "written":
        await told.records.write()
    await told.end(third or await told.begin(3))

    assert await told.kept() == [(1, FAILED), (2, FAILED), (3, SUCCEEDED)]
    assert await told.accounted() == (3, 3)
    (account,), _ = await told.ledger.read()
    assert account.trouble == ""
    assert [each.kind for each in told.sent] == [AlertKind.JOB, AlertKind.RECOVERED]


async def test_a_run_and_its_account_are_one_commit(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.is_full = True
    await told.end(await told.begin(1, "1 run was missed"))
    await told.end(await told.begin(2))
    ended, written = told.ledger.ended, 0

    async def once(*arguments: Any) -> Any:
        nonlocal written
        told.is_full = written == 1
        written += 1
        return await ended(*arguments)

    monkeypatch.setattr(told.ledger, "ended", once)
    with pytest.raises(UnwritableError):
        await told.records.write()

    assert await told.kept() == [(1, SUCCEEDED)]
    assert await told.accounted() == (1, 2)
    assert [each.reason for each in told.sent] == ["1 run was missed"]


async def test_a_clock_that_is_set_back_counts_after_what_waited(told: Told) -> None:
    told.is_full = True
    await told.end(await told.begin(9))
    with pytest.raises(UnwritableError):
        await told.records.count_back(KEY, NOW + timedelta(days=4))
    assert await told.accounted() == (0, 4)

    told.is_full = False
    await told.records.write()

    assert await told.kept() == [(9, SUCCEEDED)]
    assert await told.accounted() == (4, 4)


async def test_no_more_wait_than_are_kept_and_none_is_left_open(told: Told) -> None:
    first = await told.begin(1)
    told.is_full = True
    await told.end(first)
    for number in range(2, 2 * _MOST_WAITING):
        await told.end(await told.begin(number))
    assert len(told.records._ended[KEY]) == _MOST_WAITING + 1

    told.is_full = False
    await told.records.write()

    kept = await told.kept()
    assert len(kept) == KEPT_RUNS
    assert kept[-1] == (2 * _MOST_WAITING - 1, SUCCEEDED)
    assert (await told.records.read())[1] == []
    assert not told.records._ended


async def test_what_waits_of_a_job_that_is_forgotten_is_dropped(told: Told, registry: Registry) -> None:
    told.is_full = True
    await told.end(await told.begin(1, "1 run was missed"), FAILED)
    told.is_full = False
    await registry.forget("shop", ["work"], NOW)
    told.records.forget(set())

    await told.records.write()

    assert await told.kept() == []
    assert told.sent == []
    assert not told.records._ended


async def test_a_run_that_is_begun_a_second_time_keeps_what_it_was_to_tell(told: Told) -> None:
    told.is_full = True
    run = await told.begin(1, "1 run was missed")
    told.is_full = False

    later = NOW + timedelta(days=2)
    kept = await told.records.begun(msgspec.structs.replace(run, due_at=later, missed=1), later, "")

    assert (kept.id, kept.missed) == (told.going[KEY].id, 1)
    assert await told.kept() == [(1, RUNNING)]
    assert await told.accounted() == (2, 2)
    assert [each.reason for each in told.sent] == ["1 run was missed"]


async def test_a_schedule_that_counts_no_more_is_not_accounted_for(told: Told) -> None:
    told.is_full = True
    await told.begin(1)
    told.records.forget({KEY})
    assert await told.accounted() == (0, 1)
    told.records.forget(set())
    assert await told.accounted() == (0, 0)
