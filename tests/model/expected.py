"""What the operator of a model is entitled to expect: what is declared, and what it should come to on the node."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from monitor.model import Desired
from protos.grammar import port
from protos.spec import Component, Service

from .containers import Container

Key = tuple[str, str]


class Want(msgspec.Struct, frozen=True):
    """A component as mcpd was told of it. ``is_ignored``: nobody declares it any more."""

    spec: Component
    is_ignored: bool = False


@dataclass
class Expected:
    """``active`` by service. ``adopted``: the ids of the containers that became components as they were."""

    wants: dict[Key, Want] = field(default_factory=dict)
    active: dict[str, bool] = field(default_factory=dict)
    adopted: dict[Key, str] = field(default_factory=dict)

    def copy(self) -> Expected:
        return copy.deepcopy(self)

    def desired(self, key: Key) -> Desired:
        want = self.wants[key]
        if want.is_ignored:
            return Desired.IGNORE
        if not (self.active[key[0]] and want.spec.active):
            return Desired.STOPPED
        return Desired.COMPLETED if want.spec.oneshot else Desired.RUNNING

    def should_run(self, key: Key) -> bool:
        return self.desired(key) in (Desired.RUNNING, Desired.COMPLETED)

    def of(self, service: str) -> list[Key]:
        return [key for key in self.wants if key[0] == service]

    # -- what operations make of it

    def declared(self, service: Service, selected: Collection[str] | None = None) -> Expected:
        """After a deploy of the ``selected`` components, or a sync."""
        after = self.copy()
        after.active[service.name] = service.active
        for each in service.components:
            if selected is None or each.name in selected:
                after.wants[service.name, each.name] = Want(each)
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
        return after

    def taken_over(self, service: str, other: Expected) -> Expected:
        """With what ``other`` says of a service."""
        after = self.without(service, [key[1] for key in self.of(service)])
        after.wants |= {key: other.wants[key] for key in other.of(service)}
        after.adopted |= {key: other.adopted[key] for key in other.adopted if key[0] == service}
        if service in other.active:
            after.active[service] = other.active[service]
        return after


def essence(service: str, component: Component) -> Mapping[str, object]:
    """What a container is made from, of what a model's definitions say."""
    ports = [port(text) for text in component.ports]
    return {
        "image": component.image,
        "env": dict(component.env),
        "ports": {(each.host_ip, each.host, each.container) for each in ports},
        "capabilities": frozenset(component.cap_add),
        "restart": component.restart,
        "stop timeout": component.stop_timeout.total_seconds(),
        "networks": {each.name for each in component.joins(service)},
    }


def essence_of(container: Container) -> Mapping[str, object]:
    """The same of a container, as podman was asked to make it."""
    return {
        "image": container.image,
        "env": dict(container.spec.get("env") or {}),
        "ports": {(each.ip, each.host, each.inside) for each in container.ports},
        "capabilities": container.capabilities,
        "restart": container.restart,
        "stop timeout": float(container.spec.get("stop_timeout", 10)),
        # podman's default network, which `network = "private"` is as well.
        "networks": set(container.networks) - {"podman"},
    }
