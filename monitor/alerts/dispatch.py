"""Takes alerts from the ledger and has the operator's command run for each: at least once, in order per component.

An alert is committed to the ledger before it comes here, and its delivery after the command was run. A daemon that is
killed between the two runs the command again for the same id; whatever else happens, nothing is lost or sent twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import structlog
import trio

from monitor.alerts.execute import execute as execute_command
from monitor.alerts.model import Alert, Delivery, Execution
from monitor.ports import AlertLedger

log = structlog.get_logger()

# Before the second attempt, the third, and so on; after the last, the alert has failed. A mail server that blinks is
# back within seconds, one that restarts within two and a half minutes; what is down for longer needs its own alarm.
_BACKOFF_S = (1.0, 5.0, 30.0, 120.0)
_MAX_ATTEMPTS = len(_BACKOFF_S) + 1
# Commands at once. A node that falls over as a whole must not start a process per component; with commands that take
# a tenth of a second, a hundred components are told of in three seconds.
_MAX_RUNNING = 4
# Alerts per component that wait in memory; more are left in the ledger until these are delivered. Flap and cooldown
# keep a component far below this, unless every attempt fails for hours.
_MAX_WAITING = 32

_NOT_CONFIGURED = Execution(None, "no alert_command is configured, so that nobody was told")

_Key = tuple[str, str]
Execute = Callable[[tuple[str, ...], Alert, float], Awaitable[Execution]]


class Dispatcher:
    """Delivers alerts. ``command`` is asked at each attempt, since SIGHUP may change it; ``timeout`` is in seconds.

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
        self._timeout = timeout
        self._execute = execute
        self._running = trio.CapacityLimiter(_MAX_RUNNING)
        self._lanes: dict[_Key, _Lane] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Delivers what an earlier daemon left, and then what is submitted, until cancelled.

        It has started once it has read the ledger. What the ledger or ``command`` raises ends it: the alert is still
        pending, for the daemon's next life.
        """
        async with trio.open_nursery() as nursery:
            for key, pending in (await self._pending()).items():
                self._lanes.setdefault(key, _Lane()).prepend(pending)
            for key, lane in self._lanes.items():
                nursery.start_soon(self._serve, key, lane)
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

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

    async def _serve(self, key: _Key, lane: _Lane) -> None:
        """Delivers one component's alerts one after the other, and ends when there are no more."""
        while True:
            while lane.waiting:
                await self._deliver(lane.waiting[0])
                lane.waiting.popleft()
            if not lane.behind:
                # No checkpoint between the look and this: a submit finds either this lane alive, or none.
                del self._lanes[key]
                return
            lane.behind = False
            lane.prepend((await self._pending()).get(key, []))

    async def _pending(self) -> dict[_Key, list[Alert]]:
        """What the ledger has still to be sent, per component, oldest first."""
        found: dict[_Key, list[Alert]] = {}
        for alert in await self._ledger.pending_alerts():
            found.setdefault(_key(alert), []).append(alert)
        return found

    async def _deliver(self, alert: Alert) -> None:
        """Tries until the alert is sent or has failed, or nobody wants to hear of it any more.

        Every attempt is recorded, and then the next one waited for.
        """
        attempts, delivery = alert.attempts, Delivery.PENDING
        while delivery is Delivery.PENDING:
            if attempts and await self._ledger.suppress_if_hushed(alert, datetime.now(UTC)):
                return
            async with self._running:
                argv = self._command()
                execution = await self._execute(argv, alert, self._timeout) if argv else _NOT_CONFIGURED
            attempts += 1
            delivery = _delivery(execution, attempts)
            # It has been sent, and to forget that in a shutdown would send it twice.
            with trio.CancelScope(shield=True):
                await self._ledger.record_attempt(alert.id, execution, delivery, datetime.now(UTC))
            if not execution.succeeded:
                log.warning(
                    "alert not delivered", alert=alert.id, attempt=attempts, delivery=delivery, why=execution.words
                )
            if delivery is Delivery.PENDING:
                await trio.sleep(_BACKOFF_S[attempts - 1])


class _Lane:
    """One component's alerts: ``waiting`` are the oldest ones, the first of them being delivered.

    ``behind``: the ledger has more, after those.
    """

    def __init__(self) -> None:
        self.waiting: deque[Alert] = deque()
        self.behind = False

    def append(self, alert: Alert) -> None:
        if any(each.id == alert.id for each in self.waiting):
            return
        if self.behind or len(self.waiting) >= _MAX_WAITING:
            self.behind = True
        else:
            self.waiting.append(alert)

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
