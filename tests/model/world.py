"""The world of a model: the node, its daemon, its operator's definitions, and what is to be expected of all that."""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import trio

from mcpd.errors import McpdError
from mcpd.model import LABEL_COMPONENT, LABEL_SERVICE, LAST, NEXT
from monitor.model import Desired
from protos.mcp import v1
from protos.spec import Component, Service
from protos.wire import service_spec, service_values

from .containers import Container
from .daemon import NODE, Alerts, Daemon, WallClock
from .definitions import DOWN, FLAKY, first
from .expected import Expected, Key
from .images import completes, works
from .podman import PretendedPodman
from .proxy import PretendedProxy

# Longer than any operation takes, a rollback that waits for a port included.
_ENDS_WITHIN_S = 90.0
# Containers with names that end so are of a deploy that is at it.
TEMPORARY = (NEXT, LAST)
# Longer than the daemon's router waits, with a proxy that hangs.
_LOOKS_AGAIN_S = 60.0


class World:
    """``folder``: the definitions as the operator has them now."""

    def __init__(self, nursery: trio.Nursery, folder: Path, wall: WallClock) -> None:
        self.nursery = nursery
        self.place = folder
        self.wall = wall
        self.podman = PretendedPodman(nursery)
        self.podman.secrets.create("key", b"first")
        self.proxy = PretendedProxy(self.podman)
        self.podman.ends = self.proxy.ends
        self.proxy.needs_probe, self.proxy.is_new = self._needs_probe, self._is_new
        self.alerts = Alerts()
        self.daemon = Daemon(self.podman, self.proxy, folder, self.alerts)
        self.folder: dict[str, Service] = {name: first(name) for name in ("web", "shop")}
        self.expected = Expected()
        # What is being deployed, and the containers that there were before.
        self.coming: Service | None = None
        self.known: set[str] = set()
        self.saved: tuple[Path, Expected] | None = None
        # What a daemon that was killed while it told somebody tells again.
        self.may_repeat = False

    # -- what podman truly has

    def managed(self) -> Iterator[tuple[Key, Container]]:
        """Containers that bear the labels of a component, or were adopted as one."""
        owners = {number: key for key, number in self.expected.adopted.items()}
        for each in self.podman.containers.values():
            if each.id in owners:
                yield owners[each.id], each
            elif LABEL_SERVICE in each.labels:
                yield (each.labels[LABEL_SERVICE], each.labels[LABEL_COMPONENT]), each

    def settled(self, key: Key) -> Container | None:
        """The container of a component; None when there is none."""
        found = [each for of, each in self.managed() if of == key and not each.name.endswith(TEMPORARY)]
        assert len(found) <= 1, f"{key} has {len(found)} containers: {[each.name for each in found]}"
        return found[0] if found else None

    def of_service(self, service: str) -> dict[str, Container]:
        return {each.id: each for key, each in self.managed() if key[0] == service}

    def _needs_probe(self, container: Container) -> bool:
        service, component = container.key
        if self.coming and self.coming.name == service and container.short not in self.known:
            new = self.coming.component(component)
            return new is not None and new.health is not None
        want = self.expected.wants.get((service, component))
        return want is not None and want.spec.health is not None

    def _is_new(self, container: Container) -> bool:
        return self.coming is not None and container.short not in self.known

    # -- calling

    async def plan(self, service: Service, component: str = "", *, force: bool = False) -> v1.PlanResponse:
        request = v1.PlanRequest(service=service_spec(service), component=component, force=force)
        found: v1.PlanResponse = await self.daemon.call("Plan", request)
        return found

    async def status(self) -> dict[Key, v1.ComponentInfo]:
        answer: v1.GetStatusResponse = await self.daemon.call("GetStatus", v1.GetStatusRequest())
        return {
            (service.name, each.component): each
            for service in answer.services
            for each in service.components
            if (service.name, each.component) in self.expected.wants
        }

    async def declared(self, service: str) -> v1.ServiceSpec | None:
        try:
            answer = await self.daemon.call("GetServiceSpec", v1.GetServiceSpecRequest(service=service))
        except McpdError:
            return None
        found: v1.ServiceSpec = answer.service
        return found

    def as_declared(self, service: str) -> Service:
        """What is expected to be declared, as a definition."""
        return _as_service(service, self.expected)

    async def come_back(self) -> None:
        """Starts the daemon again after it was killed, and waits until it has ended what was left."""
        await self.daemon.kill()
        await self.daemon.start(self.nursery)
        await trio.sleep(_ENDS_WITHIN_S)

    def deployed(self) -> None:
        """A deploy is over."""
        self.coming = None

    async def find_out(self, service: str, *candidates: Expected) -> None:
        """What an operation whose end nobody saw came to: exactly one of ``candidates``, whole."""
        known = await self.declared(service)
        found = [each for each in candidates if await self._is_so(service, known, each)]
        if len(found) > 1:
            # They differ, if at all, in what is in force of routes.
            await trio.sleep(_LOOKS_AGAIN_S)
            found = [each for each in found if await self._is_routed_so(service, each)] or found
        if found:
            self.expected = self.expected.taken_over(service, found[0])
            return
        raise AssertionError(f"{service} is neither as before nor as after: {known}")

    async def _is_so(self, service: str, known: v1.ServiceSpec | None, candidate: Expected) -> bool:
        keys = candidate.of(service)
        if known is None or not keys:
            return known is None and not keys
        answer: v1.GetStatusResponse = await self.daemon.call("GetStatus", v1.GetStatusRequest(service=service))
        told = {
            (each.name, it.component): it.desired.name
            for each in answer.services
            for it in each.components
            if it.desired is not v1.DesiredState.IGNORE or (each.name, it.component) in keys
        }
        wanted = {key: candidate.desired(key).name for key in keys}
        return told == wanted and by_name(known) == by_name(service_spec(_as_service(service, candidate)))

    async def _is_routed_so(self, service: str, candidate: Expected) -> bool:
        answer: v1.ListRoutesResponse = await self.daemon.call("ListRoutes", v1.ListRoutesRequest(service=service))
        told = {(each.component, each.host, each.path) for each in answer.routes}
        specs = [candidate.wants[key].in_force for key in candidate.of(service)]
        is_maintained = any(each.state == "maintenance" for each in answer.routes)
        return told == {(each.name, route.host, route.path) for each in specs for route in each.routes} and (
            is_maintained is (service in candidate.maintained) or not told
        )

    # -- why something may be refused

    def excuses(self, service: Service, selected: frozenset[str]) -> list[str]:
        """Why a deploy of ``service`` may rightly fail, as far as a model can tell."""
        found = ["podman is down"] if self.podman.is_down else []
        found += [f"the proxy is {self.proxy.trouble}"] if self.proxy.trouble else []
        if service.node != NODE:
            found.append("it is another node's")
        if self._would_wait_in_a_circle(service, selected):
            found.append("with what is deployed of the others, it would wait in a circle")
        # What nobody declares any more stays as it is, at its ports.
        making_room = [it for name in selected if (it := self.settled((service.name, name)))]
        for each in service.components:
            if each.name in selected:
                found += (f"{each.name}: {why}" for why in self._of_itself(service, each))
                found += self._taken(service, each.ports, making_room, selected)
        return found

    def _would_wait_in_a_circle(self, service: Service, selected: frozenset[str]) -> bool:
        after = self.expected.declared(service, selected)
        waits = {key[1]: {*after.wants[key].spec.depends_on} for key in after.of(service.name)}
        try:
            graphlib.TopologicalSorter(waits).prepare()
        except graphlib.CycleError:
            return True
        return False

    def _of_itself(self, service: Service, component: Component) -> Iterator[str]:
        """Why one component may fail, whatever the others do."""
        current = self.settled((service.name, component.name))
        runs = service.active and component.active and not component.is_job
        if component.image not in self.podman.images and not works(component.image):
            yield "no image"
        if runs and not (completes if component.oneshot else works)(component.image):
            yield "its image does not work"
        if runs and component.health == DOWN:
            yield "its probe finds fault"
        if runs and component.health and component.health.cmd == FLAKY.cmd and current and current.ill:
            yield "its probe finds fault with what runs"
        if any(not self.podman.secrets.named(each.name) for each in component.secret_list):
            yield "a secret is missing"
        if current and (current.state != "running" or "late" in current.image):
            yield current.state
        if current and current.id in self.expected.adopted.values():
            yield "adopted"
        holder = self.podman.named(service.container(component.name))
        if holder and holder.id not in self.of_service(service.name):
            yield "somebody has its container's name"

    def _taken(
        self, service: Service, ports: tuple[str, ...], making_room: list[Container], selected: frozenset[str]
    ) -> list[str]:
        numbers = {text.rpartition(":")[0].rpartition(":")[2] for text in ports}
        found = [f"port {each} is foreign" for each in self.podman.foreign if str(each) in numbers]
        found += [
            f"{each.name} has the port"
            for each in self.podman.containers.values()
            if each.runs and each not in making_room and numbers & {str(it.host) for it in each.ports}
        ]
        # Of its own service those that are left alone.
        gives_way = {(service.name, key[1]) for key in self.expected.of(service.name)}
        gives_way -= {(service.name, name) for name in service.component_names if name not in selected}
        for key, want in self.expected.wants.items():
            theirs = {text.rpartition(":")[0].rpartition(":")[2] for text in want.spec.ports}
            if key not in gives_way and self.expected.desired(key) is not Desired.IGNORE and numbers & theirs:
                found.append(f"{key} declares the port")
        return found


def by_name(service: v1.ServiceSpec) -> dict[str, Any]:
    """The components as plain values."""
    return {each["name"]: each for each in service_values(service)["components"]}


def _as_service(name: str, expected: Expected) -> Service:
    wants = [expected.wants[key] for key in expected.of(name)]
    specs = [each.spec for each in wants if not each.is_ignored]
    names = {each.name for each in specs}
    # That one depends on what was undeployed alone is no part of what is declared.
    whole = [msgspec.structs.replace(each, depends_on=tuple(sorted(names & {*each.depends_on}))) for each in specs]
    return Service(name, NODE, tuple(whole), expected.active[name])
