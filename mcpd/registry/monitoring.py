"""The registry for the monitor and its operators: facts, states, alerts, silences, and what the node remembers.

Here are the transactions; the SQL is in `observations`, `alerts`, `silences` and `node_facts`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from mcpd.errors import NotFoundError
from mcpd.registry import alerts as alert_rows
from mcpd.registry import node_facts, observations
from mcpd.registry import silences as silence_rows
from mcpd.registry.alerts import AlertCounts, AlertRecord
from mcpd.registry.events import add_event, prune_events
from mcpd.registry.jobs import prune_runs
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind, Delivery, Execution, Fact, Known, SourceState
from monitor.ports import NewAlert, Silence, hushing

T = TypeVar("T")


class Raise(Protocol):
    def __call__(self, new: NewAlert, *, is_news: bool = False) -> None:
        """Keeps an alert; ``is_news``: it is told once, and open at no time."""


# Ids that are reserved at once. So many alerts are raised for one that waits for the disk; after a reboot, so many are
# skipped at most.
_IDS_RESERVED = 50


class MonitorLedger:
    """Satisfies `monitor.ports.Ledger`. Raises RegistryError."""

    def __init__(self, registry: Registry, node: str) -> None:
        self._registry = registry
        self._node = node
        # Asked for with every judgement, and changed by nobody but us.
        self._silences: list[Silence] | None = None
        self._silence_changes = 0
        self._outcomes: Counter[tuple[AlertKind, Delivery]] = Counter()
        # Ids of alerts that are reserved, and not given yet.
        self._ids_left = 0

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
        reserves = len(alerts) > self._ids_left

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            observations.insert_facts(db, facts)
            for state in states:
                observations.put_state(db, state, now)
            sent = tuple(filter(None, [self._insert(db, each, now) for each in alerts]))
            if reserves:
                node_facts.reserve_alert_ids(db, alert_rows.last_id(db) + _IDS_RESERVED)
            return sent

        # What was seen of a run would be seen again after a loss of power, under the same key, and what is wrong would
        # be told again. But an alert's id must not be given to another one, which its receiver would take for a repeat.
        sent = await self._registry.transact(write, changes_services=bool(states), durable=reserves)
        self._ids_left = _IDS_RESERVED if reserves else self._ids_left - len(alerts)
        self._outcomes.update((each.kind, Delivery.SUPPRESSED) for each in alerts if each.suppressed_by)
        return sent

    def _insert(self, db: sqlite3.Connection, new: NewAlert, now: datetime) -> Alert | None:
        """Keeps one alert; returns it when it is to be sent."""
        return alert_rows.insert_alert(db, self._node, new, now)

    def _insert_news(self, db: sqlite3.Connection, kind: AlertKind, reason: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an alert of the node as a whole; returns what is to be sent."""
        self._ids_left -= 1
        told = self._insert(db, NewAlert("", "", kind, "", "", reason, now, 0, ""), now)
        return (told,) if told else ()

    async def record_runs(
        self, write: Callable[[sqlite3.Connection, Raise], None], now: datetime, *, changes_services: bool = True
    ) -> tuple[Alert, ...]:
        """Runs ``write``, which changes what is kept of jobs, and may raise alerts of their runs; returns what to send.

        All in one transaction.
        """
        silences = await self.silences(now)
        raised: list[NewAlert] = []

        def transaction(db: sqlite3.Connection) -> tuple[Alert, ...]:
            raised.clear()
            sent: list[Alert] = []

            def tell(new: NewAlert, *, is_news: bool = False) -> None:
                rule = new.suppressed_by or hushing(silences, new.service, new.component)
                raised.append(new._replace(suppressed_by=rule))
                told = alert_rows.insert_alert(db, self._node, raised[-1], now, is_of_runs=True, is_news=is_news)
                sent.extend([told] if told else [])

            write(db, tell)
            return tuple(sent)

        sent = await self._registry.transact(transaction, changes_services=changes_services)
        self._ids_left -= len(raised)
        self._outcomes.update((each.kind, Delivery.SUPPRESSED) for each in raised if each.suppressed_by)
        return sent

    async def remembered(self) -> tuple[Sequence[Known], Sequence[tuple[Alert, bool]]]:
        """The last states, and the open alerts, each with whether it was suppressed."""
        return await self._registry.ask(lambda db: (observations.read_states(db), alert_rows.read_open(db, self._node)))

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Those in force."""
        found = self._silences
        if found is None:
            changes = self._silence_changes
            found = await self._registry.ask(silence_rows.read_silences)
            # What was read before a change was committed is not kept beyond it.
            if changes == self._silence_changes:
                self._silences = found
        return [each for each in found if each.until > now]

    # -- what the dispatcher writes

    async def pending_alerts(self) -> tuple[Alert, ...]:
        return await self._registry.ask(lambda db: alert_rows.read_pending(db, self._node))

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        del now  # the ledger keeps how often and how, not when each time
        kind = await self._registry.transact(lambda db: alert_rows.update_attempt(db, alert, execution, delivery))
        if kind and delivery is not Delivery.PENDING:
            self._outcomes[kind, delivery] += 1

    async def suppress_if_hushed(self, alert: Alert, now: datetime) -> bool:
        """Whether somebody has acknowledged the alert, or silenced it; if so, keeps that as what suppressed it."""
        silence = hushing(await self.silences(now), alert.service, alert.component)
        hushed = await self._registry.transact(lambda db: alert_rows.suppress(db, alert.id, silence))
        if hushed:
            self._outcomes[alert.kind, Delivery.SUPPRESSED] += 1
        return hushed

    # -- what operators ask

    async def alerts(
        self, service: str = "", component: str = "", *, open_only: bool = False, limit: int = 100
    ) -> tuple[AlertRecord, ...]:
        """The newest ``limit`` alerts that match, oldest first."""
        return await self._registry.ask(
            lambda db: alert_rows.read_alerts(db, self._node, service, component, open_only=open_only, limit=limit)
        )

    async def acknowledge(self, alert: int, by: str, note: str) -> AlertRecord:
        """Raises NotFoundError."""
        found = await self._registry.transact(lambda db: alert_rows.acknowledge(db, self._node, alert, by, note))
        if found is None:
            raise NotFoundError(f"there is no alert {alert} on {self._node}; `mcpctl alerts list --all` shows them")
        return found

    async def silence(self, service: str, component: str, until: datetime, reason: str, by: str) -> Silence:
        return await self._change_silences(
            lambda db: silence_rows.insert_silence(db, service, component, until, reason, by)
        )

    async def end_silence(self, silence: int, now: datetime) -> Silence:
        """Ends one that is in force; its row stays, with ``now`` as its end. Raises NotFoundError."""
        return await self._change_silences(lambda db: silence_rows.end_silence(db, self._node, silence, now))

    async def end_silences(self, service: str, component: str, now: datetime) -> tuple[Silence, ...]:
        """Ends all that are in force for exactly this; ``component`` empty: for the service as a whole.

        Raises NotFoundError when there is none, and says which others keep it quiet.
        """
        return await self._change_silences(
            lambda db: silence_rows.end_silences(db, self._node, service, component, now)
        )

    async def _change_silences(self, write: Callable[[sqlite3.Connection], T]) -> T:
        found = await self._registry.transact(write)
        self._silences = None
        self._silence_changes += 1
        return found

    # -- housekeeping, and what the node remembers

    async def prune(self, before: datetime) -> int:
        """Removes events and closed alerts older than ``before``, and silences that ended; returns how many rows."""
        return await self._registry.transact(
            lambda db: (
                prune_events(db, before)
                + alert_rows.prune_alerts(db, before)
                + silence_rows.prune_silences(db, before)
                + prune_runs(db, before)
            )
        )

    async def exchange_boot_id(self, boot_id: str) -> str:
        """Remembers this boot's id, and returns the last one; empty when there was none.

        Before any alert is raised: the boot may follow a loss of power, which has taken back alerts that were told.
        """

        def write(db: sqlite3.Connection) -> str:
            last = node_facts.exchange_boot_id(db, boot_id)
            if last != boot_id:
                alert_rows.skip_ids(db, node_facts.reserved_alert_ids(db))
            return last

        return await self._registry.transact(write)

    async def restored_from(self) -> str:
        """What this registry was restored from, as long as nobody was told; empty when it was not."""
        return await self._registry.ask(node_facts.restored_from)

    async def record_restore(self, words: str, now: datetime) -> None:
        """Keeps an event that the registry was restored; then it is told."""

        def write(db: sqlite3.Connection) -> None:
            node_facts.forget_restore(db)
            add_event(db, "", "", "restored", words, "", now)

        await self._registry.transact(write)

    async def record_expiry(self, serial: str, reason: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event and an alert of a certificate's expiry; returns what to send: nothing for the last one told.

        All in one transaction, so that neither a crash nor a restart tells twice, or not at all.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            if not node_facts.is_news_of_certificate(db, serial):
                return ()
            add_event(db, "", "", "certificate", reason, "", now)
            return self._insert_news(db, AlertKind.EXPIRY, reason, now)

        return await self._registry.transact(write)

    async def full_disks(self) -> frozenset[str]:
        """The filesystems of which it was told that they have little room, and not yet that they have more again."""
        return await self._registry.ask(node_facts.full_disks)

    async def record_disk(self, filesystem: str, *, is_full: bool, reason: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event of a filesystem that has little room, or has more again; the former is an alert as well.

        Returns what to send. `full_disks` says what was kept last.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            add_event(db, "", "", "disk", reason, "", now)
            if not is_full:
                node_facts.forget_full_disk(db, filesystem)
                return ()
            node_facts.put_full_disk(db, filesystem, reason)
            return self._insert_news(db, AlertKind.DISK, reason, now)

        return await self._registry.transact(write)

    async def record_routes(self, problem: str, words: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event of what is wrong with the proxy, or ("") that nothing is any more; the former is an alert.

        ``problem`` says what is wrong, as far as it is the same: it is told once. Returns what to send.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            if node_facts.exchange_route_problem(db, problem) == problem:
                return ()
            add_event(db, "", "", "route", words, "", now)
            return self._insert_news(db, AlertKind.ROUTE, words, now) if problem else ()

        return await self._registry.transact(write)

    async def record_route_news(self, words: str, now: datetime) -> tuple[Alert, ...]:
        """Keeps an event and an alert of something that was wrong with the proxy and is mended already."""

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            add_event(db, "", "", "route", words, "", now)
            return self._insert_news(db, AlertKind.ROUTE, words, now)

        return await self._registry.transact(write)

    async def record_route_certificates(self, ending: Mapping[str, str], now: datetime) -> tuple[Alert, ...]:
        """Keeps an event and an alert of each certificate of a route that ends soon, once; returns what to send.

        ``ending``: all of them, in words, by their fingerprints.
        """

        def write(db: sqlite3.Connection) -> tuple[Alert, ...]:
            told: tuple[Alert, ...] = ()
            for fingerprint in sorted(node_facts.news_of_route_certificates(db, ending)):
                add_event(db, "", "", "certificate", ending[fingerprint], "", now)
                told += self._insert_news(db, AlertKind.EXPIRY, ending[fingerprint], now)
            return told

        return await self._registry.transact(write)

    # -- what metrics say

    @property
    def outcomes(self) -> Mapping[tuple[AlertKind, Delivery], int]:
        """How alerts ended, since this daemon began: how many of each kind were sent, suppressed, or have failed."""
        return self._outcomes

    async def standing(self, now: datetime) -> AlertCounts:
        """How many alerts are open, by kind, how many of these are silenced, and how many are still to be sent."""

        def read(db: sqlite3.Connection) -> AlertCounts:
            in_force = [each for each in silence_rows.read_silences(db) if each.until > now]
            return alert_rows.count_alerts(db, in_force)

        return await self._registry.ask(read)
