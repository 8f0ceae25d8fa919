"""Now and then, and after every operation, records in the registry what podman has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
import trio

from mcpd.changes.operations import Operations
from mcpd.errors import McpdError
from mcpd.registry.store import Registry
from mcpd.runtime.podman import Podman
from mcpd.view import live

log = structlog.get_logger()


async def run(podman: Podman, registry: Registry, operations: Operations, interval: timedelta) -> None:
    """Runs until cancelled. A podman that does not answer is the link's news; here it is only waited for."""
    while True:
        try:
            await record(podman, registry)
        except McpdError as error:
            log.debug("resync skipped", error=str(error))
        with trio.move_on_after(interval.total_seconds()):
            await operations.next_end()


async def record(podman: Podman, registry: Registry) -> None:
    """Lists everything once and records it."""
    services = await registry.services()
    containers = await podman.containers()
    now = datetime.now(UTC)
    sightings = [
        (each.service, each.component, each.observed, each.container.id if each.container else "")
        for service in services
        for each in live(service, containers, now)
    ]
    await registry.observe(sightings, now)
