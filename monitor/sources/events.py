"""The events watcher: podman's stream says where to look. It resumes after any break, and is never trusted alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

import trio

from monitor.ports import OutsideError, Runtime
from monitor.sources.inspector import Inspector

# A stream that breaks again and again is resumed ever more slowly.
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 10.0

Report = Callable[[bool, str], None]


class EventsWatcher:
    """Looks at every container that something happens to. ``gap`` is called when events may have been missed."""

    def __init__(self, runtime: Runtime, inspector: Inspector, report: Report, gap: Callable[[], None]) -> None:
        self._runtime = runtime
        self._inspector = inspector
        self._report = report
        self._gap = gap
        # One entry a container: however many events come, what is looked at is only its present state.
        self._to_look_at: dict[str, None] = {}
        self._something = trio.Event()

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            await self._follow()
        raise AssertionError("both tasks run until cancelled")

    async def _follow(self) -> NoReturn:
        since: datetime | None = None
        backoff = _BACKOFF_FIRST_S
        while True:
            try:
                async with contextlib.aclosing(self._runtime.events(since)) as events:
                    self._report(True, "follows podman's events")
                    async for happening in events:
                        since, backoff = happening.at, _BACKOFF_FIRST_S
                        self._to_look_at[happening.container] = None
                        self._something.set()
                self._report(False, "podman ended the event stream; resuming it")
            except OutsideError as error:
                self._report(False, str(error))
            self._gap()
            await trio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_MAX_S)

    async def _look(self) -> NoReturn:
        while True:
            await self._something.wait()
            self._something = trio.Event()
            while self._to_look_at:
                container = next(iter(self._to_look_at))
                del self._to_look_at[container]
                try:
                    await self._inspector.look(container)
                except OutsideError:
                    self._gap()
