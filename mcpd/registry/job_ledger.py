"""The registry for whoever runs the jobs: each step of a run is one transaction, with the alert that it gives rise to.

Raises RegistryError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import msgspec

from mcpd.registry import alerts as alert_rows
from mcpd.registry import jobs
from mcpd.registry.jobs import Account, Run, RunState
from mcpd.registry.monitoring import MonitorLedger, Raise
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind, Desired, Observed
from monitor.ports import NewAlert, hushing
from protos.program_output import headline

# How the rules begin that are over by themselves (`monitor.ports.hushing`).
_SILENCE = "silence "
_QUIET = "its alert was suppressed"

Key = tuple[str, str]


class Counted(NamedTuple):
    """A schedule that is to count from now on."""

    service: str
    component: str
    schedule: str
    timezone: str


class JobLedger:
    def __init__(self, registry: Registry, ledger: MonitorLedger, node: str) -> None:
        self._registry = registry
        self._ledger = ledger
        self._node = node

    async def read(self) -> tuple[list[Account], list[Run]]:
        """Every account, and the runs that have not ended as far as is known."""
        return await self._registry.ask(lambda db: (jobs.read_accounts(db), jobs.read_open(db)))

    async def runs(self, key: Key, limit: int) -> list[Run]:
        """The newest ``limit`` of a job, newest first."""
        return await self._registry.ask(lambda db: jobs.read_runs(db, *key, limit))

    async def count_from(self, counted: Collection[Counted], now: datetime) -> None:
        def write(db: sqlite3.Connection) -> None:
            for each in counted:
                jobs.count_from(db, *each, now)

        await self._registry.transact(write)

    async def account(self, run: Run, until: datetime | None, missed: str) -> tuple[Run, tuple[Alert, ...]]:
        """Keeps a run before it is started, and that its job is accounted for; returns it with its id.

        ``until`` None: it stands for no time that it was due at. ``missed``: what was missed, in words; "": nothing.
        """
        number = 0

        def write(db: sqlite3.Connection, tell: Raise) -> None:
            nonlocal number
            number = _keep(db, tell, run, until, missed)

        alerts = await self._ledger.record_runs(write, run.at, changes_services=False)
        return msgspec.structs.replace(run, id=number), alerts

    async def account_for(self, key: Key, until: datetime) -> None:
        """Without a run: the clock was set back, and is believed."""
        await self._registry.transact(lambda db: jobs.account(db, *key, until))

    async def started(self, run: Run) -> None:
        # After a loss of power nothing runs, and podman says when it was started last.
        await self._registry.transact(lambda db: jobs.update_run(db, run), durable=False)

    async def stopped_by(self, run: Run) -> str:
        """The operation that was about to end it; "" when none was."""
        return await self._registry.ask(lambda db: jobs.stopped_by(db, run.id))

    async def ended(
        self, run: Run, now: datetime, until: datetime | None = None, missed: str = ""
    ) -> tuple[Alert, ...]:
        """Keeps how a run ended; returns what to send. ``until``, ``missed``: what `account` could not keep."""

        def write(db: sqlite3.Connection, tell: Raise) -> None:
            _keep(db, tell, run, until, missed)
            jobs.keep_newest(db, *run.key)
            jobs.set_ended(db, *run.key, run.ended_at if run.state is RunState.SUCCEEDED else None, _duration(run))
            before = _trouble(db, run.key)
            if run.state.is_failure:
                jobs.set_trouble(db, *run.key, headline(run.message))
            elif run.state is RunState.SUCCEEDED or run.overdue:
                jobs.set_trouble(db, *run.key, "")
            is_news = not before or run.overdue
            if run.state.is_failure and _trouble(db, run.key) and is_news:
                tell(_alert(run, run.message, Observed.CREATED if run.started_at is None else Observed.EXITED))
            self._close(db, tell, now)

        return await self._ledger.record_runs(write, now)

    async def overdue(self, run: Run, words: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps that a run goes on though the next is due, once; returns what to send."""

        def write(db: sqlite3.Connection, tell: Raise) -> None:
            jobs.update_run(db, msgspec.structs.replace(run, overdue=True))
            jobs.set_trouble(db, *run.key, words)
            if _trouble(db, run.key):
                tell(_alert(run, words, Observed.RUNNING))

        return await self._ledger.record_runs(write, now)

    async def settle(self, now: datetime) -> tuple[Alert, ...]:
        """Closes alerts of what is no trouble any more, and raises those again that a silence kept quiet until now."""
        silences = await self._ledger.silences(now)

        def is_to_do(db: sqlite3.Connection) -> bool:
            return any(
                not _trouble(db, (alert.service, alert.component))
                or (rule.startswith(_SILENCE) and not hushing(silences, alert.service, alert.component))
                for alert, rule in alert_rows.read_open_of_runs(db, self._node)
            )

        def write(db: sqlite3.Connection, tell: Raise) -> None:
            self._close(db, tell, now)
            for alert, rule in alert_rows.read_open_of_runs(db, self._node):
                if rule.startswith(_SILENCE) and not hushing(silences, alert.service, alert.component):
                    tell(
                        NewAlert(
                            *(alert.service, alert.component, alert.kind, alert.desired, alert.observed),
                            *(alert.reason, alert.since, 0, ""),
                        )
                    )

        if not await self._registry.ask(is_to_do):
            return ()
        return await self._ledger.record_runs(write, now)

    def _close(self, db: sqlite3.Connection, tell: Raise, now: datetime) -> None:
        for alert, rule in alert_rows.read_open_of_runs(db, self._node):
            key = (alert.service, alert.component)
            if not _trouble(db, key):
                words = "the runs of the job are as they should be again"
                if _schedule(db, key) == "":
                    words = "the schedule of the job does not count any more"
                tell(
                    NewAlert(
                        *(*key, AlertKind.RECOVERED, alert.desired, Observed.EXITED, words, now, 0),
                        _QUIET if rule else "",
                    )
                )


def _keep(db: sqlite3.Connection, tell: Raise, run: Run, until: datetime | None, missed: str) -> int:
    """Returns its id; 0 if its component is forgotten."""
    if run.id:
        jobs.update_run(db, run)
    number = run.id or jobs.insert_run(db, run)
    if until is not None:
        jobs.account(db, *run.key, until)
    if missed and number:
        tell(_alert(run, missed, Observed.CREATED), is_news=True)
    return number


def _alert(run: Run, words: str, observed: Observed) -> NewAlert:
    since = run.ended_at or run.started_at or run.at
    return NewAlert(*run.key, AlertKind.JOB, Desired.SCHEDULED, observed, words, since, 0, "")


def _duration(run: Run) -> float | None:
    return (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None


def _trouble(db: sqlite3.Connection, key: Key) -> str:
    row = db.execute("SELECT trouble FROM jobs WHERE service = ? AND component = ?", key).fetchone()
    return str(row["trouble"]) if row else ""


def _schedule(db: sqlite3.Connection, key: Key) -> str:
    row = db.execute("SELECT schedule FROM jobs WHERE service = ? AND component = ?", key).fetchone()
    return str(row["schedule"]) if row else ""
