"""Keeps the database from growing without end: what is past its retention goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

import structlog
import trio

from mcpd.errors import RegistryError
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger

log = structlog.get_logger()

# Retention is counted in days; an hour more or less is no matter.
_INTERVAL_S = 3600.0


async def run(ledger: MonitorLedger, journal: Journal, retention: timedelta) -> NoReturn:
    """Runs until cancelled."""
    while True:
        try:
            before = datetime.now(UTC) - retention
            if removed := await ledger.prune(before) + await journal.prune(before):
                log.info("removed what is past its retention", rows=removed, days=retention.days)
        except RegistryError as error:
            log.error("nothing was pruned", error=str(error))
        await trio.sleep(_INTERVAL_S)
