"""The SQL of the alert ledger: alerts as they are raised, delivered, acknowledged and closed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from mcpd.registry.schema import from_us, to_us
from monitor.model import Alert, AlertKind, Delivery, Execution
from monitor.ports import NewAlert, Silence, hushing

# As much of an alert command's output as helps to see why it failed.
_MAX_OUTPUT = 4096
# Told once, and open at no time.
_NEWS = (AlertKind.RECOVERED, AlertKind.REBOOT, AlertKind.EXPIRY, AlertKind.DISK, AlertKind.ROUTE)


class AlertRecord(msgspec.Struct, frozen=True):
    """A row of the alert ledger, with how telling it went."""

    alert: Alert
    opened_at: datetime
    closed_at: datetime | None
    delivery: Delivery
    suppressed_by: str
    exit_status: int | None
    output: str
    acked_by: str
    ack_note: str


class AlertCounts(NamedTuple):
    """Open alerts by kind, those of them that a silence keeps quiet, and those that are still to be sent."""

    open: Mapping[AlertKind, int]
    silenced: Mapping[AlertKind, int]
    pending: int


def last_id(db: sqlite3.Connection) -> int:
    """The id that was given last; 0 when there was none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alerts'").fetchone()
    return int(row["seq"]) if row else 0


def skip_ids(db: sqlite3.Connection, last: int) -> None:
    """Gives no id up to ``last`` any more."""
    if last_id(db):
        db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'alerts'", (last,))
    else:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('alerts', ?)", (last,))


def insert_alert(
    db: sqlite3.Connection, node: str, new: NewAlert, now: datetime, *, is_of_runs: bool = False, is_news: bool = False
) -> Alert | None:
    """Keeps one alert; returns it when it is to be sent.

    ``is_of_runs``: it is about the runs of a job, whose alert opens and closes beside those of its container.
    ``is_news``: it is told once, and open at no time.
    """
    delivery = Delivery.SUPPRESSED if new.suppressed_by else Delivery.PENDING
    is_news = is_news or new.kind in _NEWS
    if new.kind is AlertKind.RECOVERED:
        db.execute(
            "UPDATE alerts SET closed_at = ? WHERE service = ? AND component = ? AND closed_at IS NULL "
            "AND (kind = ?) = ?",
            (to_us(now), new.service, new.component, AlertKind.JOB, is_of_runs),
        )
    # Told after all, when the rule that kept it quiet has ended: the row that was kept quiet gives way.
    if not is_news:
        db.execute(
            "UPDATE alerts SET closed_at = ? WHERE service = ? AND component = ? AND kind = ? AND closed_at IS NULL",
            (to_us(now), new.service, new.component, new.kind),
        )
    cursor = db.execute(
        "INSERT INTO alerts (service, component, kind, desired, observed, reason, since, transitions, opened_at, "
        "closed_at, delivery, suppressed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(new.service, new.component, new.kind, new.desired, new.observed, new.reason),
            *(to_us(new.since), new.transitions, to_us(now), to_us(now) if is_news else None),
            *(delivery, new.suppressed_by),
        ),
    )
    return None if new.suppressed_by else new.numbered(cursor.lastrowid or 0, node)


def read_open(db: sqlite3.Connection, node: str) -> list[tuple[Alert, bool]]:
    """The open alerts, but for those of jobs' runs, oldest first, each with whether it was suppressed."""
    query = "SELECT * FROM alerts WHERE closed_at IS NULL AND kind != ? ORDER BY id"
    rows = db.execute(query, (AlertKind.JOB,)).fetchall()
    return [(_alert(row, node), row["delivery"] == Delivery.SUPPRESSED) for row in rows]


def read_open_of_runs(db: sqlite3.Connection, node: str) -> list[tuple[Alert, str]]:
    """The open alerts of jobs' runs, each with what suppressed it, or ""."""
    query = "SELECT * FROM alerts WHERE closed_at IS NULL AND kind = ? ORDER BY id"
    return [(_alert(row, node), row["suppressed_by"]) for row in db.execute(query, (AlertKind.JOB,)).fetchall()]


def read_pending(db: sqlite3.Connection, node: str) -> tuple[Alert, ...]:
    """Those still to be sent, oldest first."""
    rows = db.execute("SELECT * FROM alerts WHERE delivery = 'pending' ORDER BY id").fetchall()
    return tuple(_alert(row, node) for row in rows)


def read_alerts(
    db: sqlite3.Connection, node: str, service: str, component: str, *, open_only: bool, limit: int
) -> tuple[AlertRecord, ...]:
    """As `MonitorLedger.alerts`."""
    conditions = [("service = ?", service), ("component = ?", component)]
    chosen = [(text, value) for text, value in conditions if value]
    texts = [text for text, _ in chosen] + (["closed_at IS NULL"] if open_only else [])
    where = "WHERE " + " AND ".join(texts) if texts else ""
    query = f"SELECT * FROM alerts {where} ORDER BY id DESC LIMIT ?"
    rows = db.execute(query, [*(value for _, value in chosen), limit]).fetchall()
    return tuple(_record(row, node) for row in reversed(rows))


def update_attempt(db: sqlite3.Connection, alert: int, execution: Execution, delivery: Delivery) -> AlertKind | None:
    """Counts one run of the alert command, and keeps how it went; returns the alert's kind, None when it is gone."""
    output = f"{execution.words}\n{execution.output}"[:_MAX_OUTPUT] if execution.output else execution.words
    db.execute(
        "UPDATE alerts SET attempts = attempts + 1, delivery = ?, exit_status = ?, output = ? WHERE id = ?",
        (delivery, execution.status, output, alert),
    )
    row = db.execute("SELECT kind FROM alerts WHERE id = ?", (alert,)).fetchone()
    return AlertKind(row["kind"]) if row else None


def suppress(db: sqlite3.Connection, alert: int, silence: str) -> bool:
    """Keeps an alert quiet when somebody has acknowledged it, or by ``silence``, in words; whether it is."""
    row = db.execute("SELECT acked_by FROM alerts WHERE id = ?", (alert,)).fetchone()
    rule = f"acknowledged by {row['acked_by']}" if row and row["acked_by"] else silence
    if rule:
        db.execute("UPDATE alerts SET delivery = ?, suppressed_by = ? WHERE id = ?", (Delivery.SUPPRESSED, rule, alert))
    return bool(rule)


def acknowledge(db: sqlite3.Connection, node: str, alert: int, by: str, note: str) -> AlertRecord | None:
    """The alert as it is then; None when there is none."""
    db.execute("UPDATE alerts SET acked_by = ?, ack_note = ? WHERE id = ?", (by, note, alert))
    row = db.execute("SELECT * FROM alerts WHERE id = ?", (alert,)).fetchone()
    return _record(row, node) if row else None


def count_alerts(db: sqlite3.Connection, silences: Collection[Silence]) -> AlertCounts:
    """As `MonitorLedger.standing`; ``silences`` are those in force."""
    rows = db.execute("SELECT kind, service, component FROM alerts WHERE closed_at IS NULL").fetchall()
    (pending,) = db.execute("SELECT count(*) FROM alerts WHERE delivery = 'pending'").fetchone()
    hushed = [row for row in rows if hushing(silences, row["service"], row["component"])]
    return AlertCounts(_by_kind(rows), _by_kind(hushed), pending)


def prune_alerts(db: sqlite3.Connection, before: datetime) -> int:
    """Removes alerts that were closed before ``before``; returns how many."""
    closed = "DELETE FROM alerts WHERE closed_at < ? AND delivery != 'pending'"
    return db.execute(closed, (to_us(before),)).rowcount


def _by_kind(alerts: Iterable[sqlite3.Row]) -> Mapping[AlertKind, int]:
    return Counter(AlertKind(row["kind"]) for row in alerts)


def _alert(row: sqlite3.Row, node: str) -> Alert:
    return Alert(
        id=row["id"],
        node=node,
        service=row["service"],
        component=row["component"],
        kind=AlertKind(row["kind"]),
        desired=row["desired"],
        observed=row["observed"],
        reason=row["reason"],
        since=from_us(row["since"]),
        transitions=row["transitions"],
        attempts=row["attempts"],
    )


def _record(row: sqlite3.Row, node: str) -> AlertRecord:
    return AlertRecord(
        alert=_alert(row, node),
        opened_at=from_us(row["opened_at"]),
        closed_at=from_us(row["closed_at"]) if row["closed_at"] is not None else None,
        delivery=Delivery(row["delivery"]),
        suppressed_by=row["suppressed_by"],
        exit_status=row["exit_status"],
        output=row["output"],
        acked_by=row["acked_by"],
        ack_note=row["ack_note"],
    )
