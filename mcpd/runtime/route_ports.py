"""The ports by which the proxy reaches a container: given when it is made, and kept in a label of it. Pure functions.

Each is a port of the node's loopback address, so that nobody reaches a component past the proxy. They are out of the
range from which the kernel takes ports for connections: whoever starts again finds its port free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mcpd.runtime.setting import Context, Part
from protos.spec import Component

LABEL_ROUTE_PORTS = "mcp.route-ports"
# Where a container's ports are on the node.
LOOPBACK = "127.0.0.1"
# More containers than run on a node.
_MOST_KNOWN = 2000


class RoutePortOnNode(NamedTuple):
    """A port of the node, and the one in the container that it leads to."""

    outside: int
    inside: int


def send_routes(component: Component, context: Context) -> Part:
    given = context.among.route_ports
    # On the node's own network it listens where the proxy asks, and has nothing to publish.
    is_host = component.network_mode == "host"
    ports = {
        each: RoutePortOnNode(given[each.name], given[each.name] if is_host else each.number)
        for each in component.route_ports
        if each.name in given
    }
    if not ports:
        return {}
    label = ",".join(f"{each.name}={port.outside}/{port.inside}" for each, port in ports.items())
    part: dict[str, Any] = {
        "labels": {LABEL_ROUTE_PORTS: label},
        "env": {name: str(port.inside) for each, port in ports.items() for name in each.variables},
    }
    if not is_host:
        part["portmappings"] = [
            {"host_ip": LOOPBACK, "host_port": port.outside, "container_port": port.inside, "protocol": "tcp"}
            for port in ports.values()
        ]
    return part


def read(labels: Mapping[str, str]) -> dict[str, RoutePortOnNode]:
    """A container's ports, by the names of `Component.route_ports`; what makes no sense is left out."""
    found = {}
    for name, _, ports in (each.partition("=") for each in labels.get(LABEL_ROUTE_PORTS, "").split(",")):
        outside, _, inside = ports.partition("/")
        if outside.isdecimal() and inside.isdecimal():
            found[name] = RoutePortOnNode(int(outside), int(inside))
    return found


class Memory:
    """Ports of containers, from those inside to the node's; ``known`` by their ids, for which they never change."""

    def __init__(self) -> None:
        self.known: dict[str, Mapping[int, int]] = {}

    def learn(self, container: str, labels: Mapping[str, str]) -> Mapping[int, int]:
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known[container] = {each.inside: each.outside for each in read(labels).values()}
        return self.known[container]
