"""The registry: SQLite with one writer and one reader, in worker threads, so that no disk stops the event loop.

Here are its transactions, and what is answered from memory; the SQL is in `services` and `events`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from mcpd.errors import DamagedRegistryError, RegistryError
from mcpd.model import Event, RecordedService
from mcpd.registry import connection, events, health, node_facts, services
from monitor.model import SourceState
from protos.spec import Service

T = TypeVar("T")

# A trial takes as much room as a batch of facts does: a disk with less is as good as full.
_TRIAL_BYTES = 65_536
_TRIAL = "trial"


class Registry:
    """Everything that mcpd remembers. Every method is one transaction; errors are RegistryError."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._path = Path(writer.execute("PRAGMA database_list").fetchone()[2])
        self._health = health.DatabaseHealth()
        # One transaction at a time on each connection; waiting callers queue here, in order. A question about a long
        # past may take a second, and nothing that happens meanwhile waits for it.
        self._turn = trio.CapacityLimiter(1)
        self._question = trio.CapacityLimiter(1)
        # What `services` last read, while no write has come after it. We are the only writer.
        self._known: dict[str, RecordedService] | None = None
        self._recent = events.RecentEvents(events.newest_event(reader))

    @staticmethod
    @asynccontextmanager
    async def open(path: Path) -> AsyncIterator[Registry]:
        """Opens the database, checks it and brings its tables up to date. Raises RegistryError."""
        writer, reader = await trio.to_thread.run_sync(connection.open_both, path)
        try:
            registry = Registry(writer, reader)
            # What is asked for most; and bytes that no row of ours can have are found now, not in the middle.
            await registry.services()
            yield registry
        finally:
            # Closing must happen whatever ended us, and cannot block for long: it only checkpoints the log.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(reader.close)
                await trio.to_thread.run_sync(writer.close)

    # -- whether it can be written

    @property
    def state(self) -> SourceState:
        """Whether it can be written, with SQLite's words and the remedy when it cannot."""
        return self._health.state

    async def until(self, *, ok: bool) -> None:
        """Waits until it can be written, or cannot."""
        await self._health.until(ok=ok)

    async def attempt(self) -> None:
        """Tries whether it can be written again, with room for more. Raises RegistryError when it cannot."""

        def fill(db: sqlite3.Connection) -> None:
            if self._health.is_damage:
                (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            statement = "INSERT OR REPLACE INTO facts_of_node (name, value) VALUES (?, ?)"
            db.execute(statement, (_TRIAL, "x" * _TRIAL_BYTES))

        def clear(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM facts_of_node WHERE name = ?", (_TRIAL,))

        await self._run(fill)
        await self._run(clear)
        self._health.recovered()

    # -- intent

    async def put_service(self, service: Service, hashes: Mapping[str, str], now: datetime) -> None:
        """Records the intent for the components that ``hashes`` names, each with its spec hash.

        Components that the service no longer defines become ``ignore``.
        """
        await self.transact(lambda db: services.put_service(db, service, hashes, now), changes_services=True)

    async def ignore_services_but(self, names: Collection[str], now: datetime) -> tuple[str, ...]:
        """Records that nobody declares services other than these any more; returns those of which that is news."""
        return await self.transact(lambda db: services.ignore_services_but(db, names, now), changes_services=True)

    async def set_active(self, service: str, component: str, active: bool, now: datetime) -> None:
        """Records that a service (or one component: ``component`` not empty) should run, or should not."""
        await self.transact(lambda db: services.set_active(db, service, component, active, now), changes_services=True)

    async def forget(self, service: str, components: Iterable[str], now: datetime) -> None:
        """Forgets components, and the service with its last one."""

        def write(db: sqlite3.Connection) -> None:
            if not services.forget(db, service, components, now):
                node_facts.put_maintenance(db, service, on=False)

        await self.transact(write, changes_services=True)

    async def in_maintenance(self) -> frozenset[str]:
        """The services whose routes answer 503, because somebody said so."""
        return await self.ask(node_facts.in_maintenance)

    async def admitted(self) -> Mapping[str, datetime]:
        """The containers that may answer for routes, each with its start, as they were last kept."""
        text = await self.ask(node_facts.admitted)
        try:
            return msgspec.json.decode(text or "{}", type=dict[str, datetime])
        except msgspec.DecodeError:
            return {}  # damaged: the probes will say

    async def keep_admitted(self, admitted: Mapping[str, datetime]) -> None:
        """A loss of power ends every container as well, so that the disk is not waited for."""
        text = msgspec.json.encode(admitted, order="sorted").decode()
        await self.transact(lambda db: node_facts.put_admitted(db, text), durable=False)

    async def set_maintenance(self, service: str, *, on: bool, by: str, now: datetime) -> None:
        def write(db: sqlite3.Connection) -> None:
            node_facts.put_maintenance(db, service, on=on)
            words = "its routes answer 503" if on else "its routes lead to it again"
            events.add_event(db, service, "", "maintenance", words, by, now)

        await self.transact(write)

    @property
    def services_in_memory(self) -> tuple[RecordedService, ...] | None:
        """Every service, by name; None when that takes a look at the database."""
        known = self._known
        return None if known is None else tuple(known.values())

    async def services(self) -> tuple[RecordedService, ...]:
        """Every service, by name."""
        return tuple((await self._by_name()).values())

    async def service(self, name: str) -> RecordedService | None:
        return (await self._by_name()).get(name)

    async def _by_name(self) -> dict[str, RecordedService]:
        known = self._known
        # Read and kept in the worker's turn: no write can come between the two.
        return await self.transact(self._read_services) if known is None else known

    def _read_services(self, db: sqlite3.Connection) -> dict[str, RecordedService]:
        self._known = services.read_services(db)
        return self._known

    # -- events

    async def add_event(self, service: str, component: str, kind: str, message: str, caller: str, now: datetime) -> int:
        """Appends to the ledger and returns the event's id."""
        return await self.transact(lambda db: events.add_event(db, service, component, kind, message, caller, now))

    async def events(
        self,
        service: str = "",
        component: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> tuple[Event, ...]:
        """The newest ``limit`` events that match, oldest first; ``since`` included, ``until`` not."""
        return await self.ask(lambda db: events.read_events(db, service, component, since, until, limit))

    async def events_after(self, number: int, service: str, component: str, limit: int) -> tuple[Event, ...]:
        """The oldest ``limit`` events after ``number`` that match; a service or component "" matches all."""
        found = self._recent.after(number, service, component, limit)
        if found is not None:
            return found
        return await self.ask(lambda db: events.read_events_after(db, number, service, component, limit))

    @property
    def newest_event(self) -> int:
        """The id of the newest event; 0 when there was none yet."""
        return self._recent.newest

    async def event_after(self, number: int) -> None:
        """Waits until there is an event after ``number``."""
        await self._recent.until_after(number)

    async def states_at(self, when: datetime) -> dict[tuple[str, str], Event]:
        """The last observed fact of every recorded component up to ``when``.

        That a container is gone is none of its component when another one had begun to run as it by then: what a
        deploy replaces goes last.
        """
        return await self.ask(lambda db: events.states_at(db, when))

    # -- transactions

    async def transact(
        self, transaction: Callable[[sqlite3.Connection], T], *, changes_services: bool = False, durable: bool = True
    ) -> T:
        """Runs ``transaction`` in the worker thread: all of it, or nothing. Raises RegistryError.

        It must say when it ``changes_services`` or components, so that they are not answered from memory.

        Not ``durable``: it outlives any end of mcpd, but a loss of power may take it back, together with everything
        that was committed after it; the disk is not waited for.

        A cancelled caller still waits for it, so that nobody has to wonder whether a commit happened.
        """
        if self._health.is_damage and self._health.error:
            await trio.lowlevel.checkpoint()
            raise DamagedRegistryError(str(self._health.error))
        return await self._run(transaction, changes_services=changes_services, durable=durable)

    async def _run(
        self, transaction: Callable[[sqlite3.Connection], T], *, changes_services: bool = False, durable: bool = True
    ) -> T:
        def work() -> tuple[T, list[sqlite3.Row]]:
            known = self._known
            if changes_services:
                self._known = None
            try:
                self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                with self._writer:
                    result = _without_cursor(transaction(self._writer))
            except health.FAILURES:
                # Rolled back: what was known is so still, and may be all that can be answered from.
                self._known = known
                raise
            return result, self._news()

        try:
            result, news = await trio.to_thread.run_sync(work, limiter=self._turn)
        except health.FAILURES as error:
            raise self._failure(error) from error
        self._recent.publish(news)
        return result

    def _news(self) -> list[sqlite3.Row]:
        """Events that were not published yet; a failure to read them does not undo the commit that they are from."""
        try:
            return events.rows_after(self._writer, self._recent.newest)
        except health.FAILURES:
            return []

    def _failure(self, error: Exception) -> RegistryError:
        found = health.failure(self._path, error)
        self._health.note(found)
        return found

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``question``, which writes nothing, beside whatever is written; it sees every commit made before it.

        Raises RegistryError.
        """
        try:
            return await trio.to_thread.run_sync(
                lambda: _without_cursor(question(self._reader)), limiter=self._question
            )
        except health.SENSELESS as error:
            found = health.failure(self._path, error)
            # A question that has to wait for a lock says nothing of what can be written.
            if isinstance(found, DamagedRegistryError):
                self._health.note(found)
            raise found from error


def _without_cursor(result: T) -> T:
    """A cursor that ended in the event loop would reset the statement that the next worker is in the middle of."""
    assert not isinstance(result, sqlite3.Cursor), "a cursor must not leave its worker's turn"
    return result
