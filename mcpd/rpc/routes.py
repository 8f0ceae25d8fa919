"""The RPCs of routes: what there is, and maintenance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from mcpd.changes.maintenance import Maintenance
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.model import Caller, Container, Target
from mcpd.routing.claims import certificate_for
from mcpd.routing.desired import Routed
from mcpd.routing.router import State
from mcpd.routing.table import Entry
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from mcpd.runtime import route_ports
from protos.mcp import v1 as wire
from protos.parts import Mode, Route


class RouteMethods:
    """``proxy``: its kind; "" where there is none."""

    def __init__(self, node: Node, operations: Operations, proxy: str) -> None:
        self._node = node
        self._operations = operations
        self._proxy = proxy

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListRoutes": self.list_routes, "SetMaintenance": self.set_maintenance}

    async def list_routes(self, request: wire.ListRoutesRequest, caller: Caller) -> wire.ListRoutesResponse:
        if request.service:
            convert.target(request.service, "")
        state = self._node.router.state
        return wire.ListRoutesResponse(
            node=self._node.name,
            proxy=self._proxy,
            reason=state.problem,
            routes=[
                _info(state, each, route)
                for each in state.routed
                if request.service in ("", each.service)
                for route in each.component.routes
            ],
            warnings=[*state.certificate_problems, *_not_led(state)],
        )

    async def set_maintenance(self, request: wire.SetMaintenanceRequest, caller: Caller) -> wire.SetMaintenanceResponse:
        target = convert.target(request.service, "")

        async def body(operation: Operation) -> None:
            await Maintenance(self._node, operation).run(on=request.on)

        operation = await self._operations.start("maintenance", Target(target.service), caller, body, wait=request.wait)
        return wire.SetMaintenanceResponse(outcomes=[convert.outcome(each) for each in await operation.finished()])


def _info(state: State, routed: Routed, route: Route) -> wire.RouteInfo:
    both = [(each, False) for each in routed.ready] + [(each, True) for each in routed.draining]
    servers = [found for each, draining in both if (found := _server(each, route, draining=draining))]
    info = wire.RouteInfo(
        service=routed.service,
        component=routed.component.name,
        host=route.host,
        path="" if route.mode is Mode.TLS else route.path,
        listen=route.listen,
        mode=route.mode.value,
        state=_state(state, routed, route, servers),
        servers=servers,
    )
    certificate = None if route.mode is Mode.TLS else certificate_for(route.host, state.certificates)
    if certificate:
        info.certificate_ends_at = certificate.until.astimezone(UTC)
    return info


def _state(state: State, routed: Routed, route: Route, servers: Sequence[wire.RouteServer]) -> str:
    if not _is_led(state, routed, route):
        return "down"
    if routed.in_maintenance:
        return "maintenance"
    if any(not each.draining for each in servers):
        return "up"
    return "draining" if servers else "down"


def _is_led(state: State, routed: Routed, route: Route) -> bool:
    """Whether the proxy should lead it there: it listens on that port, and nobody else has the claim."""
    return Entry(route.listen, route.host, route.path, routed.backend(route)) in state.table.entries


def _not_led(state: State) -> list[str]:
    return [
        f"{each.service}/{each.component.name}: {route.host} on port {route.listen} leads nowhere: the proxy does not "
        "listen there, or another service has it"
        for each in state.routed
        for route in each.component.routes
        if not _is_led(state, each, route)
    ]


def _server(container: Container, route: Route, *, draining: bool) -> wire.RouteServer | None:
    """None for a container that was made before it had this route."""
    port = route_ports.read(container.labels).get(route.port_name)
    if port is None:
        return None
    return wire.RouteServer(
        container=container.name, address=f"{route_ports.LOOPBACK}:{port.outside}", draining=draining
    )
