"""The programs that run in containers for an operator: only so that the next mcpd ends what this one could not."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from mcpd.registry.schema import to_us
from mcpd.registry.store import Registry


async def add(registry: Registry, session: str, container: str, now: datetime) -> None:
    """``session`` and ``container`` are podman's ids. Raises RegistryError."""

    def write(db: sqlite3.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", (session, container, to_us(now)))

    await registry.transact(write, durable=False)  # a loss of power ends the program as well


async def remove(registry: Registry, session: str) -> None:
    """Raises RegistryError."""

    def write(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM sessions WHERE exec = ?", (session,))

    await registry.transact(write, durable=False)


async def all_of_them(registry: Registry) -> tuple[str, ...]:
    """Raises RegistryError."""
    rows = await registry.ask(lambda db: db.execute("SELECT exec FROM sessions ORDER BY at").fetchall())
    return tuple(row["exec"] for row in rows)
