"""Removes from the database what is past its retention, so that it does not grow without end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import NoReturn, Protocol

import structlog
import trio

from mcpd.errors import RegistryError

log = structlog.get_logger()

# Retention is counted in days; an hour more or less is no matter.
_INTERVAL_S = 3600.0


class Prunable(Protocol):
    async def prune(self, before: datetime) -> int:
        """Removes what is over and older; returns how many rows."""


async def run(ledgers: Collection[Prunable], retention: Callable[[], timedelta]) -> NoReturn:
    """Runs until cancelled; ``retention`` is asked each time."""
    while True:
        try:
            before = datetime.now(UTC) - retention()
            if removed := sum([await each.prune(before) for each in ledgers]):
                log.info("removed rows past their retention", rows=removed, days=retention().days)
        except RegistryError as error:
            log.error("old rows could not be removed", error=str(error))
        await trio.sleep(_INTERVAL_S)
