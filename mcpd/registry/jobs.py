"""The SQL of jobs: up to when each is accounted for, and its runs.

Every function runs within a transaction of `mcpd.registry.store.Registry`.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from enum import StrEnum

import msgspec

from mcpd.registry.schema import from_us, to_us
from monitor.model import Desired
from protos.scheduling import DEFAULT_TIMEZONE

# The runs of one job that are kept.
KEPT_RUNS = 100


class RunState(StrEnum):
    """``STOPPED``: an operation ended it. ``NOT_STARTED``: podman would not, or nobody could say any more for whom."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    STOPPED = "stopped"
    NOT_STARTED = "not-started"

    @property
    def is_failure(self) -> bool:
        return self in (RunState.FAILED, RunState.TIMED_OUT, RunState.NOT_STARTED)


class Account(msgspec.Struct, frozen=True):
    """A job, and up to when each time that it was due at has had its run. ``schedule`` "": it does not count."""

    service: str
    component: str
    schedule: str
    timezone: str
    accounted_until: datetime
    trouble: str = ""
    succeeded_at: datetime | None = None
    duration: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.component


class Run(msgspec.Struct, frozen=True):
    """One run; the fields are as in the schema. ``id`` 0: the registry could not be written, and does not have it."""

    id: int
    service: str
    component: str
    due_at: datetime | None
    missed: int
    caller: str
    container: str
    before: datetime | None
    before_end: datetime | None
    at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    state: RunState = RunState.RUNNING
    exit_status: int | None = None
    message: str = ""
    stopped_by: str = ""
    overdue: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.component


_TIMES = ("due_at", "before", "before_end", "at", "started_at", "ended_at")
_COLUMNS = tuple(name for name in Run.__struct_fields__ if name != "id")


# -- what counts


def count_from(
    db: sqlite3.Connection, service: str, component: str, schedule: str, timezone: str, now: datetime
) -> None:
    """From now on a schedule counts, and nothing of before is made up for."""
    db.execute(
        "INSERT INTO jobs (service, component, schedule, timezone, accounted_until) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (service, component) DO UPDATE SET schedule = excluded.schedule, timezone = excluded.timezone, "
        "accounted_until = excluded.accounted_until",
        (service, component, schedule, timezone, to_us(now)),
    )


def account(db: sqlite3.Connection, service: str, component: str, until: datetime) -> None:
    db.execute(
        "UPDATE jobs SET accounted_until = ? WHERE service = ? AND component = ?", (to_us(until), service, component)
    )


def count_no_more(db: sqlite3.Connection, service: str) -> None:
    """Of a service whose intent has changed: schedules that are not in force any more have nothing to make up for."""
    here = "SELECT 1 FROM components AS c WHERE c.service = jobs.service AND c.name = component AND desired = :wanted"
    values = {"service": service, "wanted": Desired.SCHEDULED, "utc": DEFAULT_TIMEZONE}
    same = (
        f"{here} AND json_extract(spec, '$.schedule') = schedule "
        "AND coalesce(json_extract(spec, '$.timezone'), :utc) = timezone"
    )
    db.execute(f"UPDATE jobs SET schedule = '' WHERE service = :service AND NOT EXISTS ({same})", values)
    db.execute(f"UPDATE jobs SET trouble = '' WHERE service = :service AND NOT EXISTS ({here})", values)


def forget(db: sqlite3.Connection, service: str) -> None:
    """Forgets jobs of a service, and their runs, whose components are forgotten."""
    for table in ("jobs", "job_runs"):
        db.execute(
            f"DELETE FROM {table} WHERE service = ? AND NOT EXISTS "
            f"(SELECT 1 FROM components AS c WHERE c.service = {table}.service AND c.name = component)",
            (service,),
        )


def set_trouble(db: sqlite3.Connection, service: str, component: str, words: str) -> None:
    """Of a job whose schedule counts; nobody minds the runs of one that was stopped."""
    db.execute(
        "UPDATE jobs SET trouble = ? WHERE service = ? AND component = ? AND EXISTS (SELECT 1 FROM components AS c "
        "WHERE c.service = jobs.service AND c.name = component AND desired = ?)",
        (words, service, component, Desired.SCHEDULED),
    )


def set_ended(
    db: sqlite3.Connection, service: str, component: str, succeeded_at: datetime | None, duration: float | None
) -> None:
    """``duration`` in seconds."""
    db.execute(
        "UPDATE jobs SET succeeded_at = coalesce(?, succeeded_at), duration = coalesce(?, duration) "
        "WHERE service = ? AND component = ?",
        (
            to_us(succeeded_at) if succeeded_at else None,
            None if duration is None else int(duration * 1e6),
            service,
            component,
        ),
    )


def read_accounts(db: sqlite3.Connection) -> list[Account]:
    return [
        Account(
            row["service"],
            row["component"],
            row["schedule"],
            row["timezone"],
            from_us(row["accounted_until"]),
            row["trouble"],
            _time(row["succeeded_at"]),
            None if row["duration"] is None else row["duration"] / 1e6,
        )
        for row in db.execute("SELECT * FROM jobs ORDER BY service, component").fetchall()
    ]


# -- runs


def insert_run(db: sqlite3.Connection, run: Run) -> int:
    """Keeps a run, and returns its id; nothing, and 0, of a component that is forgotten."""
    known = "SELECT 1 FROM components WHERE service = ? AND name = ?"
    if db.execute(known, run.key).fetchone() is None:
        return 0
    marks = ", ".join("?" * len(_COLUMNS))
    values = [_column(getattr(run, name)) for name in _COLUMNS]
    cursor = db.execute(f"INSERT INTO job_runs ({', '.join(_COLUMNS)}) VALUES ({marks})", values)
    return cursor.lastrowid or 0


def update_run(db: sqlite3.Connection, run: Run) -> None:
    """All of it but who is about to stop it, which others write."""
    columns = [name for name in _COLUMNS if name != "stopped_by"]
    values = [_column(getattr(run, name)) for name in columns]
    db.execute(f"UPDATE job_runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", (*values, run.id))


def mark_stopped(db: sqlite3.Connection, service: str, component: str, by: str) -> None:
    """Says of a run that goes on, if one does, which operation is about to end it; ``by`` "": none is, after all."""
    db.execute(
        "UPDATE job_runs SET stopped_by = ? WHERE service = ? AND component = ? AND ended_at IS NULL",
        (by, service, component),
    )


def stopped_by(db: sqlite3.Connection, number: int) -> str:
    row = db.execute("SELECT stopped_by FROM job_runs WHERE id = ?", (number,)).fetchone()
    return str(row["stopped_by"]) if row else ""


def read_open(db: sqlite3.Connection) -> list[Run]:
    """The runs that have not ended, as far as is known."""
    return [_run(row) for row in db.execute("SELECT * FROM job_runs WHERE ended_at IS NULL ORDER BY id").fetchall()]


def read_runs(db: sqlite3.Connection, service: str, component: str, limit: int) -> list[Run]:
    """The newest ``limit`` of a job, newest first, and whatever of it goes on."""
    rows = db.execute(
        "SELECT * FROM job_runs WHERE service = ? AND component = ? ORDER BY id DESC LIMIT ?",
        (service, component, limit),
    ).fetchall()
    return [_run(row) for row in rows]


def keep_newest(db: sqlite3.Connection, service: str, component: str) -> None:
    db.execute(
        "DELETE FROM job_runs WHERE service = :service AND component = :component AND ended_at IS NOT NULL AND id <= "
        "(SELECT id FROM job_runs WHERE service = :service AND component = :component ORDER BY id DESC "
        "LIMIT 1 OFFSET :kept)",
        {"service": service, "component": component, "kept": KEPT_RUNS},
    )


def prune_runs(db: sqlite3.Connection, before: datetime) -> int:
    """Removes runs that ended before then; returns how many."""
    return db.execute("DELETE FROM job_runs WHERE ended_at < ?", (to_us(before),)).rowcount


def _column(value: object) -> object:
    if isinstance(value, datetime):
        return to_us(value)
    return int(value) if isinstance(value, bool) else value


def _run(row: sqlite3.Row) -> Run:
    values = {name: row[name] for name in Run.__struct_fields__}
    values |= {name: _time(row[name]) for name in _TIMES}
    return Run(**values | {"state": RunState(row["state"]), "overdue": bool(row["overdue"])})


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_us(microseconds)
