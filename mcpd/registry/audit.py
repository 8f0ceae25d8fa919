"""The audit log: who called what, and how it ended (audit S5). Refused calls too."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import NoReturn

import msgspec
import structlog
import trio

from mcpd.errors import RegistryError
from mcpd.registry.schema import from_us, to_us
from mcpd.registry.store import Registry

log = structlog.get_logger()

# Calls come faster than a disk commits: they are written together, soon. Every one is in the daemon's log at once.
_PAUSE_S = 0.25
_BATCH = 500
# More calls than this do not wait for a slow disk: the daemon's log has them, and they must not fill memory.
_MAX_WAITING = 20_000


class AuditEntry(msgspec.Struct, frozen=True):
    """One call. ``caller`` and ``role`` are empty when nobody was let in; ``id`` is the ledger's to give.

    ``calls`` above 1: so many of strangers in a minute, whose ``target`` says that and whose ``duration`` is the mean.
    """

    at: datetime
    method: str
    caller: str
    role: str
    peer: str
    target: str
    status: str
    duration: timedelta
    id: int = 0
    calls: int = 1


class AuditLog:
    """`note` from wherever calls end; `run` is the task that writes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._waiting: deque[AuditEntry] = deque()
        self._news = trio.Event()
        # For those who follow the table: set when there is more in it.
        self._written = trio.Event()
        self._lost = 0
        self._is_late = False

    def note(self, entry: AuditEntry) -> None:
        """Queues one call for the table; never waits."""
        if len(self._waiting) >= _MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(entry)
        self._news.set()

    async def run(self) -> NoReturn:
        """Writes until cancelled, and then writes what is left."""
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                await trio.sleep(_PAUSE_S)
                await self._write()
        finally:
            with trio.CancelScope(shield=True):
                await self._write()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._insert(batch)
            except RegistryError as error:
                if not self._is_late:
                    log.error("the audit table cannot be written yet; this log has the calls", error=str(error))
                self._is_late = True
                return  # with the next call it is tried again
            for _ in batch:
                self._waiting.popleft()
        if self._is_late:
            log.info("the audit table has caught up")
            self._is_late = False
        if self._lost:
            log.error("calls are missing in the audit table; this log has them", calls=self._lost)
            self._lost = 0

    async def _insert(self, batch: list[AuditEntry]) -> None:
        statement = (
            "INSERT INTO audit (at, method, caller, role, peer, target, status, duration) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        rows = [
            (
                *(to_us(each.at), each.method, each.caller, each.role, each.peer, each.target, each.status),
                each.duration // timedelta(microseconds=1),
            )
            for each in batch
        ]

        def write(db: sqlite3.Connection) -> None:
            db.executemany(statement, rows)

        await self._registry.transact(write, durable=False)
        self._written.set()
        self._written = trio.Event()

    # -- looking

    async def newest(self) -> int:
        """The id of the newest entry; 0 when there is none."""
        query = "SELECT coalesce(max(id), 0) FROM audit"
        return int(await self._registry.ask(lambda db: db.execute(query).fetchone()[0]))

    async def follow(self, after: int, caller: str, method: str, most: int) -> AsyncGenerator[list[AuditEntry], None]:
        """What matches behind the id ``after``, and what is written from then on; at most ``most`` at once.

        0: only what is new. Never ends by itself.
        """
        last = after or await self.newest()
        while True:
            written, newest = self._written, await self.newest()
            found = await self.entries(caller=caller, method=method, after=last, limit=most) if newest > last else ()
            if found:
                last = found[-1].id
                yield list(found)
            if len(found) < most:
                # What does not match is not looked at again.
                last = max(last, newest)
                await written.wait()

    async def entries(
        self, *, since: datetime | None = None, caller: str = "", method: str = "", after: int = 0, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """The newest ``limit`` that match, oldest first; with ``after`` the oldest ones behind that id."""
        chosen: list[tuple[str, object]] = [
            ("at >= ?", to_us(since) if since else None),
            ("caller = ?", caller or None),
            ("method = ?", method or None),
            ("id > ?", after or None),
        ]
        wanted = [(text, value) for text, value in chosen if value is not None]
        where = "WHERE " + " AND ".join(text for text, _ in wanted) if wanted else ""
        query = f"SELECT * FROM audit {where} ORDER BY id {'ASC' if after else 'DESC'} LIMIT ?"
        bound = [*(value for _, value in wanted), limit]
        rows = await self._registry.ask(lambda db: db.execute(query, bound).fetchall())
        found = tuple(map(_entry, rows))
        return found if after else found[::-1]

    async def prune(self, before: datetime) -> int:
        """Removes what is older; returns how many."""
        return await self._registry.transact(
            lambda db: db.execute("DELETE FROM audit WHERE at < ?", (to_us(before),)).rowcount
        )


def _entry(row: sqlite3.Row) -> AuditEntry:
    return AuditEntry(
        at=from_us(row["at"]),
        method=row["method"],
        caller=row["caller"],
        role=row["role"],
        peer=row["peer"],
        target=row["target"],
        status=row["status"],
        duration=timedelta(microseconds=row["duration"]),
        id=row["id"],
    )
