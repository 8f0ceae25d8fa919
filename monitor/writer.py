"""Writes what the reducer decided to the ledger, and holds it in memory while the ledger cannot be written.

A full disk must hide no death. Meanwhile alerts are told under an id of no row (see `monitor.model.Alert`), and
when the ledger can be written again it gets them, and how telling them went, in the order in which they were raised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import structlog
import trio

from monitor.alerts.dispatch import Dispatcher
from monitor.model import NOT_KEPT, AlertKind, Fact, Known, SourceState
from monitor.ports import Ledger, NewAlert, OutsideError, Silence

log = structlog.get_logger()

# Pauses between trials: short at first, since somebody may be freeing space, and longer for a disk that stays full.
_FIRST_S, _LONGEST_S = 1.0, 30.0
# A disk that was full a moment ago is near its limit: long pauses keep it from being reported again and again.
_CALM_S = 600.0
# A day of a node whose components all restart every hour; some ten MiB.
_FACTS_HELD = 10_000
# Cooldown and flap rules let a component raise some ten in an hour.
_ALERTS_HELD = 1_000


class _Held(NamedTuple):
    """An alert that waits for the ledger. ``told_as`` is the id that it was told under; None: a rule kept it quiet."""

    new: NewAlert
    raised_at: datetime
    told_as: int | None


class Writer:
    """Writes what the reducer decides, and has its alerts told. `run` tries again what could not be written."""

    def __init__(self, node: str, ledger: Ledger, dispatcher: Dispatcher) -> None:
        self._node = node
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._facts: deque[Fact] = deque(maxlen=_FACTS_HELD)
        self._states: dict[str, Known] = {}
        self._alerts: deque[_Held] = deque(maxlen=_ALERTS_HELD)
        self._is_writing = False
        self._last_id = NOT_KEPT
        self._silences: Sequence[Silence] = ()

    @property
    def state(self) -> SourceState:
        """Whether the ledger can be written."""
        return self._ledger.state

    async def record(
        self, facts: Sequence[Fact], states: Sequence[Known], alerts: Sequence[NewAlert], now: datetime
    ) -> None:
        """Writes it, and submits the alerts to be sent. A ledger that cannot be written is no error here."""
        # 1. What was held is written first: a recovered must not come before what it closes.
        if self._is_behind or not self._ledger.state.ok:
            self._hold(facts, states, alerts, now)
            await trio.lowlevel.checkpoint()
            return
        try:
            told = await self._ledger.record(facts, states, alerts, now)
        except OutsideError:
            # 2. The ledger works, and refuses this: a bug of ours, which would be held and tried for ever.
            if self._ledger.state.ok:
                raise
            # 3. It can be written no more.
            self._hold(facts, states, alerts, now)
            return
        for alert in told:
            self._dispatcher.submit(alert)

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Those in force: the last ones known, when the ledger cannot be read."""
        try:
            self._silences = await self._ledger.silences(now)
        except OutsideError:
            if self._ledger.state.ok:
                raise
        return [each for each in self._silences if each.until > now]

    async def run(self) -> NoReturn:
        """Until cancelled: reports when the ledger cannot be written, and when it can again; writes what was held."""
        pause = _FIRST_S
        while True:
            await self._ledger.until(ok=False)
            state = self._ledger.state
            log.error("the registry cannot be written; observations are held in memory", why=state.detail)
            self._tell(AlertKind.REGISTRY, "unwritable", state.detail, state.since)
            await self._until_written(pause)
            log.info("the registry can be written again; the held observations are written")
            self._tell(AlertKind.RECOVERED, "writable", "the registry can be written again", datetime.now(UTC))
            with trio.move_on_after(_CALM_S) as calm:
                await self._ledger.until(ok=False)
            pause = _FIRST_S if calm.cancelled_caught else _LONGEST_S

    async def _until_written(self, pause: float) -> None:
        while True:
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_S)
            try:
                await self._ledger.attempt()
                await self._write()
                await self._dispatcher.catch_up()
                return
            except OutsideError:
                if self._ledger.state.ok:
                    raise

    # -- what is held

    @property
    def _is_behind(self) -> bool:
        return bool(self._is_writing or self._facts or self._states or self._alerts)

    def _hold(self, facts: Iterable[Fact], states: Iterable[Known], alerts: Iterable[NewAlert], now: datetime) -> None:
        self._facts.extend(facts)
        self._states.update({each.container: each for each in states})
        for new in alerts:
            number = None
            if not new.suppressed_by:
                number = self._last_id = self._last_id - 1
                self._dispatcher.submit(new.numbered(number, self._node))
            self._alerts.append(_Held(new, now, number))

    async def _write(self) -> None:
        """Writes everything that is held, also what comes meanwhile. Raises OutsideError, and then keeps the rest."""
        self._is_writing = True
        try:
            while self._facts or self._states or self._alerts:
                await self._write_observed()
                await self._write_alerts()
        finally:
            self._is_writing = False

    async def _write_observed(self) -> None:
        facts, states = list(self._facts), self._states
        self._facts.clear()
        self._states = {}
        try:
            await self._ledger.record(facts, list(states.values()), (), datetime.now(UTC))
        except OutsideError:
            # What is newer stays when there is too much.
            self._facts = deque((*facts, *self._facts), maxlen=_FACTS_HELD)
            self._states = states | self._states
            raise

    async def _write_alerts(self) -> None:
        while self._alerts:
            held = self._alerts[0]
            kept = await self._ledger.record((), (), (held.new,), held.raised_at)
            # It may have been dropped meanwhile, for want of room.
            if self._alerts[0] is held:
                self._alerts.popleft()
            for alert in kept:
                self._dispatcher.kept(held.told_as or NOT_KEPT, alert)

    # -- telling

    def _tell(self, kind: AlertKind, observed: str, reason: str, since: datetime) -> None:
        """Sends an alert about the ledger itself, which has no row for it."""
        news = NewAlert("", "", kind, "writable", observed, reason, since, 0, "")
        self._dispatcher.submit(news.numbered(NOT_KEPT, self._node))
