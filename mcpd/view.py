"""Joins what the registry wants with what podman has: one row a component, with its drift. Pure functions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from mcpd.model import Container, RecordedComponent, RecordedService, by_component
from monitor.drift import drift
from monitor.model import MISSING, Desired, Observed, Seen, Wanted


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


def from_registry(service: RecordedService) -> tuple[ComponentView, ...]:
    """The service's components as they were last seen."""
    return tuple(
        _view(each, None, Seen(each.observed, each.spec.image, each.spec_hash), each.observed_at)
        for each in service.components
    )


def live(service: RecordedService, containers: Collection[Container], now: datetime) -> tuple[ComponentView, ...]:
    """The service's components, given every container that podman has ``now``."""
    found = by_component(containers, service.name, {each.spec.name: each.container for each in service.components})
    views = []
    for each in service.components:
        container = found.get(each.spec.name)
        views.append(_view(each, container, container.seen() if container else MISSING, now))
    return tuple(views)


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


def _view(
    recorded: RecordedComponent, container: Container | None, seen: Seen, seen_at: datetime | None
) -> ComponentView:
    wanted = Wanted(recorded.service, recorded.spec.name, recorded.desired, recorded.spec.image, recorded.spec_hash)
    return ComponentView(
        recorded.service, recorded.spec.name, recorded, container, seen.state, seen_at, drift(wanted, seen)
    )
