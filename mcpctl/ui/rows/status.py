"""How services, components and events are printed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant, word
from protos.mcp import v1


class ComponentRow(msgspec.Struct, frozen=True):
    """One component, or one container that nobody declared. Empty strings and None: not known, or not so."""

    node: str
    service: str
    component: str
    container: str
    image: str
    version: str
    desired: str
    observed: str
    drift: str
    ports: tuple[str, ...]
    pid: int
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    observed_at: datetime | None
    container_id: str
    spec_hash: str

    @property
    def is_job(self) -> bool:
        """Whether its schedule runs it."""
        return self.desired == "scheduled"

    @property
    def has_completed(self) -> bool:
        """Whether it was to run to its end, and has, with status 0; that of a container of the past is not known."""
        ended_well = self.exit_code == 0 or (self.exit_code is None and not self.drift)
        return (self.desired == "completed" or self.is_job) and self.observed == "exited" and ended_well


class ServiceRow(msgspec.Struct, frozen=True):
    node: str
    name: str
    active: bool
    revision: int
    updated_at: datetime | None
    components: tuple[ComponentRow, ...]


class EventRow(msgspec.Struct, frozen=True):
    node: str
    id: int
    at: datetime | None
    service: str
    component: str
    kind: str
    message: str
    caller: str


def component_row(node: str, info: v1.ComponentInfo) -> ComponentRow:
    return ComponentRow(
        node=node,
        service=info.service,
        component=info.component,
        container=info.container,
        image=info.image,
        version=info.version,
        desired=word(v1.DesiredState, info.desired),
        observed=word(v1.ObservedState, info.observed),
        drift=info.drift,
        ports=tuple(info.ports),
        pid=info.pid,
        exit_code=info.exit_code,
        started_at=instant(info.started_at),
        finished_at=instant(info.finished_at),
        observed_at=instant(info.observed_at),
        container_id=info.container_id,
        spec_hash=info.spec_hash,
    )


def service_row(info: v1.ServiceInfo) -> ServiceRow:
    return ServiceRow(
        node=info.node,
        name=info.name,
        active=info.active,
        revision=info.revision,
        updated_at=instant(info.updated_at),
        components=tuple(component_row(info.node, each) for each in info.components),
    )


def event_row(node: str, info: v1.EventInfo) -> EventRow:
    return EventRow(node, info.id, instant(info.at), info.service, info.component, info.kind, info.message, info.caller)
