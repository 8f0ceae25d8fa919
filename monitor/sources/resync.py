"""The resync: lists everything now and then, and inspects what differs from what is known: what the streams missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NoReturn

import trio
from msgspec import UNSET

from monitor.model import Known, Missed, Observation, Observed, Sighting
from monitor.ports import OutsideError
from monitor.sources.events import Report
from monitor.sources.inspector import Inspector

# After a podman that did not answer; and after a poke, so that many together cost one list.
_SOON_S = 1.0
# podman answers several questions about containers side by side, as far as there are cores.
_LOOKS_AT_ONCE = 8


class Resync:
    """Lists every ``interval`` seconds; a second after a `poke` as well, and then ever less often.

    What a poke announces may take its time, as a removal does, and one look could come too early.
    """

    def __init__(
        self,
        inspector: Inspector,
        send: trio.MemorySendChannel[Observation],
        known: Callable[[], Mapping[str, Known]],
        report: Report,
        interval: float,
    ) -> None:
        self._inspector = inspector
        self._send = send
        self._known = known
        self._report = report
        self._interval = interval
        self._poked = trio.Event()

    def poke(self) -> None:
        """Something may have been missed, or may follow that could be: podman's event stream can lose any event."""
        self._poked.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Started when everything was listed once, or podman did not answer."""
        started = False
        pause = self._interval
        while True:
            try:
                await self._once()
                self._report(True, f"lists everything every {self._interval:g} s")
            except OutsideError as error:
                self._report(False, str(error))
                pause = _SOON_S
            if not started:
                task_status.started()
                started = True
            with trio.move_on_after(min(pause, self._interval)) as quiet:
                await self._poked.wait()
            if quiet.cancelled_caught:
                pause = min(2 * pause, self._interval)
            else:
                # A poke from here on asks for a list of its own: this one may come too early for it.
                self._poked = trio.Event()
                pause = _SOON_S
                await trio.sleep(min(_SOON_S, self._interval))

    async def _once(self) -> None:
        order, listed = await self._inspector.list()
        known = self._known()
        present = {each.container for each in listed}
        for container, each in list(known.items()):
            if container not in present and each.state is not Observed.REMOVED:
                await self._send.send(Missed(order, container, datetime.now(UTC)))
                self._poked.set()  # the second look comes soon
        await self._look(
            [each.container for each in listed if each.service and _differs(known.get(each.container), each)]
        )

    async def _look(self, containers: Iterable[str]) -> None:
        """Looks at several at once: of a node that nobody knows yet, a grace must not end before all were looked at.

        The first failure ends it. Raises OutsideError.
        """
        failures: list[OutsideError] = []
        limit = trio.CapacityLimiter(_LOOKS_AT_ONCE)

        async def look(container: str) -> None:
            async with limit:
                if failures:
                    return
                try:
                    await self._inspector.look(container)
                except OutsideError as error:
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            for each in containers:
                nursery.start_soon(look, each)
        if failures:
            raise failures[0]


def _differs(known: Known | None, seen: Sighting) -> bool:
    if known is None or known.name != seen.name:
        return True
    # An mcpd before this one has not asked for its health check.
    if known.own_probe is UNSET and seen.state is Observed.RUNNING:
        return True
    running = (Observed.HEALTHY, Observed.UNHEALTHY)
    state = Observed.RUNNING if known.state in running else known.state
    return state is not seen.state or _second(known.started_at) != _second(seen.started_at)


def _second(when: datetime | None) -> int:
    return int(when.timestamp()) if when else 0
