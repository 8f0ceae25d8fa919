"""Runs the operator's command for each alert in the ledger: at least once, in order per component.

An alert is committed to the ledger before it comes here, and its delivery after the command was run. A daemon that is
killed between the two runs the command again for the same id; whatever else happens, nothing is lost or sent twice.

While the ledger cannot be written, how attempts went is remembered here and written later (`Dispatcher.catch_up`); and
alerts come that it does not have yet (`Alert.is_kept`), which are told all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
import trio

from monitor.alerts.command import execute as execute_command
from monitor.model import NOT_KEPT, Alert, Delivery, Execution
from monitor.ports import AlertLedger, OutsideError

log = structlog.get_logger()

# Before the second attempt, the third, and so on; after the last, the alert has failed. A mail server that blinks is
# back within seconds, one that restarts within two and a half minutes; what is down for longer needs its own alarm.
_BACKOFF_S = (1.0, 5.0, 30.0, 120.0)
_MAX_ATTEMPTS = len(_BACKOFF_S) + 1
# Commands at once. A node that falls over as a whole must not start a process per component. While what cleans up after
# the dead wants every core, a command of ten milliseconds takes a quarter of a second, nearly all of it in waiting for
# one. Measured among 40 processes that want them: 120 commands begin in 1.8 s with sixteen at once, in 2.8 s with four.
_MAX_RUNNING = 16
# Alerts per component that wait in memory; more are left in the ledger until these are delivered. Flap and cooldown
# keep a component far below this, unless every attempt fails for hours.
_MAX_WAITING = 32

# Alerts of which it is remembered how telling them went, while the ledger cannot be written.
_MAX_UNRECORDED = 2_000

_NOT_CONFIGURED = Execution(None, "no alert_command is configured, so nobody was notified")

_Key = tuple[str, str]
Execute = Callable[[tuple[str, ...], Alert, float], Awaitable[Execution]]


class _Attempt(NamedTuple):
    """The outcome of an attempt that the ledger does not have yet."""

    execution: Execution
    delivery: Delivery
    at: datetime


class Dispatcher:
    """Delivers alerts. ``command`` and ``timeout``, in seconds, are asked at each attempt: SIGHUP may change them.

    What it holds in memory is bounded by the number of components that have something to be told of: for each, one
    task and ``_MAX_WAITING`` alerts. Only reading the ledger takes room for all that is pending, for that moment.
    """

    def __init__(
        self,
        ledger: AlertLedger,
        command: Callable[[], tuple[str, ...]],
        timeout: float,
        execute: Execute = execute_command,
    ) -> None:
        self._ledger = ledger
        self._command = command
        self.timeout = timeout
        self._execute = execute
        self._running = trio.CapacityLimiter(_MAX_RUNNING)
        self._lanes: dict[_Key, _Lane] = {}
        self._nursery: trio.Nursery | None = None
        # By the alert's id.
        self._unrecorded: dict[int, list[_Attempt]] = {}
        # Whether a lane has left alerts in the ledger, because it could not be read.
        self._left_some = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Delivers what an earlier daemon left, and then what is submitted, until cancelled.

        It has started once it has read the ledger, and what that raises ends it. Later on, a ledger that fails (with
        OutsideError) ends nothing. What else it or ``command`` raises does: the alert is still pending, for the
        daemon's next life.
        """
        async with trio.open_nursery() as nursery:
            for key, pending in (await self._pending()).items():
                self._lanes.setdefault(key, _Lane()).prepend(pending)
            for key, lane in self._lanes.items():
                nursery.start_soon(self._serve, key, lane)
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                # What is submitted in a shutdown waits for the next life.
                self._nursery = None

    def submit(self, alert: Alert) -> None:
        """Has ``alert`` delivered, which the ledger has already: returns at once, and does not lose it.

        For one component, alerts are submitted in the order in which they were committed. One that is on its way
        already is left to it.
        """
        lane = self._lanes.get(_key(alert))
        if lane is None:
            lane = self._lanes[_key(alert)] = _Lane()
            # Before run() has read the ledger, alerts only wait: earlier ones of the same component may be in it.
            if self._nursery:
                self._nursery.start_soon(self._serve, _key(alert), lane)
        lane.append(alert)

    def kept(self, number: int, alert: Alert) -> None:
        """The alert that was submitted as ``number`` is in the ledger now, as ``alert``."""
        attempts = self._unrecorded.pop(number, [])
        if attempts:
            self._unrecorded[alert.id] = attempts
        lane = self._lanes.get(_key(alert))
        is_under_way = lane is not None and lane.rename(number, alert)
        if not is_under_way and not attempts:
            self.submit(alert)

    async def catch_up(self) -> None:
        """Records how attempts went while that could not be recorded. Raises OutsideError; then the rest stays."""
        for number in [each for each in self._unrecorded if each > NOT_KEPT]:
            while attempts := self._unrecorded.get(number):
                execution, delivery, at = attempts[0]
                await self._ledger.record_attempt(number, execution, delivery, at)
                del attempts[0]
            self._unrecorded.pop(number, None)
        if self._left_some:
            pending = await self._pending()
            self._left_some = False
            for alert in [each for lane in pending.values() for each in lane]:
                self.submit(alert)

    async def _serve(self, key: _Key, lane: _Lane) -> None:
        """Delivers one component's alerts one after the other, and ends when there are no more."""
        while True:
            while lane.waiting:
                await self._deliver(lane)
                lane.waiting.popleft()
            if not lane.behind:
                # No checkpoint between the look and this: a submit finds either this lane alive, or none.
                del self._lanes[key]
                return
            lane.behind = False
            try:
                lane.prepend((await self._pending()).get(key, []))
            except OutsideError:
                self._left_some = True

    async def _pending(self) -> dict[_Key, list[Alert]]:
        """What the ledger has still to be sent, per component, oldest first."""
        found: dict[_Key, list[Alert]] = {}
        for alert in await self._ledger.pending_alerts():
            attempts = self._unrecorded.get(alert.id)
            # One that was sent is pending there only because that could not be written.
            if not attempts or attempts[-1].delivery is Delivery.PENDING:
                found.setdefault(_key(alert), []).append(alert)
        return found

    async def _deliver(self, lane: _Lane) -> None:
        """Tries until the lane's first alert is sent or has failed, or nobody wants to hear of it any more.

        Every attempt is recorded, and then the next one waited for. The ledger may give it its id in between.
        """
        attempts, delivery = lane.waiting[0].attempts, Delivery.PENDING
        while delivery is Delivery.PENDING:
            if attempts and await self._is_hushed(lane.waiting[0]):
                return
            alert = lane.waiting[0]
            # Until it is recorded: what a kill leaves open, and has sent twice, is bounded as well.
            async with self._running:
                argv = self._command()
                execution = await self._execute(argv, alert, self.timeout) if argv else _NOT_CONFIGURED
                attempts += 1
                delivery = _delivery(execution, attempts)
                # It has been sent, and to forget that in a shutdown would send it twice.
                with trio.CancelScope(shield=True):
                    await self._record(lane.waiting[0], _Attempt(execution, delivery, datetime.now(UTC)))
            if not execution.succeeded:
                log.warning(
                    "alert not delivered", alert=alert.id, attempt=attempts, delivery=delivery, why=execution.words
                )
            if delivery is Delivery.PENDING:
                await trio.sleep(_BACKOFF_S[attempts - 1])

    async def _is_hushed(self, alert: Alert) -> bool:
        """Sends when the ledger cannot be asked: rather once too often."""
        if not alert.is_kept:
            return False
        try:
            return await self._ledger.suppress_if_hushed(alert, datetime.now(UTC))
        except OutsideError:
            return False

    async def _record(self, alert: Alert, attempt: _Attempt) -> None:
        """Records how an attempt went, or remembers it."""
        if alert.id == NOT_KEPT:
            return
        if alert.is_kept and alert.id not in self._unrecorded:
            try:
                await self._ledger.record_attempt(alert.id, *attempt)
                return
            except OutsideError as error:
                log.warning("an alert's delivery could not be recorded; trying again", alert=alert.id, error=str(error))
        self._unrecorded.setdefault(alert.id, []).append(attempt)
        while len(self._unrecorded) > _MAX_UNRECORDED:
            del self._unrecorded[next(iter(self._unrecorded))]


class _Lane:
    """One component's alerts: ``waiting`` are the oldest ones, the first of them being delivered.

    ``behind``: the ledger has more, after those.
    """

    def __init__(self) -> None:
        self.waiting: deque[Alert] = deque()
        self.behind = False

    def append(self, alert: Alert) -> None:
        if alert.id != NOT_KEPT and any(each.id == alert.id for each in self.waiting):
            return
        # What the ledger does not have waits here, however much it is: its sender holds no more than so many.
        if alert.is_kept and (self.behind or len(self.waiting) >= _MAX_WAITING):
            self.behind = True
        else:
            self.waiting.append(alert)

    def rename(self, number: int, alert: Alert) -> bool:
        """Whether what waits here as ``number`` has been replaced by ``alert``."""
        found = any(each.id == number for each in self.waiting)
        others = (each for each in self.waiting if each.id != alert.id)
        if found:
            self.waiting = deque(alert if each.id == number else each for each in others)
        return found

    def prepend(self, pending: Iterable[Alert]) -> None:
        """Takes what was read from the ledger, none of which is being delivered.

        What was submitted while it was read comes after it, or is part of it.
        """
        submitted, self.waiting = self.waiting, deque()
        behind, self.behind = self.behind, False
        for alert in (*pending, *submitted):
            self.append(alert)
        self.behind = self.behind or behind


def _delivery(execution: Execution, attempts: int) -> Delivery:
    # 1. It was told.
    if execution.succeeded:
        return Delivery.SENT
    # 2. There is nobody to tell it to, and another attempt would change nothing.
    if execution is _NOT_CONFIGURED:
        return Delivery.FAILED
    # 3. It may work later; but not for ever.
    return Delivery.PENDING if attempts < _MAX_ATTEMPTS else Delivery.FAILED


def _key(alert: Alert) -> _Key:
    return alert.service, alert.component
