"""What a deploy would do: decided from the definition and from what podman has, with no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from mcpd.fingerprint import spec_hash
from mcpd.model import Container, by_component
from protos.spec import Component, Service


class Action(StrEnum):
    CREATE = "create"
    REPLACE = "replace"
    START = "start"
    STOP = "stop"
    RENAME = "rename"
    NONE = "none"


class ComponentPlan(msgspec.Struct, frozen=True):
    """What happens to one component. ``current`` is its container, when it has one; ``container`` the name it gets."""

    component: Component
    container: str
    spec_hash: str
    action: Action
    reason: str
    runs: bool
    current: Container | None = None


class DeployPlan(msgspec.Struct, frozen=True):
    """``conflicts`` are sentences, each enough to refuse the deploy; ``orphans`` run but are no longer defined."""

    service: Service
    components: tuple[ComponentPlan, ...]
    conflicts: tuple[str, ...]
    orphans: tuple[str, ...]


def plan_deploy(
    service: Service, selected: Collection[str], containers: Collection[Container], *, force: bool = False
) -> DeployPlan:
    """Decides for the ``selected`` components of ``service``.

    ``containers`` are at least the service's own, and those that have a name which it needs.
    """
    names = {name: service.container(name) for name in service.component_names}
    ours = by_component(containers, service.name, names)
    by_name = {each.name: each for each in containers}
    plans = tuple(
        _plan_component(service, component, ours.get(component.name), force)
        for component in service.components
        if component.name in selected
    )
    conflicts = tuple(_conflict(service, each, by_name) for each in plans)
    orphans = tuple(sorted(ours.keys() - set(service.component_names)))
    return DeployPlan(service, plans, tuple(filter(None, conflicts)), orphans)


def waits_for(components: Collection[Component]) -> Mapping[str, frozenset[str]]:
    """For each component, those of ``components`` that it must wait for."""
    names = {each.name for each in components}
    return {each.name: frozenset(each.depends_on) & names for each in components}


def _plan_component(service: Service, component: Component, current: Container | None, force: bool) -> ComponentPlan:
    wanted = spec_hash(component)
    runs = service.wants_running(component)
    name = service.container(component.name)
    action, reason = _decide(wanted, runs, name, current, force)
    return ComponentPlan(component, name, wanted, action, reason, runs, current)


def _decide(wanted: str, runs: bool, name: str, current: Container | None, force: bool) -> tuple[Action, str]:
    # 1. There is no container.
    if current is None:
        return Action.CREATE, "not there yet"
    # 2. There is one, made from something else, or it must be made anew.
    if current.spec_hash != wanted:
        return Action.REPLACE, "the definition changed"
    if force:
        return Action.REPLACE, "forced"
    # 3. It is the right one, under the name that it had while the service had another number of components.
    if current.name != name:
        return Action.RENAME, f"is called {current.name}"
    # 4. It is the right one, in the wrong state.
    if runs and not current.is_active:
        return Action.START, f"is {current.state}"
    if not runs and current.is_active:
        return Action.STOP, "should be stopped"
    # 5. Everything is as wanted.
    return Action.NONE, "unchanged"


def _conflict(service: Service, plan: ComponentPlan, by_name: Mapping[str, Container]) -> str:
    """Why the component's container cannot have its name; empty when it can."""
    holder = by_name.get(plan.container)
    if holder is None or (holder.service, holder.component) == (service.name, plan.component.name):
        return ""
    mine = f"{service.name}/{plan.component.name} needs the container name {plan.container}"
    if holder.service:
        return f"{mine}, which belongs to {holder.service}/{holder.component}; rename one of the two"
    return (
        f"{mine}, which a container has that mcp does not manage; "
        f"adopt it (`mcpctl adopt {service.name}`), or rename or remove it"
    )
