"""The SQL of the event ledger, and its newest events in memory for those who follow it."""

from __future__ import annotations

import itertools
import sqlite3
from collections import deque
from datetime import datetime

import trio

from mcpd.model import Event
from mcpd.registry.schema import from_us, to_us
from monitor.model import Observed

# Events that those who follow the ledger are told from memory.
_RECENT_EVENTS = 1000
# The container that a fact of the row is about: a fact's key begins with it (`monitor.reducer`).
_CONTAINER = "substr({0}.fact, 1, instr({0}.fact || '/', '/') - 1)"


class RecentEvents:
    """Every event after ``_after``, in memory; and whoever waits for the next one."""

    def __init__(self, newest: int) -> None:
        self._newest = self._after = newest
        self._rows: deque[sqlite3.Row] = deque()
        self._written = trio.Event()

    @property
    def newest(self) -> int:
        """The id of the newest event; 0 when there was none yet."""
        return self._newest

    async def until_after(self, number: int) -> None:
        """Waits until there is an event after ``number``."""
        while self._newest <= number:
            await self._written.wait()

    def after(self, number: int, service: str, component: str, limit: int) -> tuple[Event, ...] | None:
        """As `Registry.events_after`; None when memory does not go back so far."""
        if number < self._after:
            return None
        found = (
            row
            for row in self._rows
            if row["id"] > number and service in ("", row["service"]) and component in ("", row["component"])
        )
        return tuple(map(_event, itertools.islice(found, limit)))

    def publish(self, events: list[sqlite3.Row]) -> None:
        """Wakes those who follow the ledger."""
        # A transaction that began before the last one was published has read its events as well.
        news = [row for row in events if row["id"] > self._newest]
        if not news:
            return
        self._newest = news[-1]["id"]
        self._rows += news
        while len(self._rows) > _RECENT_EVENTS:
            self._after = self._rows.popleft()["id"]
        self._written.set()
        self._written = trio.Event()


def add_event(
    db: sqlite3.Connection, service: str, component: str, kind: str, message: str, caller: str, now: datetime
) -> int:
    """As `Registry.add_event`, within a transaction."""
    cursor = db.execute(
        "INSERT INTO events (at, service, component, kind, message, caller) VALUES (?, ?, ?, ?, ?, ?)",
        (to_us(now), service, component, kind, message, caller),
    )
    return cursor.lastrowid or 0


def newest_event(db: sqlite3.Connection) -> int:
    """The id of the newest event; 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def rows_after(db: sqlite3.Connection, number: int) -> list[sqlite3.Row]:
    """Every event after ``number``, oldest first."""
    return db.execute("SELECT * FROM events WHERE id > ? ORDER BY id", (number,)).fetchall()


def read_events(
    db: sqlite3.Connection, service: str, component: str, since: datetime | None, until: datetime | None, limit: int
) -> tuple[Event, ...]:
    """As `Registry.events`."""
    conditions: list[tuple[str, object]] = []
    if service:
        conditions.append(("service = ?", service))
    if component:
        conditions.append(("component = ?", component))
    if since:
        conditions.append(("at >= ?", to_us(since)))
    if until:
        conditions.append(("at < ?", to_us(until)))
    where = "WHERE " + " AND ".join(text for text, _ in conditions) if conditions else ""
    query = f"SELECT * FROM events {where} ORDER BY id DESC LIMIT ?"
    rows = db.execute(query, [*(value for _, value in conditions), limit]).fetchall()
    return tuple(map(_event, reversed(rows)))


def read_events_after(
    db: sqlite3.Connection, number: int, service: str, component: str, limit: int
) -> tuple[Event, ...]:
    """As `Registry.events_after`."""
    query = (
        "SELECT * FROM events WHERE id > ? AND (? = '' OR service = ?) AND (? = '' OR component = ?) "
        "ORDER BY id LIMIT ?"
    )
    return tuple(map(_event, db.execute(query, (number, service, service, component, component, limit)).fetchall()))


def states_at(db: sqlite3.Connection, when: datetime) -> dict[tuple[str, str], Event]:
    """As `Registry.states_at`."""
    newest = (
        "FROM events AS {0} WHERE {0}.service = c.service AND {0}.component = c.name "
        "AND {0}.fact IS NOT NULL AND {0}.at <= :when {1} ORDER BY {0}.at DESC, {0}.id DESC LIMIT 1"
    )
    runs = f"SELECT {_CONTAINER.format('r')} {newest.format('r', 'AND r.kind = :running')}"
    is_successor = f"coalesce(({runs}), '') IN ('', {_CONTAINER.format('e')})"
    last = f"SELECT e.id {newest.format('e', f'AND (e.kind != :removed OR {is_successor})')}"
    query = f"SELECT * FROM events WHERE id IN (SELECT ({last}) FROM components AS c)"
    values = {"when": to_us(when), "running": Observed.RUNNING.value, "removed": Observed.REMOVED.value}
    rows = db.execute(query, values).fetchall()
    return {(row["service"], row["component"]): _event(row) for row in rows}


def prune_events(db: sqlite3.Connection, before: datetime) -> int:
    """Removes events older than ``before``; returns how many."""
    # The newest state of every component stays, however old: a fold from events must start somewhere. So does
    # the newest run: a removal is of the component only when its container is the one that ran last.
    newest = "SELECT id, max(at) FROM events WHERE fact IS NOT NULL {} GROUP BY service, component"
    running = "AND kind = 'running'"
    kept = f"{newest.format('')} UNION ALL {newest.format(running)}"
    return db.execute(
        f"DELETE FROM events WHERE at < ? AND id NOT IN (SELECT id FROM ({kept}))", (to_us(before),)
    ).rowcount


def _event(row: sqlite3.Row) -> Event:
    return Event(
        row["id"],
        from_us(row["at"]),
        row["service"],
        row["component"],
        row["kind"],
        row["message"],
        row["caller"],
    )
