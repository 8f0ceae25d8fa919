"""The registry as the monitor writes it: facts, states and alerts, in one transaction each; and as operators ask it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from mcpd.errors import NotFoundError
from mcpd.model import Target
from mcpd.registry import schema
from mcpd.registry.events import add_event
from mcpd.registry.schema import from_us, to_us
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind, Delivery, Execution, Fact, Known, Observed, SourceState
from monitor.ports import NewAlert, Silence, hushing

# As much of an alert command's output as helps to see why it failed.
_MAX_OUTPUT = 4096
# In facts_of_node, before the name of a filesystem: that it has little room is told.
_FULL_DISK = "full_disk "
# Where somebody who named a silence that there is not finds the others.
_LISTED = "`mcpctl alerts list` shows those in force"
# Told once, and open at no time.
_NEWS = (AlertKind.RECOVERED, AlertKind.REBOOT, AlertKind.EXPIRY, AlertKind.DISK)


T = TypeVar("T")


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


class MonitorLedger:
    """Satisfies `monitor.ports.Ledger`. Raises RegistryError."""

    def __init__(self, registry: Registry, node: str) -> None:
        self._registry = registry
        self._node = node
        # Asked for with every judgement, and changed by nobody but us.
        self._silences: list[Silence] | None = None
        self._silence_changes = 0
        self._outcomes: Counter[tuple[AlertKind, Delivery]] = Counter()

    @property
    def state(self) -> SourceState:
        """Whether the registry can be written."""
        return self._registry.state

    async def until(self, *, ok: bool) -> None:
        await self._registry.until(ok=ok)

    async def attempt(self) -> None:
        await self._registry.attempt()

    # -- what the reducer writes

    async def record(
        self, facts: Sequence[Fact], states: Sequence[Known], alerts: Sequence[NewAlert], now: datetime
    ) -> tuple[Alert, ...]:
        """Keeps facts (each key once), the present states, and alerts; returns the alerts to send."""

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            db.executemany(
                "INSERT INTO events (at, service, component, kind, message, caller, fact) "
                "VALUES (?, ?, ?, ?, ?, '', ?) ON CONFLICT (fact) WHERE fact IS NOT NULL DO NOTHING",
                [(to_us(each.at), each.service, each.component, each.state, each.message, each.key) for each in facts],
            )
            for state in states:
                _keep_state(db, state, now)
            return tuple(filter(None, [self._insert(db, each, now) for each in alerts]))

        # What was seen of a run would be seen again after a loss of power, under the same key. An alert's id would be
        # given to another one, which its receiver then takes for a repeat.
        sent = await self._registry.transact(write, changes_services=bool(states), durable=bool(alerts))
        self._outcomes.update((each.kind, Delivery.SUPPRESSED) for each in alerts if each.suppressed_by)
        return sent

    def _insert(self, db: sqlite3.Connection, new: NewAlert, now: datetime) -> Alert | None:
        """Keeps one alert; returns it when it is to be sent."""
        delivery = Delivery.SUPPRESSED if new.suppressed_by else Delivery.PENDING
        is_news = new.kind in _NEWS
        if new.kind is AlertKind.RECOVERED:
            db.execute(
                "UPDATE alerts SET closed_at = ? WHERE service = ? AND component = ? AND closed_at IS NULL",
                (to_us(now), new.service, new.component),
            )
        # Told after all, when the rule that kept it quiet has ended: the row that was kept quiet gives way.
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
        if new.suppressed_by:
            return None
        return Alert(
            id=cursor.lastrowid or 0,
            node=self._node,
            service=new.service,
            component=new.component,
            kind=new.kind,
            desired=new.desired,
            observed=new.observed,
            reason=new.reason,
            since=new.since,
            transitions=new.transitions,
        )

    async def remembered(self) -> tuple[Sequence[Known], Sequence[tuple[Alert, bool]]]:
        """The last states, and the open alerts, each with whether it was suppressed."""

        def read(db: sqlite3.Connection) -> tuple[Sequence[Known], Sequence[tuple[Alert, bool]]]:
            states = [
                msgspec.json.decode(row["known"], type=Known) for row in db.execute("SELECT known FROM containers")
            ]
            rows = db.execute("SELECT * FROM alerts WHERE closed_at IS NULL ORDER BY id").fetchall()
            return states, [(self._alert(row), row["delivery"] == Delivery.SUPPRESSED) for row in rows]

        return await self._registry.ask(read)

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Those in force."""
        found = self._silences
        if found is None:
            changes = self._silence_changes
            found = await self._registry.ask(_read_silences)
            # What was read before a change was committed is not kept beyond it.
            if changes == self._silence_changes:
                self._silences = found
        return [each for each in found if each.until > now]

    # -- what the dispatcher writes

    async def pending_alerts(self) -> tuple[Alert, ...]:
        def read(db: sqlite3.Connection) -> tuple[Alert, ...]:
            rows = db.execute("SELECT * FROM alerts WHERE delivery = 'pending' ORDER BY id").fetchall()
            return tuple(map(self._alert, rows))

        return await self._registry.ask(read)

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        del now  # the ledger keeps how often and how, not when each time
        output = f"{execution.words}\n{execution.output}"[:_MAX_OUTPUT] if execution.output else execution.words

        def write(db: sqlite3.Connection) -> sqlite3.Row | None:
            db.execute(
                "UPDATE alerts SET attempts = attempts + 1, delivery = ?, exit_status = ?, output = ? WHERE id = ?",
                (delivery, execution.status, output, alert),
            )
            row: sqlite3.Row | None = db.execute("SELECT kind FROM alerts WHERE id = ?", (alert,)).fetchone()
            return row

        row = await self._registry.transact(write)
        if row and delivery is not Delivery.PENDING:
            self._outcomes[AlertKind(row["kind"]), delivery] += 1

    async def suppress_if_hushed(self, alert: Alert, now: datetime) -> bool:
        """Whether somebody has acknowledged the alert, or silenced it; if so, keeps that as what suppressed it."""
        silence = hushing(await self.silences(now), alert.service, alert.component)

        def write(db: sqlite3.Connection) -> bool:
            row = db.execute("SELECT acked_by FROM alerts WHERE id = ?", (alert.id,)).fetchone()
            rule = f"acknowledged by {row['acked_by']}" if row and row["acked_by"] else silence
            if rule:
                db.execute(
                    "UPDATE alerts SET delivery = ?, suppressed_by = ? WHERE id = ?",
                    (Delivery.SUPPRESSED, rule, alert.id),
                )
            return bool(rule)

        hushed = await self._registry.transact(write)
        if hushed:
            self._outcomes[alert.kind, Delivery.SUPPRESSED] += 1
        return hushed

    # -- what operators ask

    async def alerts(
        self, service: str = "", component: str = "", *, open_only: bool = False, limit: int = 100
    ) -> tuple[AlertRecord, ...]:
        """The newest ``limit`` alerts that match, oldest first."""
        conditions = [("service = ?", service), ("component = ?", component)]
        chosen = [(text, value) for text, value in conditions if value]
        texts = [text for text, _ in chosen] + (["closed_at IS NULL"] if open_only else [])
        where = "WHERE " + " AND ".join(texts) if texts else ""
        query = f"SELECT * FROM alerts {where} ORDER BY id DESC LIMIT ?"
        bound = [*(value for _, value in chosen), limit]
        rows = await self._registry.ask(lambda db: db.execute(query, bound).fetchall())
        return tuple(self._record(row) for row in reversed(rows))

    async def acknowledge(self, alert: int, by: str, note: str) -> AlertRecord:
        """Raises NotFoundError."""

        def write(db: sqlite3.Connection) -> sqlite3.Row | None:
            db.execute("UPDATE alerts SET acked_by = ?, ack_note = ? WHERE id = ?", (by, note, alert))
            row: sqlite3.Row | None = db.execute("SELECT * FROM alerts WHERE id = ?", (alert,)).fetchone()
            return row

        row = await self._registry.transact(write)
        if row is None:
            raise NotFoundError(f"there is no alert {alert} on {self._node}; `mcpctl alerts list --all` shows them")
        return self._record(row)

    async def silence(self, service: str, component: str, until: datetime, reason: str, by: str) -> Silence:
        def write(db: sqlite3.Connection) -> int:
            cursor = db.execute(
                "INSERT INTO silences (service, component, until, reason, by) VALUES (?, ?, ?, ?, ?)",
                (service, component, to_us(until), reason, by),
            )
            return cursor.lastrowid or 0

        made = Silence(await self._registry.transact(write), service, component, until, reason, by)
        self._forget_silences()
        return made

    async def end_silence(self, silence: int, now: datetime) -> Silence:
        """Ends one that is in force; its row stays, with ``now`` as its end. Raises NotFoundError."""

        def write(db: sqlite3.Connection) -> Silence:
            found = [each for each in _read_silences(db) if each.id == silence]
            if not found:
                raise NotFoundError(f"there is no silence {silence} on {self._node}; {_LISTED}")
            if found[0].until <= now:
                over = f"silence {silence} on {self._node} has been over since {found[0].until:%Y-%m-%d %H:%M} UTC"
                raise NotFoundError(f"{over}; {_LISTED}")
            return _end(db, found, now)[0]

        return await self._ended(write)

    async def end_silences(self, service: str, component: str, now: datetime) -> tuple[Silence, ...]:
        """Ends all that are in force for exactly this; ``component`` empty: for the service as a whole.

        Raises NotFoundError when there is none, and says which others keep it quiet.
        """

        def write(db: sqlite3.Connection) -> tuple[Silence, ...]:
            of_service = [each for each in _read_silences(db) if each.service == service and each.until > now]
            found = [each for each in of_service if each.component == component]
            if not found:
                raise NotFoundError(_no_silence(self._node, service, component, of_service))
            return _end(db, found, now)

        return await self._ended(write)

    async def _ended(self, write: Callable[[sqlite3.Connection], T]) -> T:
        found = await self._registry.transact(write)
        self._forget_silences()
        return found

    def _forget_silences(self) -> None:
        self._silences = None
        self._silence_changes += 1

    # -- housekeeping, and facts of the node

    async def prune(self, before: datetime) -> int:
        """Removes events and closed alerts older than ``before``, and silences that ended; returns how many rows."""

        def write(db: sqlite3.Connection) -> int:
            # The newest state of every component stays, however old: a fold from events must start somewhere. So does
            # the newest run: a removal is of the component only when its container is the one that ran last.
            newest = "SELECT id, max(at) FROM events WHERE fact IS NOT NULL {} GROUP BY service, component"
            running = "AND kind = 'running'"
            kept = f"{newest.format('')} UNION ALL {newest.format(running)}"
            gone = db.execute(
                f"DELETE FROM events WHERE at < ? AND id NOT IN (SELECT id FROM ({kept}))", (to_us(before),)
            ).rowcount
            closed = "DELETE FROM alerts WHERE closed_at < ? AND delivery != 'pending'"
            gone += db.execute(closed, (to_us(before),)).rowcount
            return gone + db.execute("DELETE FROM silences WHERE until < ?", (to_us(before),)).rowcount

        return await self._registry.transact(write)

    async def exchange_boot_id(self, boot_id: str) -> str:
        """Remembers this boot's id, and returns the last one; empty when there was none."""
        return await self._registry.transact(lambda db: _exchange(db, "boot_id", boot_id))

    async def restored_from(self) -> str:
        """What this registry was restored from, as long as nobody was told; empty when it was not."""

        def read(db: sqlite3.Connection) -> str:
            row = db.execute("SELECT value FROM facts_of_node WHERE name = ?", (schema.RESTORED,)).fetchone()
            return str(row["value"]) if row else ""

        return await self._registry.ask(read)

    async def record_restore(self, words: str, now: datetime) -> None:
        """Keeps an event that the registry was restored; then it is told."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM facts_of_node WHERE name = ?", (schema.RESTORED,))
            add_event(db, "", "", "restored", words, "", now)

        await self._registry.transact(write)

    async def record_expiry(self, serial: str, reason: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event and an alert of a certificate's expiry; returns what to send: nothing for the last one told.

        All in one transaction, so that neither a crash nor a restart tells twice, or not at all.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            if _exchange(db, "certificate_told", serial) == serial:
                return ()
            add_event(db, "", "", "certificate", reason, "", now)
            told = self._insert(db, NewAlert("", "", AlertKind.EXPIRY, "", "", reason, now, 0, ""), now)
            return (told,) if told else ()

        return await self._registry.transact(write)

    async def full_disks(self) -> frozenset[str]:
        """The filesystems of which it was told that they have little room, and not yet that they have more again."""

        def read(db: sqlite3.Connection) -> frozenset[str]:
            names = db.execute("SELECT name FROM facts_of_node WHERE name GLOB ?", (f"{_FULL_DISK}*",))
            return frozenset(row["name"].removeprefix(_FULL_DISK) for row in names)

        return await self._registry.ask(read)

    async def record_disk(self, filesystem: str, *, is_full: bool, reason: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event of a filesystem that has little room, or has more again; the former is an alert as well.

        Returns what to send. `full_disks` says what was kept last.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            name = _FULL_DISK + filesystem
            add_event(db, "", "", "disk", reason, "", now)
            if not is_full:
                db.execute("DELETE FROM facts_of_node WHERE name = ?", (name,))
                return ()
            _exchange(db, name, reason)
            told = self._insert(db, NewAlert("", "", AlertKind.DISK, "", "", reason, now, 0, ""), now)
            return (told,) if told else ()

        return await self._registry.transact(write)

    # -- what metrics say

    @property
    def outcomes(self) -> Mapping[tuple[AlertKind, Delivery], int]:
        """How alerts ended, since this daemon began: how many of each kind were sent, suppressed, or have failed."""
        return self._outcomes

    async def standing(self, now: datetime) -> AlertCounts:
        """How many alerts are open, by kind, how many of these are silenced, and how many are still to be sent."""

        def read(db: sqlite3.Connection) -> AlertCounts:
            rows = db.execute("SELECT kind, service, component FROM alerts WHERE closed_at IS NULL").fetchall()
            (pending,) = db.execute("SELECT count(*) FROM alerts WHERE delivery = 'pending'").fetchone()
            silences = [each for each in _read_silences(db) if each.until > now]
            hushed = [row for row in rows if hushing(silences, row["service"], row["component"])]
            return AlertCounts(_by_kind(rows), _by_kind(hushed), pending)

        return await self._registry.ask(read)

    def _alert(self, row: sqlite3.Row) -> Alert:
        return Alert(
            id=row["id"],
            node=self._node,
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

    def _record(self, row: sqlite3.Row) -> AlertRecord:
        return AlertRecord(
            alert=self._alert(row),
            opened_at=from_us(row["opened_at"]),
            closed_at=from_us(row["closed_at"]) if row["closed_at"] is not None else None,
            delivery=Delivery(row["delivery"]),
            suppressed_by=row["suppressed_by"],
            exit_status=row["exit_status"],
            output=row["output"],
            acked_by=row["acked_by"],
            ack_note=row["ack_note"],
        )


def _exchange(db: sqlite3.Connection, name: str, value: str) -> str:
    """Remembers a fact of the node, and returns what it was; empty when it was not known."""
    row = db.execute("SELECT value FROM facts_of_node WHERE name = ?", (name,)).fetchone()
    db.execute("INSERT OR REPLACE INTO facts_of_node (name, value) VALUES (?, ?)", (name, value))
    return str(row["value"]) if row else ""


def _by_kind(alerts: Iterable[sqlite3.Row]) -> Mapping[AlertKind, int]:
    return Counter(AlertKind(row["kind"]) for row in alerts)


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


def _read_silences(db: sqlite3.Connection) -> list[Silence]:
    rows = db.execute("SELECT * FROM silences ORDER BY id")
    return [
        Silence(row["id"], row["service"], row["component"], from_us(row["until"]), row["reason"], row["by"])
        for row in rows
    ]


def _keep_state(db: sqlite3.Connection, state: Known, now: datetime) -> None:
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
