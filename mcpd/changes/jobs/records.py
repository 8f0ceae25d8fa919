"""What the registry is told of runs, in the order in which it happened.

While it cannot be written, that waits in memory. A run and what it accounts for are always one commit: a run that the
registry does not have is made up for by the next mcpd.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog
import trio

from mcpd.errors import RegistryError
from mcpd.registry.job_ledger import JobLedger, Key
from mcpd.registry.jobs import Account, Run
from monitor.model import Alert

log = structlog.get_logger()

# Of each job, ended runs that wait until the registry can be written.
_MOST_WAITING = 100


class _Begun(NamedTuple):
    """What was to be written with a run before it was started, and could not be."""

    until: datetime | None = None
    missed: str = ""


class Records:
    """``going``: the runs that go on, which are given their ids here."""

    def __init__(self, ledger: JobLedger, submit: Callable[[Alert], None], going: dict[Key, Run]) -> None:
        self._ledger = ledger
        self._submit = submit
        self._going = going
        # Held while something is written and noted here as written, or read and completed.
        self._lock = trio.Lock()
        # Up to when jobs are accounted for, where the registry could not be told.
        self._ahead: dict[Key, datetime] = {}
        self._begun: dict[Key, _Begun] = {}
        self._ended: dict[Key, list[tuple[Run, _Begun]]] = {}

    async def read(self) -> tuple[list[Account], list[Run]]:
        """Every account as it truly is, and the runs that have not ended as far as the registry knows.

        Raises RegistryError.
        """
        async with self._lock:
            accounts, left = await self._ledger.read()
            ahead = self._ahead
            return [
                msgspec.structs.replace(each, accounted_until=ahead.get(each.key, each.accounted_until))
                for each in accounts
            ], left

    def forget(self, keys: Collection[Key]) -> None:
        """Forgets up to when jobs are accounted for that are not among ``keys`` any more."""
        for key in self._ahead.keys() - keys:
            del self._ahead[key]

    async def begun(self, run: Run, until: datetime | None, missed: str) -> Run:
        """Keeps a run that is about to be started, if it can be; from now on it goes on.

        ``until``, ``missed``: as of `JobLedger.account`.
        """
        async with self._lock:
            run = self._numbered(run)
            missed = missed or self._begun.get(run.key, _Begun()).missed
            try:
                await self._write_ended(run.key)
                run, alerts = await self._ledger.account(run, until, missed)
                self._send(alerts)
                self._begun.pop(run.key, None)
                if until:
                    self._ahead.pop(run.key, None)
            except RegistryError as error:
                log.error("a run cannot be recorded; it begins all the same", job="/".join(run.key), error=str(error))
                self._begun[run.key] = _Begun(until, missed)
                if until:
                    self._ahead[run.key] = until
            self._going[run.key] = run
        return run

    async def ended(self, run: Run) -> None:
        """Keeps how a run ended, as soon as it can be."""
        async with self._lock:
            waiting = self._ended.setdefault(run.key, [])
            waiting.append((self._numbered(run), self._begun.pop(run.key, _Begun())))
            try:
                await self._write_ended(run.key)
            except RegistryError as error:
                log.error("the end of a run could not be recorded yet", job="/".join(run.key), error=str(error))
                # The first may be open in the registry.
                del waiting[1:-_MOST_WAITING]

    async def count_back(self, key: Key, now: datetime) -> None:
        """The clock was set back, and is believed. Raises RegistryError; it counts all the same."""
        self._ahead[key] = now
        await self.write()

    async def write(self) -> None:
        """Writes what could not be written. Raises RegistryError."""
        for key in sorted(self._ahead.keys() | self._begun.keys() | self._ended.keys()):
            async with self._lock:
                await self._write_ended(key)
                await self._write_begun(key)
                if until := self._ahead.get(key):
                    await self._ledger.account_for(key, until)
                    self._ahead.pop(key, None)

    async def _write_ended(self, key: Key) -> None:
        waiting = self._ended.get(key, [])
        while waiting:
            run, begun = waiting[0]
            self._send(await self._ledger.ended(run, datetime.now(UTC), *begun))
            del waiting[0]
        self._ended.pop(key, None)

    async def _write_begun(self, key: Key) -> None:
        if (begun := self._begun.get(key)) is not None:
            kept, alerts = await self._ledger.account(self._going[key], *begun)
            self._send(alerts)
            # It may have started meanwhile.
            self._going[key] = msgspec.structs.replace(self._going[key], id=kept.id)
            del self._begun[key]

    def _numbered(self, run: Run) -> Run:
        """With its id, if it was given one since it was looked at."""
        now = self._going.get(run.key)
        return msgspec.structs.replace(run, id=now.id) if now and now.at == run.at else run

    def _send(self, alerts: Collection[Alert]) -> None:
        for each in alerts:
            self._submit(each)
