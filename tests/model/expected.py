"""What the operator of a model is entitled to expect: what is declared, and what it should come to on the node."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from mcpd.runtime import route_ports
from monitor.model import Desired
from protos.grammar import port
from protos.spec import Component, Service

from .containers import Container

Key = tuple[str, str]


class Want(msgspec.Struct, frozen=True):
    """A component as mcpd was told of it. ``is_ignored``: nobody declares it any more.

    ``deployed``: as it was deployed last; None: never.
    """

    spec: Component
    is_ignored: bool = False
    deployed: Component | None = None

    @property
    def in_force(self) -> Component:
        """What the proxy has to do with."""
        return self.deployed or self.spec


@dataclass
class Expected:
    """``active`` by service. ``adopted``: the ids of the containers that became components as they were.

    ``maintained``: the services that are in maintenance.
    """

    wants: dict[Key, Want] = field(default_factory=dict)
    active: dict[str, bool] = field(default_factory=dict)
    adopted: dict[Key, str] = field(default_factory=dict)
    maintained: set[str] = field(default_factory=set)

    def copy(self) -> Expected:
        return copy.deepcopy(self)

    def desired(self, key: Key) -> Desired:
        want = self.wants[key]
        if want.is_ignored:
            return Desired.IGNORE
        if not (self.active[key[0]] and want.spec.active):
            return Desired.STOPPED
        if want.spec.is_job:
            return Desired.SCHEDULED
        return Desired.COMPLETED if want.spec.oneshot else Desired.RUNNING

    def should_run(self, key: Key) -> bool:
        return self.desired(key) in (Desired.RUNNING, Desired.COMPLETED, Desired.SCHEDULED)

    def of(self, service: str) -> list[Key]:
        return [key for key in self.wants if key[0] == service]

    # -- what operations make of it

    def declared(self, service: Service, selected: Collection[str] | None = None) -> Expected:
        """After a deploy of the ``selected`` components, or a sync."""
        after = self.copy()
        after.active[service.name] = service.active
        for each in service.components:
            if selected is None or each.name in selected:
                before = after.wants.get((service.name, each.name))
                deployed = each if selected is not None else before.deployed if before else None
                after.wants[service.name, each.name] = Want(each, deployed=deployed)
        for key in after.of(service.name):
            if key[1] not in service.component_names:
                after.wants[key] = msgspec.structs.replace(after.wants[key], is_ignored=True)
        return after

    def undeclared(self, names: Collection[str]) -> Expected:
        """After a sync of exactly the services ``names``."""
        after = self.copy()
        for key, want in self.wants.items():
            if key[0] not in names:
                after.wants[key] = msgspec.structs.replace(want, is_ignored=True)
        return after

    def set_active(self, service: str, component: str, active: bool) -> Expected:
        after = self.copy()
        if component:
            want = self.wants[service, component]
            spec = msgspec.structs.replace(want.spec, active=active)
            after.wants[service, component] = msgspec.structs.replace(want, spec=spec)
        else:
            after.active[service] = active
        return after

    def without(self, service: str, components: Collection[str]) -> Expected:
        after = self.copy()
        for name in components:
            after.wants.pop((service, name), None)
            after.adopted.pop((service, name), None)
        if not after.of(service):
            after.active.pop(service, None)
            after.maintained.discard(service)
        return after

    def in_maintenance(self, service: str, *, on: bool) -> Expected:
        after = self.copy()
        if on:
            after.maintained.add(service)
        else:
            after.maintained.discard(service)
        return after

    def taken_over(self, service: str, other: Expected) -> Expected:
        """With what ``other`` says of a service."""
        after = self.without(service, [key[1] for key in self.of(service)])
        after.wants |= {key: other.wants[key] for key in other.of(service)}
        after.adopted |= {key: other.adopted[key] for key in other.adopted if key[0] == service}
        if service in other.active:
            after.active[service] = other.active[service]
        after.maintained |= other.maintained & {service}
        return after


def essence(service: str, component: Component) -> Mapping[str, object]:
    """What a container is made from, of what a model's definitions say."""
    ports = [port(text) for text in component.ports]
    return {
        "image": component.image,
        "env": dict(component.env),
        "ports": {(each.host_ip, each.host, each.container) for each in ports},
        "capabilities": frozenset(component.cap_add),
        "secrets": {(each.name, each.env or "") for each in component.secret_list},
        "restart": component.restart,
        "stop timeout": component.stop_timeout.total_seconds(),
        "networks": {each.name for each in component.joins(service)},
        "routes": sorted((each.number, set(each.variables)) for each in component.route_ports),
    }


def essence_of(container: Container, *, is_adopted: bool = False) -> Mapping[str, object]:
    """The same of a container, as podman was asked to make it.

    What is adopted has no routes: of those that it had when mcpd made it, it keeps the variables.
    """
    given = {each.outside for each in route_ports.read(container.labels).values()}
    env = dict(container.spec.get("env") or {})
    said = {name: env.pop(name) for name in list(env) if name.startswith("PORT") and not is_adopted}
    inside = [each.inside for each in container.ports if each.host in given and not is_adopted]
    return {
        "image": container.image,
        "env": env,
        "routes": sorted((each, {name for name in said if said[name] == str(each)}) for each in inside),
        "ports": {(each.ip, each.host, each.inside) for each in container.ports if each.host not in given},
        "capabilities": container.capabilities,
        "secrets": {(each["Source"], "") for each in container.spec.get("secrets") or ()}
        | {(name, variable) for variable, name in (container.spec.get("secret_env") or {}).items()},
        "restart": container.restart,
        "stop timeout": float(container.spec.get("stop_timeout", 10)),
        # podman's default network, which `network = "private"` is as well.
        "networks": set(container.networks) - {"podman"},
    }
