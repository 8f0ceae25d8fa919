"""Runs the node's jobs when they are due, each time once.

Up to when a job is accounted for is kept with each run, before the run is started. What lies between that and now is
due: the last of these times gets a run, which makes up for the others. While a run goes on, none begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

import structlog
import trio

from mcpd.changes.jobs.due import Due, due_between, is_believed_back, next_due
from mcpd.changes.jobs.runs import Runs, Stands
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import McpdError, NotFoundError, RefusedError, RegistryError
from mcpd.model import MCPD, OURSELVES, Caller, RecordedComponent, Target
from mcpd.registry.job_ledger import Counted, JobLedger, Key
from mcpd.registry.jobs import Account, Run
from monitor.model import Alert
from protos.scheduling import DEFAULT_TIMEZONE

log = structlog.get_logger()

# How often the wall clock is looked at: it may be set, and the machine may sleep.
_LOOK_S = 30.0
# A moment, so that what is due at a full minute is so when it is looked at.
_SOONEST_S = 0.001
_RETRY_S = 5.0
# Between tries to start what is due while podman does not answer: ever longer, up to this.
_RETRY_MAX_S = 60.0
# A run that begins later than this after its time is told to be late.
_LATE = timedelta(minutes=1)

_DOWN = "mcpd was not running"
_HELD = "an operation was at work on its service, or podman did not answer"
_JUMPED = "the clock was set forward, or the machine slept"


class JobStatus(NamedTuple):
    """A job, up to when it is accounted for, when it runs next, and its runs, newest first."""

    recorded: RecordedComponent
    account: Account | None
    next_at: datetime | None
    going: Run | None
    runs: tuple[Run, ...]


class Jobs:
    """`run` is its whole life; the rest is asked of it. ``is_booting``: what jobs need is not up yet."""

    def __init__(
        self,
        node: Node,
        operations: Operations,
        ledger: JobLedger,
        submit: Callable[[Alert], None],
        is_booting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._node = node
        self._operations = operations
        self._ledger = ledger
        self._submit = submit
        self._is_booting = is_booting
        self.runs = Runs(node, operations, ledger, submit)
        self._nursery: trio.Nursery | None = None
        self._starting: set[Key] = set()
        self._pauses: dict[Key, float] = {}
        # Why something due is not run at once, where it is not for a run that goes on; "": for that.
        self._why: dict[Key, str] = {}
        self._looked_at: set[Key] = set()
        self._has_taken_up = False
        self._had_jobs = True

    async def run(self) -> NoReturn:
        while self._is_booting():  # noqa: ASYNC110 (nothing tells when it is over)
            await trio.sleep(1)
        changes = 0
        async with trio.open_nursery() as self._nursery:
            while True:
                pause = _RETRY_S
                try:
                    pause = await self._look()
                except McpdError as error:
                    log.warning("jobs cannot be looked at; trying again", error=str(error))
                with trio.move_on_after(pause):
                    changes = await self._operations.change_after(changes)
        raise AssertionError("runs until cancelled")

    async def _look(self) -> float:
        """Starts what is due; returns after how many seconds to look again. Raises McpdError."""
        assert self._nursery is not None
        jobs = await self._scheduled()
        if not jobs and not self._had_jobs:
            return _LOOK_S
        accounts, left = await self.runs.records.read()
        # All that begins from now on is known here.
        if not self._has_taken_up:
            await self.runs.take_up(left, self._nursery)
        self._has_taken_up = True
        now = datetime.now(UTC)
        known = {each.key: each for each in accounts if each.schedule}
        new = [_counted(each) for key, each in jobs.items() if key not in known]
        if new:
            await self._count(new, now)
        self._looked_at = (self._looked_at | {(each.service, each.component) for each in new}) & jobs.keys()
        pauses = [await self._judge(jobs[key], known[key], now) for key in jobs if key in known]
        await self._tidy(jobs)
        return min(pauses, default=_LOOK_S if not new else _RETRY_S)

    async def _count(self, new: Collection[Counted], now: datetime) -> None:
        try:
            # What waits to be written counted before.
            await self.runs.records.write()
            await self._ledger.count_from(new, now)
            self._operations.intent_changed()
        except RegistryError as error:
            log.error("new jobs cannot be recorded, and do not run yet", error=str(error))

    async def _judge(self, recorded: RecordedComponent, account: Account, now: datetime) -> float:
        key = account.key
        until = account.accounted_until
        is_first = key not in self._looked_at
        self._looked_at.add(key)
        if is_believed_back(until, now):
            log.warning("the clock was set back: a job counts from now on", job="/".join(key), was=until.isoformat())
            await self._count_back(key, now)
            return 0.0
        due = due_between(account.schedule, account.timezone, until, now)
        if due is None:
            left = next_due(account.schedule, account.timezone, until) - now
            return min(_LOOK_S, max(left.total_seconds(), _SOONEST_S))
        if run := self.runs.going(key):
            self._why.setdefault(key, "")
            if not run.overdue and run.started_at:
                await self._overdue(run, account, until)
            return _LOOK_S
        if key not in self._starting and self._nursery:
            self._why.setdefault(key, _DOWN if is_first else _JUMPED)
            self._starting.add(key)
            self._nursery.start_soon(self._start, key)
        return _LOOK_S

    async def _start(self, key: Key) -> None:
        """Starts a job that is due, when no operation is at work on its service."""

        async def body(operation: Operation) -> None:
            recorded = (await self._scheduled()).get(key)
            accounts, _ = await self.runs.records.read()
            account = next((each for each in accounts if each.key == key and each.schedule), None)
            if recorded is None or account is None or self.runs.going(key) or self._nursery is None:
                return
            schedule, until = account.schedule, account.accounted_until
            if due := due_between(schedule, account.timezone, until, datetime.now(UTC)):
                await self.runs.begin(operation, recorded, MCPD, self._stands(key, due), self._nursery)
                self._why.pop(key, None)

        try:
            if any(each.target.service == key[0] for each in self._operations.running):
                self._why.update({key: _HELD} if self._why.get(key) == _JUMPED else {})
            target = Target(*key)
            operation = await self._operations.start("job", target, OURSELVES, body, wait=True, is_kept=False)
            await operation.finished()
            self._pauses.pop(key, None)
        except McpdError as error:
            pause = self._pauses.get(key, _RETRY_S)
            self._pauses[key] = min(2 * pause, _RETRY_MAX_S)
            log.warning("a job that is due cannot be started yet", job="/".join(key), error=str(error))
            self._why.update({key: _HELD} if self._why.get(key) == _JUMPED else {})
            await trio.sleep(pause)
        finally:
            self._starting.discard(key)
            self._operations.intent_changed()

    def _stands(self, key: Key, due: Due) -> Stands:
        """What a run that begins now stands for. It is told when it is late, or makes up for others.

        Not when it waited for the run before it: that was overdue, and is told.
        """
        why = self._why.get(key, "")
        is_late = datetime.now(UTC) - due.at > _LATE
        if not why or not (is_late or due.missed):
            return due.at, due.missed, due.at, ""
        count = due.missed + is_late
        runs = "1 run was missed" if count == 1 else f"{count} runs were missed"
        begins = "one makes up for them" if is_late else "the one that is due now makes up for them"
        return due.at, due.missed, due.at, f"{runs}, last of {due.at:%Y-%m-%d %H:%M} UTC, since {why}; {begins}"

    async def _overdue(self, run: Run, account: Account, until: datetime) -> None:
        due = next_due(account.schedule, account.timezone, until)
        words = f"job overdue: it runs since {run.started_at:%Y-%m-%d %H:%M} UTC, and was due again at {due:%H:%M} UTC"
        try:
            alerts = await self._ledger.overdue(run, words, datetime.now(UTC))
        except RegistryError as error:
            log.error("that a run is overdue could not be recorded", job="/".join(run.key), error=str(error))
            return
        self.runs.is_overdue(run)
        for each in alerts:
            self._submit(each)
        self._operations.intent_changed()

    async def _count_back(self, key: Key, now: datetime) -> None:
        try:
            await self.runs.records.count_back(key, now)
        except RegistryError as error:
            log.error("up to when a job is accounted for could not be recorded", job="/".join(key), error=str(error))

    async def _tidy(self, jobs: Mapping[Key, RecordedComponent]) -> None:
        """Writes what could not be written, and ends or tells alerts whose time has come."""
        self.runs.forget(set(jobs))
        for key in (self._why.keys() | self._pauses.keys()) - jobs.keys():
            self._why.pop(key, None)
            self._pauses.pop(key, None)
        try:
            await self.runs.records.write()
            for each in await self._ledger.settle(datetime.now(UTC)):
                self._submit(each)
        except RegistryError as error:
            log.warning("what is known of jobs cannot be written yet", error=str(error))
            return
        self._had_jobs = bool(jobs)

    async def _scheduled(self) -> dict[Key, RecordedComponent]:
        services = await self._node.registry.services()
        found = [each for service in services for each in service.components if each.is_scheduled]
        return {(each.service, each.spec.name): each for each in found}

    # -- what is asked of it

    async def run_now(self, target: Target, caller: Caller) -> Run:
        """Starts a job that is not due; returns when podman has it, or it could not be started.

        Raises NotFoundError; RefusedError for what is no job, or while a run of it goes on; BusyError while an
        operation is at work on its service.
        """
        recorded = await self._job(target)
        begun: list[Run] = []

        async def body(operation: Operation) -> None:
            # Somebody may have stopped it, or it was due, meanwhile.
            recorded = await self._job(target)
            if self._nursery is None or not self._has_taken_up:
                raise RefusedError("jobs are not looked at yet: mcpd or the machine has only just started; try again")
            begun.append(await self.runs.begin(operation, recorded, caller.name, None, self._nursery))

        operation = await self._operations.start(
            "job", Target(recorded.service, recorded.spec.name), caller, body, is_kept=False
        )
        await operation.finished()
        return await self.runs.until(begun[0], ended=False)

    async def _job(self, target: Target) -> RecordedComponent:
        service = await self._node.registry.service(target.service)
        recorded = service.component(target.component) if service else None
        if recorded is None:
            raise NotFoundError(f"{target} is not known on {self._node.name}; `mcpctl jobs` lists the jobs")
        if not recorded.spec.is_job:
            raise RefusedError(f"{target} is no job: it has no schedule")
        if not recorded.is_scheduled:
            raise RefusedError(f"{target} is stopped; `mcpctl start {target}` lets its schedule count again")
        if run := self.runs.going((target.service, target.component)):
            since = run.started_at or run.at
            raise RefusedError(f"{target} runs already, since {since:%Y-%m-%d %H:%M:%S} UTC")
        return recorded

    async def statuses(self, service: str = "", component: str = "", runs: int = 1) -> list[JobStatus]:
        """Every job that is declared, those that are stopped as well. Raises RegistryError."""
        accounts = {each.key: each for each in (await self._ledger.read())[0]}
        found = []
        for each in await self._node.registry.services():
            for recorded in each.components if service in ("", each.name) else ():
                key = (each.name, recorded.spec.name)
                if recorded.spec.is_job and component in ("", key[1]):
                    found.append(await self._status(recorded, accounts.get(key), runs))
        return found

    async def _status(self, recorded: RecordedComponent, account: Account | None, runs: int) -> JobStatus:
        key = (recorded.service, recorded.spec.name)
        next_at = None
        if recorded.is_scheduled:
            after = datetime.now(UTC)
            if account and account.schedule and not is_believed_back(account.accounted_until, after):
                after = max(after, account.accounted_until)
            counted = _counted(recorded)
            next_at = next_due(counted.schedule, counted.timezone, after)
        kept = await self._ledger.runs(key, runs) if runs else []
        return JobStatus(recorded, account, next_at, self.runs.going(key), tuple(kept))


def _counted(recorded: RecordedComponent) -> Counted:
    spec = recorded.spec
    return Counted(recorded.service, spec.name, spec.schedule or "", spec.timezone or DEFAULT_TIMEZONE)
