"""`Node`: what every change works on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import structlog
import trio

from mcpd.changes.config_files import ConfigFiles
from mcpd.errors import RegistryError
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.runtime.podman import Podman
from monitor.model import Sighting
from protos.parts import Heal

log = structlog.get_logger()


class Node(NamedTuple):
    """This node: its name, its podman, what it remembers, and what it does about components that died.

    ``started`` takes what was seen of a container that a change has just started, for the monitor to know of it.
    ``router`` tells the proxy which containers answer.
    """

    name: str
    podman: Podman
    registry: Registry
    journal: Journal
    started: trio.MemorySendChannel[Sighting]
    configs: ConfigFiles
    router: Router
    heal: Heal = Heal.ALERT

    async def tell(self, service: str, component: str, kind: str, message: str, caller: str) -> None:
        """Keeps an event of what was done; it is so, whether or not that can be written down."""
        try:
            await self.registry.add_event(service, component, kind, message, caller, datetime.now(UTC))
        except RegistryError as error:
            target = f"{service}/{component}" if component else service
            log.error("an event could not be recorded", target=target, kind=kind, message=message, error=str(error))
