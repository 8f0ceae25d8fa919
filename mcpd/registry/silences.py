"""The SQL of silences. Those in force keep alerts quiet; those that ended stay until they are pruned."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from mcpd.errors import NotFoundError
from mcpd.model import Target
from mcpd.registry.schema import from_us, to_us
from monitor.ports import Silence

# Where somebody who named a silence that there is not finds the others.
_LISTED = "`mcpctl alerts list` shows those in force"


def read_silences(db: sqlite3.Connection) -> list[Silence]:
    """All of them, oldest first."""
    rows = db.execute("SELECT * FROM silences ORDER BY id")
    return [
        Silence(row["id"], row["service"], row["component"], from_us(row["until"]), row["reason"], row["by"])
        for row in rows
    ]


def insert_silence(
    db: sqlite3.Connection, service: str, component: str, until: datetime, reason: str, by: str
) -> Silence:
    cursor = db.execute(
        "INSERT INTO silences (service, component, until, reason, by) VALUES (?, ?, ?, ?, ?)",
        (service, component, to_us(until), reason, by),
    )
    return Silence(cursor.lastrowid or 0, service, component, until, reason, by)


def end_silence(db: sqlite3.Connection, node: str, silence: int, now: datetime) -> Silence:
    """As `MonitorLedger.end_silence`. Raises NotFoundError."""
    found = [each for each in read_silences(db) if each.id == silence]
    if not found:
        raise NotFoundError(f"there is no silence {silence} on {node}; {_LISTED}")
    if found[0].until <= now:
        over = f"silence {silence} on {node} ended at {found[0].until:%Y-%m-%d %H:%M} UTC"
        raise NotFoundError(f"{over}; {_LISTED}")
    return _end(db, found, now)[0]


def end_silences(db: sqlite3.Connection, node: str, service: str, component: str, now: datetime) -> tuple[Silence, ...]:
    """As `MonitorLedger.end_silences`. Raises NotFoundError."""
    of_service = [each for each in read_silences(db) if each.service == service and each.until > now]
    found = [each for each in of_service if each.component == component]
    if not found:
        raise NotFoundError(_no_silence(node, service, component, of_service))
    return _end(db, found, now)


def prune_silences(db: sqlite3.Connection, before: datetime) -> int:
    """Removes silences that ended before ``before``; returns how many."""
    return db.execute("DELETE FROM silences WHERE until < ?", (to_us(before),)).rowcount


def _end(db: sqlite3.Connection, silences: Sequence[Silence], now: datetime) -> tuple[Silence, ...]:
    db.executemany("UPDATE silences SET until = ? WHERE id = ?", [(to_us(now), each.id) for each in silences])
    return tuple(each._replace(until=now) for each in silences)


def _no_silence(node: str, service: str, component: str, others: Sequence[Silence]) -> str:
    """Why there is nothing to end, and what is silenced of the same service instead."""
    told = f"no silence of {Target(service, component)} is in force on {node}"
    if not others:
        return f"{told}; {_LISTED}"
    words = [f"silence {each.id} of {Target(each.service, each.component)}" for each in others]
    return f"{told}, but {', '.join(words)}; `mcpctl alerts unsilence ID` ends one of them"
