"""At start: puts away what a daemon that was killed in the middle of a deploy left behind, by looking at podman."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from mcpd.errors import McpdError
from mcpd.model import LAST, NEXT, Container
from mcpd.registry.store import Registry
from mcpd.runtime.podman import Podman
from monitor.model import Desired

log = structlog.get_logger()


async def sweep(podman: Podman, registry: Registry) -> None:
    """Afterwards every component has one container, old or new, and none has a temporary name.

    Waits for nothing: when podman does not answer, the leftovers stay until the next start or deploy.
    """
    await registry.interrupt_operations(datetime.now(UTC))
    try:
        containers = {each.name: each for each in await podman.containers()}
        leftovers = [each for each in containers.values() if each.service and not each.is_settled]
        for each in leftovers:
            await _put_away(podman, registry, each, containers)
    except McpdError as error:
        log.warning("leftovers of an interrupted deploy could not be looked for", error=str(error))


async def _put_away(podman: Podman, registry: Registry, left: Container, all_of_them: dict[str, Container]) -> None:
    name = left.name.removesuffix(NEXT).removesuffix(LAST)
    # 1. A replacement that never took over.
    if left.name.endswith(NEXT):
        await podman.remove(left.id)
        log.info("removed an unfinished replacement", container=left.name)
        return
    successor = all_of_them.get(name)
    recorded = await registry.service(left.service)
    component = recorded.component(left.component) if recorded else None
    # 2. A predecessor whose successor is what the registry recorded: the deploy was complete but for this.
    if successor and component and successor.spec_hash == component.spec_hash:
        await podman.remove(left.id)
        log.info("removed a predecessor", container=left.name)
        return
    # 3. A predecessor whose successor was never recorded as deployed: the deploy is undone.
    if successor:
        await podman.remove(successor.id)
    await podman.rename(left.id, name)
    if component and component.desired is Desired.RUNNING:
        await podman.start(left.id)
    log.info("put a predecessor back", container=name)
