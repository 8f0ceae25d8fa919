"""The journal: every operation that changes the node, and each of its steps, recorded before it is taken.

What a killed daemon left open here, the next one finishes or takes back (`mcpd.changes.crash_recovery`). Nobody waits
for a step to reach the disk. A loss of power ends every container as well; it may lose the last steps, but never what
an operation found when it began, nor that it was committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from mcpd.errors import NotFoundError
from mcpd.model import Outcome, Progress, Report, Result, Step, Target
from mcpd.registry import revisions
from mcpd.registry.events import add_event
from mcpd.registry.revisions import Revision
from mcpd.registry.schema import from_us, to_us
from mcpd.registry.services import put_service
from mcpd.registry.store import Registry
from protos.spec import Service

# How many revisions of a service are kept, unless the configuration says otherwise.
REVISIONS = 20


class State(StrEnum):
    """How an operation stands. ``REVERTED``: it failed, and everything is as it was before."""

    RUNNING = "running"
    COMPLETED = "completed"
    REVERTED = "reverted"
    FAILED = "failed"


class OperationRecord(msgspec.Struct, frozen=True):
    """One operation. ``plan`` is JSON of what it decided on, None before that; ``committed``: only tidying is left."""

    id: int
    target: Target
    kind: str
    caller: str
    started_at: datetime
    ended_at: datetime | None
    state: State
    message: str
    plan: str | None
    committed: bool
    # The last step that was taken.
    step: str = ""


class Journal:
    """Raises RegistryError."""

    def __init__(self, registry: Registry, revisions: int = REVISIONS) -> None:
        """``revisions``: how many of each service are kept."""
        self._registry = registry
        self._revisions = revisions

    async def begin(self, target: Target, kind: str, caller: str, now: datetime) -> int:
        """Records that an operation runs, and returns its id."""

        def write(db: sqlite3.Connection) -> int:
            cursor = db.execute(
                "INSERT INTO operations (service, component, kind, caller, started_at, state) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (target.service, target.component, kind, caller, to_us(now), State.RUNNING),
            )
            return cursor.lastrowid or 0

        return await self._registry.transact(write, durable=False)

    async def decide(self, operation: int, plan: str) -> None:
        """Keeps what the operation found, and is going to do: what undoing it needs."""
        await self._write("UPDATE operations SET plan = ? WHERE id = ?", (plan, operation))

    async def take(self, operation: int, step: Progress) -> None:
        """Keeps a step, before it is taken."""
        await self._add(operation, (step.at, step.component, step.step, "", step.message))

    async def conclude(self, operation: int, outcomes: Iterable[Outcome], now: datetime) -> None:
        """Keeps how it ended for some components."""
        await self._add(operation, *((now, each.component, "", each.result, each.message) for each in outcomes))

    async def commit(
        self,
        operation: int,
        service: Service,
        hashes: Mapping[str, str],
        events: Collection[tuple[str, str]],
        caller: str,
        now: datetime,
        restores: int = 0,
    ) -> None:
        """The moment from which a deploy counts: intent, what containers are made from, and events, in one commit.

        ``events`` are components with what was done to them; ``restores`` is the revision that this goes back to.
        """

        def write(db: sqlite3.Connection) -> None:
            revisions.keep_present(db, service.name, service.node)
            put_service(db, service, hashes, now)
            db.executemany(
                "UPDATE components SET deployed = spec WHERE service = ? AND name = ?",
                [(service.name, name) for name in hashes],
            )
            revisions.keep(db, service.name, service.node, caller, restores, self._revisions, now)
            for component, words in events:
                add_event(db, service.name, component, "deployed", words, caller, now)
            db.execute("UPDATE operations SET committed = 1 WHERE id = ?", (operation,))

        await self._registry.transact(write, changes_services=True)

    async def found_done(self, service: str, node: str, caller: str, now: datetime) -> None:
        """A deploy found everything as it should be, though another deploy made it so, or an adoption, or `recover`.

        It can be gone back to as well. Raises RegistryError.
        """
        if await self._registry.ask(lambda db: revisions.is_newest(db, service, node)):
            return
        await self._registry.transact(lambda db: revisions.keep(db, service, node, caller, 0, self._revisions, now))

    async def end(self, operation: int, state: State, message: str, now: datetime) -> None:
        statement = "UPDATE operations SET state = ?, message = ?, ended_at = ? WHERE id = ?"
        await self._write(statement, (state, message, to_us(now), operation), durable=False)

    async def until_writable(self) -> None:
        """Waits until the registry is not known to be unwritable."""
        await self._registry.until(ok=True)

    # -- looking

    async def open(self) -> tuple[OperationRecord, ...]:
        """What has not ended, oldest first."""
        return await self._find("ended_at IS NULL", ())

    async def newest(self, service: str = "", *, running_only: bool = False, limit: int = 20) -> list[OperationRecord]:
        """The newest ``limit`` that match, oldest first."""
        condition = "(? = '' OR service = ?)" + (" AND ended_at IS NULL" if running_only else "")
        found = await self._find(condition, (service, service), f"ORDER BY id DESC LIMIT {int(limit)}")
        return list(reversed(found))

    async def operation(self, number: int) -> tuple[OperationRecord, tuple[Report, ...]]:
        """One operation, with its steps and outcomes in their order. Raises NotFoundError."""
        found = await self._find("id = ?", (number,))
        if not found:
            raise NotFoundError(f"there is no operation {number} here; `mcpctl operations` lists them")
        query = "SELECT * FROM steps WHERE operation = ? ORDER BY id"
        rows = await self._registry.ask(lambda db: db.execute(query, (number,)).fetchall())
        return found[0], tuple(map(_report, rows))

    async def prune(self, before: datetime) -> int:
        """Removes operations that ended before then, with their steps, and revisions of services that are gone.

        Returns how many.
        """
        query = "DELETE FROM operations WHERE ended_at < ?"
        return await self._registry.transact(
            lambda db: db.execute(query, (to_us(before),)).rowcount + revisions.prune_revisions(db, before)
        )

    # -- what can be gone back to

    async def revisions(self, service: str, limit: int) -> list[Revision]:
        """The newest ``limit`` of a service, newest first."""
        return await self._registry.ask(lambda db: revisions.read_revisions(db, service, limit))

    async def revision(self, service: str, number: int) -> Revision:
        """Raises NotFoundError."""
        found = await self._registry.ask(lambda db: revisions.read_revision(db, service, number))
        if found is None:
            raise NotFoundError(f"{service} has no revision {number} here; `mcpctl history {service}` lists them")
        return found

    async def _add(self, operation: int, *rows: tuple[datetime, str, str, str, str]) -> None:
        statement = "INSERT INTO steps (operation, at, component, step, result, message) VALUES (?, ?, ?, ?, ?, ?)"
        values = [(operation, to_us(at), *words) for at, *words in rows]
        await self._write(statement, *values, durable=False)

    async def _write(self, statement: str, *values: tuple[object, ...], durable: bool = True) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.executemany(statement, values)

        await self._registry.transact(write, durable=durable)

    async def _find(
        self, condition: str, values: tuple[object, ...], order: str = "ORDER BY id"
    ) -> tuple[OperationRecord, ...]:
        last = "SELECT max(id) FROM steps WHERE operation = o.id AND step != ''"
        step = f"SELECT step || ' ' || component FROM steps WHERE id = ({last})"
        query = f"SELECT o.*, ({step}) AS last_step FROM operations AS o WHERE {condition} {order}"
        return await self._registry.ask(lambda db: tuple(map(_record, db.execute(query, values))))


def _record(row: sqlite3.Row) -> OperationRecord:
    return OperationRecord(
        id=row["id"],
        target=Target(row["service"], row["component"]),
        kind=row["kind"],
        caller=row["caller"],
        started_at=from_us(row["started_at"]),
        ended_at=None if row["ended_at"] is None else from_us(row["ended_at"]),
        state=State(row["state"]),
        message=row["message"],
        plan=row["plan"],
        committed=bool(row["committed"]),
        step=(row["last_step"] or "").strip(),
    )


def _report(row: sqlite3.Row) -> Report:
    if row["result"]:
        return Outcome(row["component"], Result(row["result"]), row["message"])
    return Progress(from_us(row["at"]), row["component"], Step(row["step"]), row["message"])
