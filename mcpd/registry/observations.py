"""The SQL of what the monitor observed: facts, which are events, and the present state of every container."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime

import msgspec

from mcpd.registry.schema import to_us
from monitor.model import Fact, Known, Observed


def insert_facts(db: sqlite3.Connection, facts: Iterable[Fact]) -> None:
    """Keeps each fact once, by its key."""
    db.executemany(
        "INSERT INTO events (at, service, component, kind, message, caller, fact) "
        "VALUES (?, ?, ?, ?, ?, '', ?) ON CONFLICT (fact) WHERE fact IS NOT NULL DO NOTHING",
        [(to_us(each.at), each.service, each.component, each.state, each.message, each.key) for each in facts],
    )


def put_state(db: sqlite3.Connection, state: Known, now: datetime) -> None:
    """Keeps what is known of a container, and how its component was seen. A container that is gone is forgotten."""
    db.execute(
        "UPDATE components SET observed = ?, observed_at = ?, container_id = ? WHERE service = ? AND name = ? "
        "AND container = ?",
        (state.state, to_us(now), state.container, state.service, state.component, state.name),
    )
    if state.state is Observed.REMOVED:
        db.execute("DELETE FROM containers WHERE id = ?", (state.container,))
    else:
        db.execute(
            "INSERT OR REPLACE INTO containers (id, known) VALUES (?, ?)",
            (state.container, msgspec.json.encode(state).decode()),
        )


def read_states(db: sqlite3.Connection) -> list[Known]:
    """The last state of every container."""
    return [msgspec.json.decode(row["known"], type=Known) for row in db.execute("SELECT known FROM containers")]
