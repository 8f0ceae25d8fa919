"""What the proxy should have: a pure function of what is recorded, of the containers there are, and of what is set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from mcpd.model import LAST, Container, RecordedService
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from mcpd.runtime import route_ports
from monitor.model import Observed
from protos.parts import Route
from protos.spec import Component

# As much of a container's id as people compare.
_SHORT_ID = 12


class Routed(msgspec.Struct, frozen=True):
    """A component with routes, as it is at present, and the containers that answer for it.

    ``ready`` get what is new, those that are ``draining`` finish what they have begun. ``is_deployed``: it is, or is
    about to be; otherwise it is only declared.
    """

    service: str
    component: Component
    ready: tuple[Container, ...]
    draining: tuple[Container, ...]
    in_maintenance: bool = False
    is_deployed: bool = True

    def backend(self, route: Route) -> str:
        return f"{self.service}.{self.component.name}.{route.port_name}"


def in_force(
    services: Iterable[RecordedService], coming: Mapping[str, Collection[Component]]
) -> dict[str, tuple[Component, ...]]:
    """The components with routes, by service: as they were deployed, or as they are ``coming``.

    What nobody declares any more goes on answering, as it goes on running.
    """
    found: dict[str, dict[str, Component]] = {}
    for service in services:
        found[service.name] = {each.spec.name: each.deployed or each.spec for each in service.components}
    for name, components in coming.items():
        found.setdefault(name, {}).update({each.name: each for each in components})
    routed = {name: tuple(each for each in of.values() if each.routes) for name, of in found.items()}
    return {name: components for name, components in routed.items() if components}


def routed(
    service: str,
    component: Component,
    containers: Iterable[Container],
    is_admitted: Callable[[Container], bool],
    withdrawn: Collection[str],
    *,
    in_maintenance: bool,
    is_at_work: bool = True,
    is_deployed: bool = True,
) -> Routed:
    """``containers``: the service's. ``withdrawn``: ids of those that are about to be stopped.

    What is being replaced, and has a successor that is admitted, is drained. While there is none, and an operation is
    at work, it answers; what a deploy could not remove does not come back when its successor is stopped.
    """
    ours = [each for each in containers if each.component == component.name and each.state is Observed.RUNNING]
    ready = [each for each in ours if each.is_settled and each.id not in withdrawn and is_admitted(each)]
    before = [each for each in ours if each.name.endswith(LAST) and each.id not in withdrawn and is_admitted(each)]
    if not ready and is_at_work:
        ready, before = before, []
    if in_maintenance:
        ready, before = [], [*ready, *before]
    leaving = [*before, *(each for each in ours if each.id in withdrawn)]
    return Routed(service, component, tuple(ready), tuple(leaving), in_maintenance, is_deployed)


def table(every: Sequence[Routed], listeners: Collection[Listener], certificates: Iterable[Certificate]) -> Table:
    """Of two routes that claim the same, which no deploy allows, the one that was deployed has it.

    A sync may declare one that another service has. Of two that are alike the first of the alphabet has it.
    """
    entries: dict[tuple[int, str, str], Entry] = {}
    backends: dict[str, Backend] = {}
    ports = {each.port for each in listeners}
    for each in sorted(every, key=lambda each: (not each.is_deployed, each.service, each.component.name)):
        for route in each.component.routes:
            name = each.backend(route)
            if route.listen in ports:
                entries.setdefault(
                    (route.listen, route.host, route.path), Entry(route.listen, route.host, route.path, name)
                )
            backends.setdefault(name, Backend(name, route.mode, _servers(each, route)))
    used = {each.backend for each in entries.values()}
    return Table(
        listeners=tuple(sorted(listeners)),
        entries=tuple(sorted(entries.values())),
        backends=tuple(sorted(each for each in backends.values() if each.name in used)),
        certificates=tuple(sorted(certificates)),
    )


def _servers(of: Routed, route: Route) -> tuple[Server, ...]:
    both = [(each, False) for each in of.ready] + [(each, True) for each in of.draining]
    found = []
    for container, is_draining in both:
        # One that was made before it had this route has none.
        if port := route_ports.read(container.labels).get(route.port_name):
            found.append(Server(container.id[:_SHORT_ID], route_ports.LOOPBACK, port.outside, is_draining))
    return tuple(sorted(found))
