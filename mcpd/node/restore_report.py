"""After a restore: compares the restored registry with podman, and reports it once. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import structlog
import trio

from mcpd.changes.node import Node
from mcpd.errors import RegistryError, UnavailableError
from mcpd.model import Container, RecordedService
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.snapshots.take import default_folder, listed
from mcpd.status import components
from monitor.model import Desired

log = structlog.get_logger()

# While podman does not answer there is nothing to compare with.
_RETRY_S = 2.0


def tell_of_missing(database: Path) -> None:
    """Says in the log that a node which once had a registry is about to begin with an empty one."""
    if database.exists():
        return
    folder = default_folder(database)
    if snapshots := listed(folder):
        log.warning(
            "there is no registry, but there are snapshots of one: mcpd starts with an empty one; to restore "
            f"the newest, stop mcpd and run `mcpd restore {snapshots[-1]}`",
            database=str(database),
            snapshots=len(snapshots),
        )


async def tell_of_restore(node: Node, ledger: MonitorLedger) -> None:
    """Returns when an event tells of it, or at once when this registry was not restored."""
    try:
        source = await ledger.restored_from()
        while source:
            try:
                containers = await node.podman.containers()
            except UnavailableError:
                await trio.sleep(_RETRY_S)
                continue
            found = compared(await node.registry.services(), containers, datetime.now(UTC))
            log.warning("the registry was restored from a snapshot", source=source, found=found)
            await ledger.record_restore(f"from {source}: {found}", datetime.now(UTC))
            return
    except RegistryError as error:
        log.error("the restore could not be reported", error=str(error))


def compared(services: Collection[RecordedService], containers: Collection[Container], now: datetime) -> str:
    """What agrees and what does not, in words, and what mends it."""
    views = [each for service in services for each in components.live(service, containers, now)]
    declared = [each for each in views if each.desired is not Desired.IGNORE]
    wrong = [f"{each.service}/{each.component}: {each.drift}" for each in declared if each.drift]
    strangers = [
        f"{each.service}/{each.component} ({each.container.name})"
        for each in components.undeclared(services, containers, now)
        if each.service and each.container
    ]
    words = [f"{len(declared) - len(wrong)} of {len(declared)} components are as declared"]
    if wrong:
        words.append("not as declared: " + "; ".join(wrong))
    if strangers:
        back = ", ".join(f"`mcpctl adopt {name}`" for name in sorted({each.partition("/")[0] for each in strangers}))
        words.append(f"created by mcp, but not in this registry: {', '.join(strangers)}; {back} adopts them again")
    return "; ".join(words)
