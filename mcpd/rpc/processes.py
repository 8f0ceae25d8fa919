"""The RPC that lists processes: those of components, and of what Run has made beside them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from mcpd.errors import McpdError, NotFoundError
from mcpd.model import Caller, Container, RecordedService, Target
from mcpd.registry.store import Registry
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from mcpd.runtime.podman import Podman
from mcpd.runtime.processes import Process, processes_of
from monitor.model import Observed
from protos.mcp import v1 as wire

# Each costs podman a process that enters the container's namespaces.
_AT_ONCE = 4
# What is not listed by then is said to be missing: mcpctl waits for ten seconds.
_DEADLINE_S = 7.0
# Of one container, and of all in one answer, which has to stay below what a client accepts (4 MiB).
MAX_OF_ONE = 500
MAX_OF_ALL = 3000


class Place(msgspec.Struct, frozen=True):
    """A container to look into, or none: then ``message`` says why."""

    service: str
    component: str
    container: str
    run: str = ""
    message: str = ""


class ProcessMethods:
    def __init__(self, node: str, podman: Podman, registry: Registry) -> None:
        self._node = node
        self._podman = podman
        self._registry = registry

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListProcesses": self.list_processes}

    async def list_processes(self, request: wire.ListProcessesRequest, caller: Caller) -> wire.ListProcessesResponse:
        services = await self._services(request.service, request.component)
        containers = await self._podman.containers(service=request.service)
        made = await self._podman.runs(request.service)
        places = [
            place
            for service in services
            for place in places_of(service, containers, made)
            if request.component in ("", place.component)
        ]
        found = await self._look(places)
        left = MAX_OF_ALL
        components = []
        for place, seen in zip(places, found, strict=True):
            info = listed(place, seen, left)
            left -= len(info.processes)
            components.append(info)
        return wire.ListProcessesResponse(node=self._node, components=components)

    async def _services(self, name: str, component: str) -> Sequence[RecordedService]:
        """Raises NotFoundError, InvalidRequestError."""
        known = await self._registry.services()
        if not name and not component:
            return known
        target = convert.target(name, component)
        for each in known:
            if each.name == name and (not component or each.component(component)):
                return [each]
        raise NotFoundError(f"{target} is not known on {self._node}")

    async def _look(self, places: Sequence[Place]) -> list[list[Process] | str]:
        """The processes in each place, or why they are not known."""
        found: list[list[Process] | str] = [
            each.message or f"podman did not get to it within {_DEADLINE_S:.0f} s" for each in places
        ]
        limit = trio.CapacityLimiter(_AT_ONCE)

        async def look(index: int, container: str) -> None:
            async with limit:
                try:
                    found[index] = await processes_of(self._podman, container)
                except McpdError as error:
                    found[index] = str(error)

        with trio.move_on_after(_DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for index, each in enumerate(places):
                    if not each.message:
                        nursery.start_soon(look, index, each.container)
        return found


def places_of(service: RecordedService, containers: Sequence[Container], made: Sequence[Container]) -> list[Place]:
    """Where to look for a service's processes: each component, and behind it what Run has ``made`` of it.

    A job has processes while a run of it goes on, and nothing is to be said of it at other times.
    """
    of_components = service.found_in(containers)
    places = []
    for each in service.components:
        name = each.spec.name
        container = of_components.get(name)
        if container is None:
            places.append(Place(service.name, name, each.container, message="it has no container"))
        elif not each.spec.schedule or container.state.has_process:
            places.append(_place(service.name, name, container))
        of_it = [one for one in made if one.run_of == Target(service.name, name)]
        places += [_place(service.name, name, one, one.run) for one in of_it]
    return places


def _place(service: str, component: str, container: Container, run: str = "") -> Place:
    message = ""
    if container.state is Observed.PAUSED:
        message = "it is paused, and podman lists no processes of what is"
    elif not container.state.has_process:
        status = "" if container.exit_code is None else f" ({container.exit_code})"
        message = f"it does not run: {container.state}{status if container.state is Observed.EXITED else ''}"
    return Place(service, component, container.name, run, message)


def listed(place: Place, seen: Sequence[Process] | str, left: int) -> wire.ComponentProcesses:
    """What is told of a place, ``left`` processes at most."""
    info = wire.ComponentProcesses(place.service, place.component, place.container, place.run)
    if isinstance(seen, str):
        info.message = seen
        return info
    most = min(left, MAX_OF_ONE)
    info.processes = [_info(each) for each in seen[:most]]
    if not seen:
        info.message = "it has just ended"
    elif len(seen) > most:
        info.message = f"{most} of its {len(seen)} processes are listed"
    return info


def _info(process: Process) -> wire.ProcessInfo:
    return wire.ProcessInfo(
        pid=process.pid,
        user=process.user,
        cpu_percent=process.cpu_percent,
        resident_bytes=process.resident,
        elapsed=process.elapsed,
        command=process.command,
        host_pid=process.host_pid,
    )
