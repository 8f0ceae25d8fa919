"""The ports of the node by which the proxy reaches containers: which ones are free, and whose turn it is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

from mcpd.errors import RefusedError
from mcpd.runtime import route_ports, sockets
from mcpd.runtime.podman import Podman
from protos.spec import Component, RoutePort


class PortNumbers:
    """Gives them round and round: what somebody remembers of a container that is gone is no other one's soon."""

    def __init__(self, podman: Podman, ports: range) -> None:
        self._podman = podman
        self._ports = ports
        self._turn = itertools.count(random.randrange(len(ports)))  # noqa: S311 # not a secret

    async def assign(self, component: Component) -> Mapping[str, int]:
        """A free port of the node for each port that routes of ``component`` go to. Raises McpdError."""
        wanted = component.route_ports
        if not wanted:
            return {}
        if component.network_mode == "host":
            # It listens on the node itself: where it says, if it does.
            known = {each.name: each.number for each in wanted if each.name == str(each.number)}
            wanted = tuple(each for each in wanted if each.name not in known)
            return known | await self._assign(wanted)
        return await self._assign(wanted)

    async def _assign(self, wanted: Sequence[RoutePort]) -> dict[str, int]:
        taken = {
            port.outside for each in await self._podman.containers() for port in route_ports.read(each.labels).values()
        }
        found: dict[str, int] = {}
        for _ in range(len(self._ports)):
            if len(found) == len(wanted):
                break
            number = self._ports[next(self._turn) % len(self._ports)]
            if number not in taken and not await sockets.held([(number, "tcp")]):
                found[wanted[len(found)].name] = number
        if len(found) < len(wanted):
            first, last = self._ports[0], self._ports[-1]
            raise RefusedError(f"every port from {first} to {last} is taken; give [proxy] more `ports`")
        return found
