"""What monitor asks of the daemon: what should run, what is being done about it, and to start what died."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import BusyError, McpdError
from mcpd.model import OURSELVES, Target
from mcpd.view import wanted_of
from monitor import ports
from monitor.model import Sighting

log = structlog.get_logger()


class NodeIntent:
    """Satisfies `monitor.ports.Intent`."""

    def __init__(self, node: Node, operations: Operations, started: trio.MemoryReceiveChannel[Sighting]) -> None:
        self._node = node
        self._operations = operations
        self._started = started
        self._changes = 0
        self.is_booting = False

    async def targets(self) -> Sequence[ports.Target]:
        return [
            ports.Target(wanted_of(each, self._node.heal), each.container, each.spec.health)
            for service in await self._node.registry.services()
            for each in service.components
        ]

    def is_busy(self, service: str) -> bool:
        """Not while we heal it: whether that helps is to be judged. All are busy until a boot has started them."""
        at_work = (each for each in self._operations.running if each.kind != "heal")
        return self.is_booting or any(each.target.service == service for each in at_work)

    async def changed(self) -> None:
        self._changes = await self._operations.change_after(self._changes)

    async def started(self) -> Sighting:
        return await self._started.receive()

    async def heal(self, service: str, component: str) -> None:
        """Starts it as an operation, so that it meets no other; a service that is busy is left to who is at work."""

        async def body(operation: Operation) -> None:
            await Lifecycle(self._node, operation).heal()

        try:
            operation = await self._operations.start("heal", Target(service, component), OURSELVES, body, anyhow=True)
            await operation.finished()
        except BusyError:
            return
        except McpdError as error:
            log.warning("a component could not be healed", service=service, component=component, error=str(error))
