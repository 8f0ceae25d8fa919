"""Joins what the registry wants with what podman has: a row for each component, with its drift. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from mcpd.model import Container, Event, RecordedComponent, RecordedService
from monitor.drift import drift
from monitor.exit_status import exit_words
from monitor.model import MISSING, Desired, Known, Observed, Seen, Wanted
from protos import grammar
from protos.parts import Heal


class ComponentView(msgspec.Struct, frozen=True):
    """One component. ``recorded`` None: nobody declared it; ``container`` None: none was found, or nobody looked."""

    service: str
    component: str
    recorded: RecordedComponent | None
    container: Container | None
    observed: Observed
    observed_at: datetime | None
    drift: str = ""

    @property
    def desired(self) -> Desired:
        return self.recorded.desired if self.recorded else Desired.IGNORE


def wanted_of(recorded: RecordedComponent, heal: Heal = Heal.ALERT) -> Wanted:
    """What the registry wants of a component, with the node's ``heal`` where it has none of its own."""
    spec = recorded.spec
    return Wanted(
        service=recorded.service,
        component=spec.name,
        desired=recorded.desired,
        image=spec.image,
        spec_hash=recorded.spec_hash,
        restart=grammar.restart(spec.restart).policy,
        heal=spec.heal or heal,
        trouble=recorded.trouble,
    )


def from_registry(service: RecordedService, known: Mapping[str, Known] | None = None) -> tuple[ComponentView, ...]:
    """The service's components as they were last seen. ``known`` as in `live`: it has how one ended."""
    known = known or {}
    return tuple(_view(each, None, _last_seen(each, known), each.observed_at) for each in service.components)


def live(
    service: RecordedService, containers: Collection[Container], now: datetime, known: Mapping[str, Known] | None = None
) -> tuple[ComponentView, ...]:
    """The service's components, given every container that podman has ``now``.

    ``known`` is what the monitor knows of containers, by id: what its probes say, and how one ended.
    """
    known = known or {}
    found = service.found_in(containers)
    views = []
    for each in service.components:
        container = found.get(each.spec.name)
        views.append(_view(each, container, _seen(container, known) if container else MISSING, now))
    return tuple(views)


def without_routes(views: Collection[ComponentView], problem: str) -> tuple[ComponentView, ...]:
    """The same, where the proxy does not have the routes that it should have: then nobody reaches who has some."""
    words = f"its routes may not lead to it: {problem}"
    return tuple(
        msgspec.structs.replace(each, drift=words)
        if not each.drift and each.observed.is_up and each.recorded and any(it.routes for it in each.recorded.specs)
        else each
        for each in views
    )


def past(service: RecordedService, states: Mapping[tuple[str, str], Event]) -> tuple[ComponentView, ...]:
    """The service's components as the ledger says that they were; UNKNOWN where it says nothing."""
    views = []
    for each in service.components:
        event = states.get((service.name, each.spec.name))
        observed = Observed(event.kind) if event else Observed.UNKNOWN
        when = event.at if event else None
        words = _past_drift(each, observed, event.message) if event else ""
        views.append(ComponentView(service.name, each.spec.name, each, None, observed, when, words))
    return tuple(views)


def _past_drift(component: RecordedComponent, observed: Observed, message: str) -> str:
    """Why it was not as it should have been, by the words of the event."""
    if component.desired is Desired.RUNNING:
        return "" if observed.is_up else message
    if component.desired is Desired.COMPLETED:
        # The ledger has a status as words only.
        code = 0 if message in (exit_words(0), exit_words(0, out_of_memory=True)) else None
        seen = Seen(observed, component.spec.image, component.spec_hash, code)
        reason = drift(wanted_of(component), seen)
        return f"did not complete: {message}" if reason and observed is Observed.EXITED and message else reason
    return ""


def _last_seen(component: RecordedComponent, known: Mapping[str, Known]) -> Seen:
    """What the registry says; with the exit status, where the monitor has it of the same container in that state."""
    spec, more = component.spec, known.get(component.container_id)
    code = more.exit_code if more and more.state is component.observed else None
    return Seen(component.observed, spec.image, component.spec_hash, code)


def undeclared(
    services: Collection[RecordedService], containers: Collection[Container], now: datetime
) -> tuple[ComponentView, ...]:
    """The containers that belong to no component of ``services``: listed, never touched."""
    declared = {(service.name, each.spec.name) for service in services for each in service.components}
    return tuple(
        ComponentView(each.service, each.component, None, each, each.state, now)
        for each in containers
        if (each.service, each.component) not in declared
    )


def _seen(container: Container, known: Mapping[str, Known]) -> Seen:
    """podman's word for whether it runs; the monitor's for how well, and for how it ended, of the same run."""
    more = known.get(container.id)
    same_run = (
        more
        and more.started_at
        and container.started_at
        and int(more.started_at.timestamp()) == int(container.started_at.timestamp())
    )
    both_run = more and more.state.has_process and container.state is Observed.RUNNING
    return more.seen() if more and same_run and (both_run or more.state is container.state) else container.seen()


def _view(
    recorded: RecordedComponent, container: Container | None, seen: Seen, seen_at: datetime | None
) -> ComponentView:
    wanted = wanted_of(recorded)
    return ComponentView(
        recorded.service, recorded.spec.name, recorded, container, seen.state, seen_at, drift(wanted, seen)
    )
