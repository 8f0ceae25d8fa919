"""How jobs and their runs are printed."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1

RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
SCHEDULED, STOPPED = "scheduled", "stopped"


class JobRunRow(msgspec.Struct, frozen=True):
    """One run. ``due_at`` None: somebody asked for it. ``ended_at`` None: it runs, or never started.

    ``state``: running, succeeded, failed, timed-out, stopped or not-started. ``missed``: the earlier due times that it
    makes up for.
    """

    id: int
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    state: str
    exit_status: int | None
    caller: str
    missed: int
    message: str

    @property
    def is_over(self) -> bool:
        return self.state != RUNNING

    @property
    def result(self) -> str:
        """Its state, with the exit status that it failed with."""
        if self.state == FAILED and self.exit_status is not None:
            return f"{self.state} {self.exit_status}"
        return self.state


class JobRow(msgspec.Struct, frozen=True):
    """One job. ``state``: running, scheduled, or stopped, which nothing runs until it is started.

    ``timeout_s`` None: a run may take as long as it likes. ``runs``: the newest first, as many as were asked for.
    """

    node: str
    service: str
    component: str
    schedule: str
    timezone: str
    state: str
    next_at: datetime | None
    timeout_s: float | None
    runs: tuple[JobRunRow, ...]

    @property
    def last(self) -> JobRunRow | None:
        """The newest run that is over, else the one that runs; None: it has never run."""
        return next((each for each in self.runs if each.is_over), next(iter(self.runs), None))


class StartedRunRow(msgspec.Struct, frozen=True):
    """What `jobs run` has started; with --wait, how that ended."""

    node: str
    service: str
    component: str
    run: JobRunRow


def job_run_row(run: v1.JobRun) -> JobRunRow:
    return JobRunRow(
        id=run.id,
        due_at=instant(run.due_at),
        started_at=instant(run.started_at),
        ended_at=instant(run.ended_at),
        state=run.state,
        exit_status=run.exit_status,
        caller=run.caller,
        missed=run.missed,
        message=run.message,
    )


def job_row(node: str, info: v1.JobInfo) -> JobRow:
    runs = tuple(map(job_run_row, info.runs))
    is_running = any(not each.is_over for each in runs)
    return JobRow(
        node=node,
        service=info.service,
        component=info.component,
        schedule=info.schedule,
        timezone=info.timezone,
        state=RUNNING if is_running else SCHEDULED if info.active else STOPPED,
        next_at=instant(info.next_at),
        timeout_s=info.timeout / timedelta(seconds=1) or None,
        runs=runs,
    )
