"""The RPCs that change what runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, TypeVar

from mcpd.changes.deploy import Deploy
from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.operations import Operation, Operations
from mcpd.model import Caller, Outcome, Target
from mcpd.registry.store import Registry
from mcpd.rpc import convert
from mcpd.rpc.gate import Method
from mcpd.runtime.podman import Podman
from protos.mcp import v1 as wire

R = TypeVar("R")


class ChangeMethods:
    def __init__(self, node: str, podman: Podman, registry: Registry, operations: Operations) -> None:
        self._node = node
        self._podman = podman
        self._registry = registry
        self._operations = operations

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "Deploy": self.deploy,
            "StartService": partial(self._lifecycle, "start", Lifecycle.start, wire.StartServiceResponse),
            "StopService": partial(self._lifecycle, "stop", Lifecycle.stop, wire.StopServiceResponse),
            "RestartService": partial(self._lifecycle, "restart", Lifecycle.restart, wire.RestartServiceResponse),
            "UndeployService": partial(self._lifecycle, "undeploy", Lifecycle.undeploy, wire.UndeployServiceResponse),
        }

    async def deploy(self, request: wire.DeployRequest, caller: Caller) -> AsyncGenerator[wire.DeployResponse, None]:
        service = convert.service(request.service, self._node)
        selected = convert.selected(service, request.component)
        force = request.force

        async def body(operation: Operation) -> None:
            await Deploy(self._podman, self._registry, self._node, operation).run(service, selected, force=force)

        target = Target(service.name, request.component)
        operation = await self._operations.start("deploy", target, caller, body, wait=request.wait)
        async for report in operation.follow():
            number = str(operation.id)
            if isinstance(report, Outcome):
                yield wire.DeployResponse(operation_id=number, outcome=convert.outcome(report))
            else:
                yield wire.DeployResponse(operation_id=number, progress=convert.progress(report))
        yield wire.DeployResponse(operation_id=str(operation.id), completed=wire.Completed())

    async def _lifecycle(
        self, kind: str, act: Callable[[Lifecycle], Any], response: Callable[..., R], request: Any, caller: Caller
    ) -> R:
        """Start, stop, restart and undeploy have requests and responses of one shape."""

        async def body(operation: Operation) -> None:
            await act(Lifecycle(self._podman, self._registry, self._node, operation))

        target = convert.target(request.service, request.component)
        operation = await self._operations.start(kind, target, caller, body, wait=request.wait)
        return response(outcomes=[convert.outcome(each) for each in await operation.finished()])
