"""Chance and time as seeds want them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any

import trio

from monitor import watch
from monitor.alerts import dispatch
from monitor.sources import health, inspector, resync

START = datetime(2024, 1, 1, tzinfo=UTC)


class Draws:
    """Random numbers by purpose: each purpose has its own sequence, so that one does not shift another's."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()

    def of(self, purpose: str) -> random.Random:
        self._counts[purpose] += 1
        return random.Random(f"{self._seed}/{purpose}/{self._counts[purpose]}")


class WallClock:
    """The wall clock: as true as the monotonic one, unless it is stepped."""

    def __init__(self, offset: Callable[[float], float] = lambda _: 0.0) -> None:
        self._offset = offset

    @contextmanager
    def worn(self) -> Any:
        """While it lasts, the monitor's modules tell the time by this clock."""
        clock = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
                return wall(trio.current_time() + clock._offset(trio.current_time()))

        modules: list[ModuleType] = [watch, dispatch, inspector, health, resync]
        for each in modules:
            each.datetime = Clock  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for each in modules:
                each.datetime = datetime  # type: ignore[attr-defined]


def wall(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
