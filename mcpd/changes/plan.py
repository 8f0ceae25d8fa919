"""What a deploy would do, decided from the definition and from what podman has. No I/O."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterable, Mapping, Set
from enum import StrEnum
from types import MappingProxyType

import msgspec

from mcpd.changes.difference import FieldChange, Source, difference
from mcpd.changes.plan_id import plan_id
from mcpd.changes.secret_use import NO_SECRETS, SecretUse
from mcpd.changes.surroundings import joined_before
from mcpd.errors import BusyError
from mcpd.model import Container, RecordedComponent, RecordedService, by_component
from mcpd.runtime import route_ports
from monitor.exit_status import exit_words
from monitor.model import Desired, Observed
from protos.agreement import find_cycle
from protos.fingerprint import spec_hash
from protos.parts import Heal
from protos.spec import Component, Service


class Action(StrEnum):
    CREATE = "create"
    REPLACE = "replace"
    START = "start"
    STOP = "stop"
    RENAME = "rename"
    # Only what mcpd itself uses has changed: no container is touched.
    UPDATE = "update"
    NONE = "none"


# Of those whose container runs before and after, and is not started by it.
_RUNS_ON = (Action.UPDATE, Action.RENAME)
_RUNS_AGAIN = "runs again, since its service changes"
# The fields of a probe, in a plan's changes.
_OF_PROBE = "health."


class ComponentPlan(msgspec.Struct, frozen=True):
    """What happens to one component. ``current`` is its container, when it has one; ``container`` the name it gets.

    ``changes`` are the fields that differ from what was declared last, ``losses`` the options of an adopted container
    that no definition can say, and that what is made in its place will not have. ``starts_first``: the new container
    starts beside the old one, which goes when the deploy is committed. ``was_routed``: it had routes before;
    ``routes_change``: other ones than it has now. ``ended_by_itself``: it was a oneshot or a job, which is not started
    again when all is put back; None: as it is now.
    """

    component: Component
    container: str
    spec_hash: str
    action: Action
    reason: str
    runs: bool
    current: Container | None = None
    changes: tuple[FieldChange, ...] = ()
    losses: tuple[str, ...] = ()
    starts_first: bool = False
    was_routed: bool = False
    routes_change: bool = False
    ended_by_itself: bool | None = None

    @property
    def is_made_anew(self) -> bool:
        return self.action in (Action.CREATE, Action.REPLACE)

    @property
    def is_routed(self) -> bool:
        """Whether the proxy has to know of it, now or still."""
        return bool(self.component.routes) or self.was_routed

    @property
    def concerns_proxy(self) -> bool:
        """Whether the proxy has to be told before the deploy is committed."""
        return self.is_routed and (self.action is not Action.NONE or self.routes_change)

    @property
    def asks_probe(self) -> bool:
        """Whether a container that stays has a new probe, which was not asked yet."""
        is_changed = any(each.field.startswith(_OF_PROBE) for each in self.changes)
        return self.runs and is_changed and self.component.probe is not None and self.action in _RUNS_ON


class DeployPlan(msgspec.Struct, frozen=True):
    """``conflicts`` are sentences, each enough to refuse the deploy; ``orphans`` run but are no longer defined.

    ``leftovers`` are names that containers of ours have and that only a deploy in progress gives. ``networks_left`` are
    those that the service joined and does not any more; ``folders`` are to be made, the deepest first.
    """

    service: Service
    components: tuple[ComponentPlan, ...]
    conflicts: tuple[str, ...]
    orphans: tuple[str, ...]
    leftovers: tuple[str, ...] = ()
    id: str = ""
    networks_left: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        return not self.leftovers and all(each.action is Action.NONE for each in self.components)

    @property
    def losses(self) -> tuple[str, ...]:
        """What adopted containers would lose, each with its component."""
        return tuple(
            f"{self.service.name}/{each.component.name}: {loss}" for each in self.components for loss in each.losses
        )


def plan_deploy(
    service: Service,
    selected: Collection[str],
    containers: Collection[Container],
    *,
    recorded: RecordedService | None = None,
    heal: Heal = Heal.ALERT,
    force: bool = False,
    secrets: SecretUse = NO_SECRETS,
    changed_images: Mapping[str, str] = MappingProxyType({}),
) -> DeployPlan:
    """Decides for the ``selected`` components of ``service``.

    ``containers`` are at least the service's own, and those that have a name which it needs. ``recorded`` is the
    service as the registry has it, ``heal`` the node's own setting, ``secrets`` what is known of those it declares;
    ``changed_images``, by component, why its image is another one than its container has.
    """
    names = {name: service.container(name) for name in service.component_names}
    ours = by_component(containers, service.name, names)
    by_name = {each.name: each for each in containers}
    known = {each.spec.name: each for each in recorded.components} if recorded else {}
    changed = {**secrets.changed, **changed_images}
    plans = tuple(
        _plan_component(
            *(service, component, ours.get(component.name), known.get(component.name), heal, force),
            changed.get(component.name, ""),
        )
        for component in service.components
        if component.name in selected
    )
    plans = tuple(_in_order(service, each) for each in _that_follow(plans))
    conflicts = (
        *(_conflict(service, each, by_name) for each in plans),
        *_torn(service, plans, selected, ours),
        _circle(service, selected, known.values()),
    )
    orphans = tuple(sorted(ours.keys() - set(service.component_names)))
    leftovers = tuple(
        sorted(
            each.name
            for each in containers
            if each.service == service.name and each.component in selected and not each.is_settled
        )
    )
    there = [each for each in containers if each.service == service.name]
    number = plan_id(service, selected, recorded, there, force, secrets)
    left = tuple(sorted(joined_before(recorded) - set(service.joined_networks())))
    return DeployPlan(service, plans, tuple(filter(None, conflicts)), orphans, leftovers, number, left)


def check_holds(wanted: str, plan: DeployPlan) -> None:
    """Raises BusyError (ABORTED) with what has changed since the plan with the id ``wanted`` was made."""
    if wanted == plan.id:
        return
    then, now = wanted.split("-"), plan.id.split("-")
    if len(then) != len(now):
        raise BusyError(f"{wanted!r} is not the id of a plan; `mcpctl plan {plan.service.name}` creates one")
    parts = ("the definition or the options", "the registry", "the containers or secrets on the node")
    changed = [part for part, one, other in zip(parts, then, now, strict=True) if one != other]
    raise BusyError(
        f"plan {wanted} is out of date: {' and '.join(changed)} changed since; `mcpctl plan {plan.service.name}` again"
    )


def is_recorded_as(service: Service, recorded: RecordedService | None, selected: Collection[str]) -> bool:
    """Whether the registry holds this intent already: the ``selected`` components, and which components there are."""
    if recorded is None or recorded.active != service.active:
        return False
    if (recorded.volumes, recorded.networks) != (service.volumes, service.networks):
        return False
    known = {each.spec.name: each for each in recorded.components if each.desired is not Desired.IGNORE}
    return known.keys() <= set(service.component_names) and all(
        _holds(known.get(each.name), each) for each in service.components if each.name in selected
    )


def _holds(known: RecordedComponent | None, component: Component) -> bool:
    """Whether it is declared, and no deploy before it said otherwise: a sync may have declared it since."""
    return known is not None and known.spec == component and known.deployed in (None, component)


def waits_for(components: Collection[Component]) -> Mapping[str, frozenset[str]]:
    """For each component, those of ``components`` that it must wait for; nobody waits in a circle.

    No definition has one, but a registry may: 0.1 recorded components that were deployed alone, whatever the others
    said. Who closes the circle then waits for nobody in it.
    """
    names = {each.name for each in components}
    wanted = {each.name: each.waits_for & names for each in components}
    while cycle := find_cycle({name: sorted(others) for name, others in wanted.items()}):
        *_, last, first = cycle
        wanted[last] -= {first}
    return wanted


def in_dependency_order(plans: Collection[ComponentPlan]) -> list[ComponentPlan]:
    """Sorted so that each comes after those that it depends on."""
    by_name = {each.component.name: each for each in plans}
    return [by_name[component.name] for component in ordered([each.component for each in plans])]


def ordered(components: Collection[Component]) -> list[Component]:
    """Sorted so that each comes after those that it depends on."""
    by_name = {each.name: each for each in components}
    return [by_name[name] for name in graphlib.TopologicalSorter(waits_for(components)).static_order()]


def _plan_component(
    service: Service,
    component: Component,
    current: Container | None,
    recorded: RecordedComponent | None,
    heal: Heal,
    force: bool,
    changed: str,
) -> ComponentPlan:
    wanted = spec_hash(component)
    is_active = service.wants_running(component)
    runs = is_active and not component.is_job
    name = service.container(component.name)
    action, reason = _decide(
        *(wanted, runs, name, current, force),
        oneshot=component.oneshot,
        # What ran before it became a job is no run of it.
        may_run=is_active and component.is_job and (recorded is None or recorded.spec.is_job),
        ports={each.name for each in component.route_ports},
        changed=changed,
    )
    changes = _changes(component, current, recorded, heal)
    if action is Action.NONE and changes:
        action, reason = Action.UPDATE, "no container needs to change for that"
    was_routed = recorded is not None and any(each.routes for each in recorded.specs)
    deployed = recorded.deployed if recorded else None
    if action in (Action.REPLACE, Action.STOP) and component.is_job and current and current.is_active:
        reason = f"{reason}; it runs now, and is stopped"
    plan = ComponentPlan(
        *(component, name, wanted, action, reason, runs, current, changes),
        was_routed=was_routed,
        routes_change=deployed is None or deployed.routes != component.routes,
        ended_by_itself=(deployed or (recorded.spec if recorded else component)).ends,
    )
    if plan.action is Action.UPDATE and plan.asks_probe:
        return msgspec.structs.replace(plan, reason=f"{reason}; its probe runs first")
    return plan


def _changes(
    component: Component, current: Container | None, recorded: RecordedComponent | None, heal: Heal
) -> tuple[FieldChange, ...]:
    """How the component differs from what its container was made from; only the image, when that is unknown."""
    if current is None:
        return ()
    for known in (recorded.spec, recorded.deployed) if recorded else ():
        if known and current.spec_hash == spec_hash(known):
            return difference(known, component, heal)
    if current.image == component.image:
        return ()
    return (FieldChange("image", current.image, component.image, Source.DEFINITION),)


def _again(current: Container) -> tuple[Action, str]:
    """Of a oneshot: what has not completed runs anew, in a container of its own."""
    if current.is_active:
        return Action.NONE, "is running"
    if has_completed(current):
        return Action.NONE, "unchanged"
    if current.state is Observed.CREATED:
        return Action.REPLACE, "did not run yet"
    ended = "exited" if current.exit_code is None else exit_words(current.exit_code)
    return Action.REPLACE, f"did not complete: {ended}"


def has_completed(container: Container) -> bool:
    """Whether a oneshot's container is as it should be."""
    return container.state is Observed.EXITED and container.exit_code == 0


def _that_follow(plans: tuple[ComponentPlan, ...]) -> tuple[ComponentPlan, ...]:
    """With what is made anew only because others change: oneshots, and what shares a namespace with a new container."""
    if any(each.action is not Action.NONE for each in plans):
        plans = tuple(_anew(each, _RUNS_AGAIN) if each.component.oneshot and each.runs else each for each in plans)
    anew = {each.component.name for each in plans if each.is_made_anew}
    for each in in_dependency_order(plans):
        if (shared := sorted(each.component.shares_with & anew)) and not each.is_made_anew:
            anew.add(each.component.name)
            reason = f"uses a namespace of {shared[0]}, which gets a new container"
            plans = tuple(_anew(other, reason) if other is each else other for other in plans)
    return plans


def _in_order(service: Service, plan: ComponentPlan) -> ComponentPlan:
    """With whether the new container starts before the old one stops."""
    is_beside = plan.action is Action.REPLACE and plan.runs and plan.current is not None and plan.current.is_active
    if not is_beside or not service.starts_first(plan.component):
        return plan
    return msgspec.structs.replace(plan, starts_first=True, reason=f"{plan.reason}; the new one starts first")


def _anew(plan: ComponentPlan, reason: str) -> ComponentPlan:
    is_done = plan.is_made_anew or plan.current is None
    return plan if is_done else msgspec.structs.replace(plan, action=Action.REPLACE, reason=reason)


def _torn(
    service: Service, plans: Collection[ComponentPlan], selected: Collection[str], ours: Mapping[str, Container]
) -> list[str]:
    """Conflicts: what is not deployed, and runs in a namespace that would go."""
    anew = {each.component.name for each in plans if each.action is Action.REPLACE}
    return [
        f"{service.name}/{each.name} uses a namespace of {shared}, which would get a new container: "
        f"deploy both, `mcpctl deploy {service.name}`"
        for each in service.components
        if each.name not in selected and each.name in ours
        for shared in sorted(each.shares_with & anew)
    ]


def _circle(service: Service, selected: Collection[str], recorded: Iterable[RecordedComponent]) -> str:
    """Why the selected components cannot be deployed without the others; empty when they can."""
    after = {each.spec.name: each.spec for each in recorded}
    after |= {each.name: each for each in service.components if each.name in selected}
    cycle = find_cycle({name: sorted(each.waits_for & after.keys()) for name, each in after.items()})
    if not cycle or not any(name in selected for name in cycle):
        return ""
    return (
        f"{service.name}: with what is deployed of the others, depends_on has a cycle: {' -> '.join(cycle)}; "
        f"deploy all of them, `mcpctl deploy {service.name}`"
    )


def _decide(
    wanted: str,
    runs: bool,
    name: str,
    current: Container | None,
    force: bool,
    *,
    oneshot: bool,
    may_run: bool = False,
    ports: Set[str] = frozenset(),
    changed: str = "",
) -> tuple[Action, str]:
    # 1. There is no container.
    if current is None:
        return Action.CREATE, "does not exist yet"
    # 2. There is one, made from something else, or it must be made anew.
    if current.spec_hash != wanted:
        return Action.REPLACE, "the definition changed"
    if force:
        return Action.REPLACE, "forced"
    if not ports <= route_ports.read(current.labels).keys():
        return Action.REPLACE, "it has no port for a route"
    if changed:
        return Action.REPLACE, changed
    # 3. It is the right one, under the name that it had while the service had another number of components.
    if current.name != name:
        return Action.RENAME, f"is called {current.name}"
    # 4. It is the right one, in the wrong state.
    if runs and oneshot:
        return _again(current)
    if runs and not current.is_active:
        return Action.START, f"is {current.state}"
    if not runs and current.is_active and not may_run:
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
        f"{mine}, which belongs to a container that mcp does not manage; "
        f"adopt it (`mcpctl adopt {service.name}`), or rename or remove it"
    )
