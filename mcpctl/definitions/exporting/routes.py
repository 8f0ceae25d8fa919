"""What an export loses of routes and updates: no format has a proxy that is told, or a second container meanwhile."""

from __future__ import annotations

from mcpctl.definitions.exporting.formats import Losses
from protos.parts import Mode, Route
from protos.spec import DEFAULT_DRAIN_TIMEOUT, Component


def tell(component: Component, lost: Losses) -> None:
    ports = {each.name: each for each in component.route_ports}
    for index, route in enumerate(component.routes):
        port = ports[route.port_name]
        said = f" (set {route.variable} to it)" if route.variable else ""
        words = f"publish its port {port.number}{said}, and have your proxy send {_what(route)} there"
        lost.add(f"routes[{index}]", words)
    if component.update is not None:
        lost.add("update", "the old container stops before the new one starts")
    if component.drain_timeout != DEFAULT_DRAIN_TIMEOUT:
        lost.add("drain_timeout", "nothing is drained: requests that have begun are cut off when the container ends")


def _what(route: Route) -> str:
    place = f"{route.host}:{route.listen}{'' if route.path == '/' else route.path}"
    return place if route.mode is Mode.HTTP else f"{place} ({route.mode})"
