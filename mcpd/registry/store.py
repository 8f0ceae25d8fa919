"""The registry: SQLite with one writer and one reader, in worker threads, so that no disk ever stops the event loop."""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from mcpd.errors import DamagedRegistryError, RegistryError
from mcpd.model import Event, RecordedComponent, RecordedService
from mcpd.registry import health, schema
from monitor.model import Desired, Observed, SourceState
from protos.fingerprint import definition_hash
from protos.spec import Component, Service

T = TypeVar("T")

# How long a statement waits for a lock that another process (a snapshot, a person with sqlite3) holds.
_BUSY_TIMEOUT_S = 10.0
# Events that those who follow the ledger are told from memory.
_RECENT_EVENTS = 1000
# A trial takes as much room as a batch of facts does: a disk with less is as good as full.
_TRIAL_BYTES = 65_536
_TRIAL = "trial"
# Specs whose hash is remembered: a change of one component reads all of them again.
_KNOWN_HASHES = 4096
# The container that a fact of the row is about: a fact's key begins with it (`monitor.reducer`).
_CONTAINER = "substr({0}.fact, 1, instr({0}.fact || '/', '/') - 1)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        # For those who follow the ledger: every event after ``_recent_after``, and what is set when there are more.
        self._newest_event = self._recent_after = _newest_event(reader)
        self._recent: deque[sqlite3.Row] = deque()
        self._written = trio.Event()

    @staticmethod
    @asynccontextmanager
    async def open(path: Path) -> AsyncIterator[Registry]:
        """Opens the database, checks it and brings its tables up to date. Raises RegistryError."""
        writer, reader = await trio.to_thread.run_sync(_open, path)
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

        await self._run(fill)
        await self._run(lambda db: db.execute("DELETE FROM facts_of_node WHERE name = ?", (_TRIAL,)))
        self._health.is_over()

    # -- intent

    async def put_service(self, service: Service, hashes: Mapping[str, str], now: datetime) -> None:
        """Records the intent for the components that ``hashes`` names, each with its spec hash.

        Components that the service no longer defines become ``ignore``.
        """
        await self.transact(lambda db: put_service(db, service, hashes, now), changes_services=True)

    async def ignore_services_but(self, names: Collection[str], now: datetime) -> tuple[str, ...]:
        """Records that nobody declares services other than these any more; returns those of which that is news."""

        def write(db: sqlite3.Connection) -> tuple[str, ...]:
            query = "SELECT DISTINCT service FROM components WHERE desired != ?"
            news = sorted({row["service"] for row in db.execute(query, (Desired.IGNORE,))} - set(names))
            for name in news:
                db.execute("UPDATE components SET desired = ? WHERE service = ?", (Desired.IGNORE, name))
                _touch_service(db, name, None, now)
            return tuple(news)

        return await self.transact(write, changes_services=True)

    async def set_active(self, service: str, component: str, active: bool, now: datetime) -> None:
        """Records that a service (or one component: ``component`` not empty) should run, or should not."""

        def write(db: sqlite3.Connection) -> None:
            if component:
                row = db.execute(
                    "SELECT spec FROM components WHERE service = ? AND name = ?", (service, component)
                ).fetchone()
                spec = msgspec.structs.replace(msgspec.json.decode(row["spec"], type=Component), active=active)
                db.execute(
                    "UPDATE components SET spec = ? WHERE service = ? AND name = ?",
                    (_spec_json(spec), service, component),
                )
            _touch_service(db, service, None if component else active, now)
            _refresh_desired(db, service)

        await self.transact(write, changes_services=True)

    async def forget(self, service: str, components: Iterable[str], now: datetime) -> None:
        """Forgets components, and the service with its last one."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany(
                "DELETE FROM components WHERE service = ? AND name = ?", [(service, name) for name in components]
            )
            left = db.execute("SELECT count(*) FROM components WHERE service = ?", (service,)).fetchone()[0]
            if left:
                _touch_service(db, service, None, now)
            else:
                db.execute("DELETE FROM services WHERE name = ?", (service,))

        await self.transact(write, changes_services=True)

    # -- reading

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
        try:
            self._known = _services(db)
        except (ValueError, OverflowError) as error:  # an enum's value that is none, a time that is none
            raise msgspec.DecodeError(str(error)) from error
        return self._known

    # -- events

    async def add_event(self, service: str, component: str, kind: str, message: str, caller: str, now: datetime) -> int:
        """Appends to the ledger and returns the event's id."""
        return await self.transact(lambda db: add_event(db, service, component, kind, message, caller, now))

    async def events(
        self,
        service: str = "",
        component: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> tuple[Event, ...]:
        """The newest ``limit`` events that match, oldest first; ``since`` included, ``until`` not."""
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
        bound = [*(value for _, value in conditions), limit]
        rows = await self.ask(lambda db: db.execute(query, bound).fetchall())
        return tuple(map(_event, reversed(rows)))

    async def events_after(self, number: int, service: str, component: str, limit: int) -> tuple[Event, ...]:
        """The oldest ``limit`` events after ``number`` that match; a service or component "" matches all."""
        if number >= self._recent_after:
            found = (
                row
                for row in self._recent
                if row["id"] > number and service in ("", row["service"]) and component in ("", row["component"])
            )
            return tuple(map(_event, itertools.islice(found, limit)))
        query = (
            "SELECT * FROM events WHERE id > ? AND (? = '' OR service = ?) AND (? = '' OR component = ?) "
            "ORDER BY id LIMIT ?"
        )
        bound = (number, service, service, component, component, limit)
        rows = await self.ask(lambda db: db.execute(query, bound).fetchall())
        return tuple(map(_event, rows))

    @property
    def newest_event(self) -> int:
        """The id of the newest event; 0 when there was none yet."""
        return self._newest_event

    async def event_after(self, number: int) -> None:
        """Waits until there is an event after ``number``."""
        while self._newest_event <= number:
            await self._written.wait()

    async def states_at(self, when: datetime) -> dict[tuple[str, str], Event]:
        """The last observed fact of every recorded component up to ``when``.

        That a container is gone is none of its component when another one had begun to run as it by then: what a
        deploy replaces goes last.
        """
        newest = (
            "FROM events AS {0} WHERE {0}.service = c.service AND {0}.component = c.name "
            "AND {0}.fact IS NOT NULL AND {0}.at <= :when {1} ORDER BY {0}.at DESC, {0}.id DESC LIMIT 1"
        )
        runs = f"SELECT {_CONTAINER.format('r')} {newest.format('r', 'AND r.kind = :running')}"
        is_successor = f"coalesce(({runs}), '') IN ('', {_CONTAINER.format('e')})"
        last = f"SELECT e.id {newest.format('e', f'AND (e.kind != :removed OR {is_successor})')}"
        query = f"SELECT * FROM events WHERE id IN (SELECT ({last}) FROM components AS c)"
        values = {"when": to_us(when), "running": Observed.RUNNING.value, "removed": Observed.REMOVED.value}
        rows = await self.ask(lambda db: db.execute(query, values).fetchall())
        return {(row["service"], row["component"]): _event(row) for row in rows}

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
                    result = transaction(self._writer)
            except health.FAILURES:
                # Rolled back: what was known is so still, and may be all that can be answered from.
                self._known = known
                raise
            return result, self._news()

        try:
            result, events = await trio.to_thread.run_sync(work, limiter=self._turn)
        except health.FAILURES as error:
            raise self._failure(error) from error
        self._publish(events)
        return result

    def _news(self) -> list[sqlite3.Row]:
        """Events that were not published yet; a failure to read them does not undo the commit that they are from."""
        query = "SELECT * FROM events WHERE id > ? ORDER BY id"
        try:
            return self._writer.execute(query, (self._newest_event,)).fetchall()
        except health.FAILURES:
            return []

    def _failure(self, error: Exception) -> RegistryError:
        found = health.failure(self._path, error)
        self._health.note(found)
        return found

    def _publish(self, events: list[sqlite3.Row]) -> None:
        """Wakes those who follow the ledger."""
        # A transaction that began before the last one was published has read its events as well.
        news = [row for row in events if row["id"] > self._newest_event]
        if not news:
            return
        self._newest_event = news[-1]["id"]
        self._recent += news
        while len(self._recent) > _RECENT_EVENTS:
            self._recent_after = self._recent.popleft()["id"]
        self._written.set()
        self._written = trio.Event()

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``question``, which writes nothing, beside whatever is written; it sees every commit made before it.

        Raises RegistryError.
        """
        try:
            return await trio.to_thread.run_sync(question, self._reader, limiter=self._question)
        except health.SENSELESS as error:
            found = health.failure(self._path, error)
            # A question that has to wait for a lock says nothing of what can be written.
            if isinstance(found, DamagedRegistryError):
                self._health.note(found)
            raise found from error


def _newest_event(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def _open(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """The writer and the reader."""
    writer = _connect(path)
    try:
        path.chmod(0o600)
        _prepare(writer, path)
        reader = _connect(path)
        reader.execute("PRAGMA query_only = ON")
    except BaseException as error:
        writer.close()
        if isinstance(error, health.FAILURES):  # UnicodeDecodeError: SQLite's own words may quote damaged bytes
            raise health.failure(path, error) from error
        raise
    return writer, reader


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and not path.stat().st_size:
        # SQLite would take it for a new database, and the node would have forgotten everything without a word.
        raise RegistryError(
            f"{path} is empty: restore a snapshot (`mcpd restore`); only where mcpd has never run may it be removed"
        )
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    except sqlite3.Error as error:
        raise RegistryError(f"{path} cannot be opened: {error}; is its folder there, and ours to write?") from error
    connection.row_factory = sqlite3.Row
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedRegistryError(f"{path} is damaged: {health.in_one_line(verdict)}; {health.RESTORE}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > schema.VERSION:
        raise RegistryError(
            f"{path} was written by a newer mcpd (schema {version}; this one knows {schema.VERSION}); "
            "install that version again, or restore an older snapshot"
        )
    for number, script in enumerate(schema.MIGRATIONS[version:], start=version + 1):
        # One transaction a migration: a kill in the middle leaves the schema before it.
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def put_service(db: sqlite3.Connection, service: Service, hashes: Mapping[str, str], now: datetime) -> None:
    """As `Registry.put_service`, within a transaction."""
    _touch_service(db, service.name, service.active, now)
    for position, component in enumerate(service.components):
        if component.name in hashes:
            _put_component(db, service, component, position, hashes[component.name])
    _refresh_desired(db, service.name)
    _ignore_others(db, service)
    _recall_observed(db, service.name)


def add_event(
    db: sqlite3.Connection, service: str, component: str, kind: str, message: str, caller: str, now: datetime
) -> int:
    """As `Registry.add_event`, within a transaction."""
    cursor = db.execute(
        "INSERT INTO events (at, service, component, kind, message, caller) VALUES (?, ?, ?, ?, ?, ?)",
        (to_us(now), service, component, kind, message, caller),
    )
    return cursor.lastrowid or 0


def _touch_service(db: sqlite3.Connection, name: str, active: bool | None, now: datetime) -> None:
    db.execute(
        "INSERT INTO services (name, active, revision, updated_at) VALUES (:name, coalesce(:active, 1), 1, :now) "
        "ON CONFLICT (name) DO UPDATE SET active = coalesce(:active, active), revision = revision + 1, "
        "updated_at = :now",
        {"name": name, "active": active, "now": to_us(now)},
    )


def _put_component(
    db: sqlite3.Connection, service: Service, component: Component, position: int, spec_hash: str
) -> None:
    db.execute(
        "INSERT INTO components (service, name, position, spec, spec_hash, image, version, container, desired) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, '') "
        "ON CONFLICT (service, name) DO UPDATE SET position = excluded.position, spec = excluded.spec, "
        "spec_hash = excluded.spec_hash, image = excluded.image, version = excluded.version, "
        "container = excluded.container, desired = excluded.desired",
        (
            service.name,
            component.name,
            position,
            _spec_json(component),
            spec_hash,
            component.image,
            component.version,
            service.container(component.name),
        ),
    )


def _refresh_desired(db: sqlite3.Connection, service: str) -> None:
    """Desired state follows from the two `active` flags, and from nothing else (audit E3)."""
    db.execute(
        "UPDATE components SET desired = CASE "
        "WHEN (SELECT active FROM services WHERE name = service) AND coalesce(json_extract(spec, '$.active'), 1) "
        "THEN :running ELSE :stopped END WHERE service = :service AND desired != :ignore",
        {
            "service": service,
            "running": Desired.RUNNING,
            "stopped": Desired.STOPPED,
            "ignore": Desired.IGNORE,
        },
    )


def _ignore_others(db: sqlite3.Connection, service: Service) -> None:
    marks = ", ".join("?" * len(service.components))
    db.execute(
        f"UPDATE components SET desired = ? WHERE service = ? AND name NOT IN ({marks})",
        (Desired.IGNORE, service.name, *service.component_names),
    )


def _recall_observed(db: sqlite3.Connection, service: str) -> None:
    """What the monitor knows of a container since before its component was recorded, as it does in a first deploy."""
    known = (
        "FROM containers WHERE json_extract(known, '$.service') = service "
        "AND json_extract(known, '$.component') = components.name AND json_extract(known, '$.name') = container"
    )
    db.execute(
        f"UPDATE components SET observed = (SELECT json_extract(known, '$.state') {known}), "
        f"container_id = (SELECT id {known}), "
        "observed_at = (SELECT updated_at FROM services WHERE services.name = service) "
        f"WHERE service = ? AND observed_at IS NULL AND EXISTS (SELECT 1 {known})",
        (service,),
    )


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


def _services(db: sqlite3.Connection) -> dict[str, RecordedService]:
    components: dict[str, list[RecordedComponent]] = {}
    for row in db.execute("SELECT * FROM components ORDER BY position, name"):
        components.setdefault(row["service"], []).append(_component(row))
    return {
        row["name"]: RecordedService(
            row["name"],
            bool(row["active"]),
            row["revision"],
            from_us(row["updated_at"]),
            tuple(components.get(row["name"], ())),
        )
        for row in db.execute("SELECT * FROM services ORDER BY name")
    }


@functools.lru_cache(_KNOWN_HASHES)
def _definition_hash(spec: str) -> str:
    return definition_hash(msgspec.json.decode(spec, type=Component))


def _component(row: sqlite3.Row) -> RecordedComponent:
    return RecordedComponent(
        service=row["service"],
        spec=msgspec.json.decode(row["spec"], type=Component),
        spec_hash=row["spec_hash"],
        container=row["container"],
        desired=Desired(row["desired"]),
        observed=Observed(row["observed"]),
        observed_at=None if row["observed_at"] is None else from_us(row["observed_at"]),
        container_id=row["container_id"],
        deployed=None if row["deployed"] is None else msgspec.json.decode(row["deployed"], type=Component),
        definition_hash=_definition_hash(row["spec"]),
    )


def _spec_json(component: Component) -> str:
    return msgspec.json.encode(component).decode()


def to_us(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
