"""The monitor's view of the daemon: what should run, what operations are at work on, and how to heal what died."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import BusyError, McpdError
from mcpd.model import OURSELVES, Result, Target
from mcpd.status.components import wanted_of
from monitor import ports
from monitor.model import Sighting
from protos.parts import Health
from protos.spec import Component

log = structlog.get_logger()

# A heal that failed may have stopped the container all the same.
_TOUCHED = (Result.STARTED, Result.RESTARTED, Result.FAILED)
_NO_PROBE = Health(disable=True)
# Operations that only start a container: what comes of it is judged as ever.
_UNNOTICED = ("heal", "job")


class NodeIntent:
    """Satisfies `monitor.ports.Intent`."""

    def __init__(self, node: Node, operations: Operations, started: trio.MemoryReceiveChannel[Sighting]) -> None:
        self._node = node
        self._operations = operations
        self._started = started
        self._changes = 0
        # Heals that restart a running container.
        self._restarts: set[Operation] = set()
        self.is_booting = False

    async def targets(self) -> Sequence[ports.Target]:
        return [
            ports.Target(wanted_of(each, self._node.heal), each.container, _probe(each.spec))
            for service in await self._node.registry.services()
            for each in service.components
        ]

    def is_busy(self, service: str) -> bool:
        """Whether an operation is at work on it. Until a boot has started everything, every service is busy.

        One that only looks, as a deploy does until it knows what to do, is not at work: most deploys change nothing.
        A heal that starts what died does not count, so that the monitor judges whether it helps. One that restarts a
        container does, since it ends one. The start of a job is like the former.
        """
        at_work = (
            each
            for each in self._operations.running
            if each.is_at_work and (each.kind not in _UNNOTICED or each in self._restarts)
        )
        return self.is_booting or any(each.target.service == service for each in at_work)

    async def changed(self) -> None:
        self._changes = await self._operations.change_after(self._changes)

    async def started(self) -> Sighting:
        return await self._started.receive()

    async def heal(self, service: str, component: str, *, ill: str = "") -> bool:
        """Heals a component as an operation, so that no other is at work on its service. Leaves a busy service be."""

        async def body(operation: Operation) -> None:
            if ill:
                self._restarts.add(operation)
            await Lifecycle(self._node, operation).heal(ill)

        operation: Operation | None = None
        try:
            operation = await self._operations.start("heal", Target(service, component), OURSELVES, body, anyhow=True)
            outcomes = await operation.finished()
            return any(each.result in _TOUCHED for each in outcomes)
        except BusyError:
            return False
        except McpdError as error:
            log.warning("a component could not be healed", service=service, component=component, error=str(error))
            return False
        finally:
            if operation:
                self._restarts.discard(operation)


def _probe(component: Component) -> Health | None:
    """As it is declared; what runs to its end has none, not even its image's."""
    return _NO_PROBE if component.ends else component.health
