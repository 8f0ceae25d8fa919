"""Turns wire messages into our types and back, here and nowhere else. No generated message travels further in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from mcpd.changes.adopt import Adoption
from mcpd.changes.plan import ComponentPlan
from mcpd.errors import InvalidRequestError
from mcpd.model import (
    Caller,
    Container,
    Event,
    Outcome,
    Progress,
    RecordedComponent,
    RecordedService,
    Report,
    Result,
    Target,
)
from mcpd.registry.alerts import AlertRecord
from mcpd.registry.audit import AuditEntry
from mcpd.registry.journal import OperationRecord
from mcpd.registry.revisions import Revision
from mcpd.runtime.usage import Usage
from mcpd.status.components import ComponentView
from monitor.model import Desired, Observed, SourceState
from monitor.ports import Silence, covers
from protos import naming
from protos.mcp import v1 as wire
from protos.program_output import headline
from protos.spec import Service, examine_service
from protos.validation import Invalid
from protos.wire import service_spec, service_values, without_none

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# More rows than any screen shows; bounds what one answer can make the node do.
MAX_LIMIT = 10_000

_DESIRED = {each: wire.DesiredState.from_string(each.name) for each in Desired}
_OBSERVED = {each: wire.ObservedState.from_string(each.name) for each in Observed}
_RESULT = {each: wire.Result.from_string(each.name) for each in Result}


# -- from the wire


def service(message: wire.ServiceSpec, node: str) -> Service:
    """A service that this ``node`` can hold. Raises InvalidRequestError with every problem."""
    try:
        found, problems = examine_service(service_values(message))
    except Invalid as error:
        raise InvalidRequestError(str(error)) from None
    if found is None:
        name = message.name if naming.is_name(message.name) else "service"
        raise InvalidRequestError("\n".join(f"{name}: {problem}" for problem in problems))
    if found.node != node:
        raise InvalidRequestError(f"{found.name} belongs on node {found.node}; this is {node}")
    return found


def target(service_name: str, component: str) -> Target:
    """Raises InvalidRequestError for what cannot be a name."""
    for kind, name in (("service", service_name), ("component", component)):
        if not naming.is_name(name) and (name or kind == "service"):
            raise InvalidRequestError(f"{name!r} is not the name of a {kind}: {naming.NAME_RULE}")
    return Target(service_name, component)


def selected(found: Service, component: str) -> frozenset[str]:
    """The names of all components, or of the one that was asked for. Raises InvalidRequestError."""
    if not component:
        return frozenset(found.component_names)
    if found.component(component) is None:
        raise InvalidRequestError(f"{found.name} has no component {component!r}")
    return frozenset({component})


def limit(value: int, default: int) -> int:
    return min(value or default, MAX_LIMIT)


def instant(value: datetime) -> datetime | None:
    """betterproto reads an unset timestamp as 1970."""
    return None if value == _EPOCH else value


# -- to the wire


def component_info(view: ComponentView, used: Usage | None = None, *, comparable: bool = False) -> wire.ComponentInfo:
    """What podman has, where it has something; what the registry recorded, where it does not.

    ``comparable``: with the hash of what is declared, for those who may read the declaration.
    """
    fields: dict[str, Any] = {
        "service": view.service,
        "component": view.component,
        "desired": _DESIRED[view.desired],
        "observed": _OBSERVED[view.observed],
        "drift": view.drift,
    }
    if recorded := view.recorded:
        fields |= {
            "container": recorded.container,
            "image": recorded.spec.image,
            "version": recorded.spec.version,
            "ports": list(recorded.spec.ports),
            "spec_hash": recorded.spec_hash,
            "container_id": recorded.container_id,
            "definition_hash": recorded.definition_hash if comparable else "",
        }
    if container := view.container:
        fields |= {
            "container": container.name,
            "image": _image_of(container, view.recorded),
            "version": container.version,
            "ports": list(container.ports),
            "spec_hash": container.spec_hash,
            "container_id": container.id,
            "pid": container.pid,
            "exit_code": container.exit_code,
        } | without_none(started_at=container.started_at, finished_at=container.finished_at)
    usage = _usage(used) if used else None
    return wire.ComponentInfo(**fields, **without_none(observed_at=view.observed_at, usage=usage))


def _image_of(container: Container, recorded: RecordedComponent | None) -> str:
    """With the tag that podman forgets of an image which has a digest, too (REPOSITORY:TAG@DIGEST)."""
    for known in recorded.specs if recorded else ():
        if "@" in known.image and container.image == naming.without_tag(known.image):
            return known.image
    return container.image


def _usage(found: Usage) -> wire.Usage:
    return wire.Usage(
        cpu_time=found.cpu_time,
        memory_bytes=found.memory,
        memory_limit_bytes=found.memory_limit,
        pids=found.pids,
        at=found.at,
    )


def service_info(
    node: str, found: RecordedService, views: tuple[ComponentView, ...], *, comparable: bool = False
) -> wire.ServiceInfo:
    return wire.ServiceInfo(
        name=found.name,
        node=node,
        active=found.active,
        components=[component_info(each, comparable=comparable) for each in views],
        updated_at=found.updated_at,
        revision=found.revision,
    )


def event_info(event: Event) -> wire.EventInfo:
    return wire.EventInfo(
        id=event.id,
        service=event.service,
        component=event.component,
        at=event.at,
        kind=event.kind,
        message=event.message,
        caller=event.caller,
    )


def alert_info(record: AlertRecord, silences: Iterable[Silence]) -> wire.AlertInfo:
    """``silences``: those in force; the one that lasts longest is what the alert's component waits for."""
    alert = record.alert
    ends = [each.until for each in silences if covers(each, alert.service, alert.component)]
    return wire.AlertInfo(
        id=alert.id,
        service=alert.service,
        component=alert.component,
        kind=alert.kind.value,
        reason=alert.reason,
        opened_at=record.opened_at,
        delivery=record.delivery.value,
        attempts=alert.attempts,
        output_tail=record.output,
        suppressed_by=record.suppressed_by,
        acked_by=record.acked_by,
        ack_note=record.ack_note,
        transitions=alert.transitions,
        desired=alert.desired,
        observed=alert.observed,
        **without_none(
            closed_at=record.closed_at, exit_status=record.exit_status, silenced_until=max(ends, default=None)
        ),
    )


def silence_info(silence: Silence) -> wire.SilenceInfo:
    return wire.SilenceInfo(
        id=silence.id,
        service=silence.service,
        component=silence.component,
        until=silence.until,
        reason=silence.reason,
        by=silence.by,
    )


def outcome(found: Outcome) -> wire.ComponentOutcome:
    return wire.ComponentOutcome(component=found.component, result=_RESULT[found.result], message=found.message)


def progress(found: Progress) -> wire.Progress:
    return wire.Progress(component=found.component, step=found.step.value, message=found.message, at=found.at)


def report(found: Report) -> dict[str, Any]:
    """As the field of the oneof that every stream of an operation's reports has."""
    return {"outcome": outcome(found)} if isinstance(found, Outcome) else {"progress": progress(found)}


def adoption(found: Adoption) -> wire.AdoptResponse:
    return wire.AdoptResponse(
        outcomes=[outcome(each) for each in found.outcomes],
        losses=list(found.losses),
        **without_none(service=service_spec(found.service) if found.service else None),
    )


def component_plan(found: ComponentPlan) -> wire.ComponentPlan:
    return wire.ComponentPlan(
        component=found.component.name,
        action=found.action.value,
        reason=found.reason,
        changes=[
            wire.FieldChange(
                field=each.field, before=each.before, after=each.after, source=each.source.value, diff=each.diff
            )
            for each in found.changes
        ],
    )


def revision_info(found: Revision) -> wire.RevisionInfo:
    components = [
        wire.RevisionComponent(name=each.name, image=each.image, version=each.version)
        for each in found.definition.components
    ]
    return wire.RevisionInfo(
        number=found.number, at=found.at, caller=found.caller, restores=found.restores, components=components
    )


def operation_info(found: OperationRecord) -> wire.OperationInfo:
    return wire.OperationInfo(
        id=found.id,
        service=found.target.service,
        component=found.target.component,
        kind=found.kind,
        caller=found.caller,
        started_at=found.started_at,
        state=found.state.value,
        step=found.step,
        # The lines behind the first one quote what a container printed.
        message=headline(found.message),
        **without_none(ended_at=found.ended_at),
    )


def audit_info(found: AuditEntry) -> wire.AuditInfo:
    return wire.AuditInfo(
        id=found.id,
        at=found.at,
        method=found.method,
        caller=found.caller,
        role=found.role,
        peer=found.peer,
        target=found.target,
        status=found.status,
        duration=found.duration,
    )


def who_am_i(node: str, caller: Caller) -> wire.WhoAmIResponse:
    return wire.WhoAmIResponse(
        node=node, name=caller.name, role=caller.role.value, **without_none(expires_at=caller.expires_at)
    )


def link_state(found: SourceState) -> wire.LinkState:
    return wire.LinkState(name=found.name, ok=found.ok, detail=found.detail, since=found.since)
