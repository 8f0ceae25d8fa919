"""The one place where answers become rows of our own, which are what is printed, as a table or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from protos.mcp import v1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


class AlertRow(msgspec.Struct, frozen=True):
    """``closed_at`` None: still open. ``exit_status`` is the alert command's, None when it did not end by itself.

    ``silenced_until``: the end of the silence that is in force for its component; None: there is none.
    """

    node: str
    id: int
    kind: str
    service: str
    component: str
    reason: str
    desired: str
    observed: str
    opened_at: datetime | None
    closed_at: datetime | None
    transitions: int
    delivery: str
    suppressed_by: str
    attempts: int
    exit_status: int | None
    output_tail: str
    acked_by: str
    ack_note: str
    silenced_until: datetime | None = None

    @property
    def is_silenced(self) -> bool:
        """Whether it is open, and kept quiet."""
        return self.silenced_until is not None and self.closed_at is None


class SilenceRow(msgspec.Struct, frozen=True):
    """``component`` empty: every component of the service."""

    node: str
    id: int
    service: str
    component: str
    until: datetime | None
    reason: str
    by: str


class OutcomeRow(msgspec.Struct, frozen=True):
    component: str
    result: str
    message: str


class ProgressRow(msgspec.Struct, frozen=True):
    component: str
    step: str
    message: str
    at: datetime | None


class FieldChangeRow(msgspec.Struct, frozen=True):
    """``before`` or ``after`` empty: not set."""

    field: str
    before: str
    after: str
    source: str


class ComponentPlanRow(msgspec.Struct, frozen=True):
    component: str
    action: str
    reason: str
    changes: tuple[FieldChangeRow, ...]


class PlanRow(msgspec.Struct, frozen=True):
    """``losses``: what adopted containers have that no definition can say, and a deploy would drop."""

    node: str
    service: str
    plan_id: str
    components: tuple[ComponentPlanRow, ...]
    warnings: tuple[str, ...]
    losses: tuple[str, ...]


class ServiceOutcomeRow(msgspec.Struct, frozen=True):
    """``error``: why nothing was done for the service; empty when it was."""

    node: str
    service: str
    outcomes: tuple[OutcomeRow, ...]
    pending: tuple[ComponentPlanRow, ...]
    error: str


class SnapshotRow(msgspec.Struct, frozen=True):
    """A node's registry, brought to ``file``; ``size`` in bytes, ``sha256`` in hexadecimal digits."""

    node: str
    file: str
    size: int
    sha256: str


class OperationRow(msgspec.Struct, frozen=True):
    """``component`` empty: the whole service. ``ended_at`` None: it still runs."""

    node: str
    id: int
    service: str
    component: str
    kind: str
    caller: str
    started_at: datetime | None
    ended_at: datetime | None
    state: str
    step: str
    message: str


class ReportRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the last three, from an operation that is followed; node and service where there may be several."""

    operation: str
    node: str = ""
    service: str = ""
    info: OperationRow | None = None
    progress: ProgressRow | None = None
    outcome: OutcomeRow | None = None


class AuditRow(msgspec.Struct, frozen=True):
    """One call. ``caller`` and ``role`` empty: nobody was let in. ``status`` is gRPC's."""

    node: str
    id: int
    at: datetime | None
    caller: str
    role: str
    peer: str
    method: str
    target: str
    status: str
    took_ms: float


class WhoRow(msgspec.Struct, frozen=True):
    """Who one is on a node. ``expires_at`` None: the token has no end."""

    node: str
    name: str
    role: str
    expires_at: datetime | None


class FileRow(msgspec.Struct, frozen=True):
    """What lies on a node. ``kind``: file, folder, symlink or other; ``size`` in bytes; ``mode`` in octal digits.

    ``owner``: UID:GID in the container; empty when no container can have them. ``target``: of a symlink.
    """

    name: str
    kind: str
    size: int
    mode: str
    owner: str
    modified_at: datetime | None
    target: str


class MovedRow(msgspec.Struct, frozen=True):
    """One file that was moved: ``local`` is its path here, ``path`` the one on the node; ``size`` in bytes."""

    local: str
    path: str
    size: int
    mode: str
    sha256: str


class TransferRow(msgspec.Struct, frozen=True):
    """``skipped``: what is neither file nor folder."""

    node: str
    service: str
    files: tuple[MovedRow, ...]
    folders: int
    bytes: int
    seconds: float
    skipped: tuple[str, ...]


class ContentRow(msgspec.Struct, frozen=True):
    size: int
    mode: str
    sha256: str


class ComparisonRow(msgspec.Struct, frozen=True):
    """``differs``: of size, sha256 and mode, those that are not the same."""

    node: str
    service: str
    path: str
    local: str
    same: bool
    differs: tuple[str, ...]
    here: ContentRow
    there: ContentRow


class ImageRow(msgspec.Struct, frozen=True):
    """``names`` is empty for one that lost its last one; ``size`` in bytes. ``removed``: it is, or would be, gone."""

    names: tuple[str, ...]
    id: str
    size: int
    created_at: datetime | None
    removed: bool
    reason: str


class PruneRow(msgspec.Struct, frozen=True):
    """What pruning did, or with ``dry_run`` would do; ``bytes`` of what is gone, less where images share layers."""

    node: str
    dry_run: bool
    images: tuple[ImageRow, ...]
    bytes: int


class LinkRow(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    detail: str
    since: datetime | None


class NodeRow(msgspec.Struct, frozen=True):
    node: str
    mcpd_version: str
    podman_version: str
    started_at: datetime | None
    services: int
    components: int
    operations_running: int
    disk_free_bytes: int
    disk_total_bytes: int
    memory_available_bytes: int
    memory_total_bytes: int
    load_average: float
    cpus: int
    certificate_expires_at: datetime | None
    links: tuple[LinkRow, ...]


class ListedNodeRow(msgspec.Struct, frozen=True):
    """A node of the configuration, and how it is. ``status`` None: it was not asked, or did not answer.

    ``reachable`` None: it was not asked. ``problem``: why there is no status; ``waited_s``: how long it was waited for.
    """

    name: str
    address: str
    state: str
    reachable: bool | None = None
    problem: str = ""
    waited_s: float = 0.0
    status: NodeRow | None = None


class GrantRow(msgspec.Struct, frozen=True):
    """A login. ``expires_at`` None: the token has no end, or does not say it."""

    username: str
    expires_at: datetime | None


class LogoutRow(msgspec.Struct, frozen=True):
    """``revoked``: whether MCIAS made the token worthless; it is forgotten here in any case."""

    revoked: bool


class DefinitionRow(msgspec.Struct, frozen=True):
    """One definition file. ``error`` not empty: it is wrong, and nothing else of it is known."""

    name: str
    node: str
    active: bool | None
    components: tuple[str, ...]
    file: str
    error: str = ""


class EffectiveRow(msgspec.Struct, frozen=True):
    """A definition as it is effective: every field of it, defaults included, in a definition's own notations."""

    file: str
    service: dict[str, Any]


class EditRow(msgspec.Struct, frozen=True):
    file: str
    changed: bool


class WrittenRow(msgspec.Struct, frozen=True):
    file: str


def component_row(node: str, info: v1.ComponentInfo) -> ComponentRow:
    return ComponentRow(
        node=node,
        service=info.service,
        component=info.component,
        container=info.container,
        image=info.image,
        version=info.version,
        desired=_word(v1.DesiredState, info.desired),
        observed=_word(v1.ObservedState, info.observed),
        drift=info.drift,
        ports=tuple(info.ports),
        pid=info.pid,
        exit_code=info.exit_code,
        started_at=_instant(info.started_at),
        finished_at=_instant(info.finished_at),
        observed_at=_instant(info.observed_at),
        container_id=info.container_id,
        spec_hash=info.spec_hash,
    )


def service_row(info: v1.ServiceInfo) -> ServiceRow:
    return ServiceRow(
        node=info.node,
        name=info.name,
        active=info.active,
        revision=info.revision,
        updated_at=_instant(info.updated_at),
        components=tuple(component_row(info.node, each) for each in info.components),
    )


def event_row(node: str, info: v1.EventInfo) -> EventRow:
    return EventRow(
        node, info.id, _instant(info.at), info.service, info.component, info.kind, info.message, info.caller
    )


def alert_row(node: str, info: v1.AlertInfo) -> AlertRow:
    return AlertRow(
        node=node,
        id=info.id,
        kind=info.kind,
        service=info.service,
        component=info.component,
        reason=info.reason,
        desired=info.desired,
        observed=info.observed,
        opened_at=_instant(info.opened_at),
        closed_at=_instant(info.closed_at),
        transitions=info.transitions,
        delivery=info.delivery,
        suppressed_by=info.suppressed_by,
        attempts=info.attempts,
        exit_status=info.exit_status,
        output_tail=info.output_tail,
        acked_by=info.acked_by,
        ack_note=info.ack_note,
        silenced_until=_instant(info.silenced_until),
    )


def silence_row(node: str, info: v1.SilenceInfo) -> SilenceRow:
    return SilenceRow(node, info.id, info.service, info.component, _instant(info.until), info.reason, info.by)


def audit_row(node: str, info: v1.AuditInfo) -> AuditRow:
    return AuditRow(
        node=node,
        id=info.id,
        at=_instant(info.at),
        caller=info.caller,
        role=info.role,
        peer=info.peer,
        method=info.method,
        target=info.target,
        status=info.status,
        took_ms=info.duration / timedelta(milliseconds=1),
    )


def who_row(answer: v1.WhoAmIResponse) -> WhoRow:
    return WhoRow(answer.node, answer.name, answer.role, _instant(answer.expires_at))


def outcome_row(outcome: v1.ComponentOutcome) -> OutcomeRow:
    return OutcomeRow(outcome.component, _word(v1.Result, outcome.result), outcome.message)


def progress_row(progress: v1.Progress) -> ProgressRow:
    return ProgressRow(progress.component, progress.step, progress.message, _instant(progress.at))


def component_plan_row(plan: v1.ComponentPlan) -> ComponentPlanRow:
    changes = tuple(FieldChangeRow(each.field, each.before, each.after, each.source) for each in plan.changes)
    return ComponentPlanRow(plan.component, plan.action, plan.reason, changes)


def plan_row(node: str, service: str, answer: v1.PlanResponse) -> PlanRow:
    components = tuple(map(component_plan_row, answer.components))
    return PlanRow(node, service, answer.plan_id, components, tuple(answer.warnings), tuple(answer.losses))


def service_outcome_row(node: str, found: v1.ServiceOutcome) -> ServiceOutcomeRow:
    outcomes = tuple(map(outcome_row, found.outcomes))
    return ServiceOutcomeRow(node, found.service, outcomes, tuple(map(component_plan_row, found.pending)), found.error)


def operation_row(node: str, info: v1.OperationInfo) -> OperationRow:
    return OperationRow(
        node=node,
        id=info.id,
        service=info.service,
        component=info.component,
        kind=info.kind,
        caller=info.caller,
        started_at=_instant(info.started_at),
        ended_at=_instant(info.ended_at),
        state=info.state,
        step=info.step,
        message=info.message,
    )


def deploy_report(response: v1.DeployResponse) -> ReportRow:
    return _report(response, ReportRow(response.operation_id))


def recover_report(node: str, response: v1.RecoverResponse) -> ReportRow:
    return _report(response, ReportRow(response.operation_id, node, response.service))


def watch_report(node: str, operation: int, response: v1.WatchOperationResponse) -> ReportRow:
    row = ReportRow(str(operation))
    if response.is_set("operation"):
        return msgspec.structs.replace(row, info=operation_row(node, response.operation))
    return _report(response, row)


def _report(response: v1.DeployResponse | v1.RecoverResponse | v1.WatchOperationResponse, row: ReportRow) -> ReportRow:
    if response.is_set("outcome"):
        return msgspec.structs.replace(row, outcome=outcome_row(response.outcome))
    if response.is_set("progress"):
        return msgspec.structs.replace(row, progress=progress_row(response.progress))
    return row


def file_row(info: v1.FileInfo) -> FileRow:
    modified = _instant(info.modified_at)
    return FileRow(info.name, info.kind, info.size, octal(info.mode), info.owner, modified, info.target)


def octal(mode: int) -> str:
    """A file's mode as chmod takes it: 0640."""
    return f"{mode & 0o7777:04o}"


def prune_row(node: str, answer: v1.PruneImagesResponse, *, dry_run: bool) -> PruneRow:
    images = tuple(
        ImageRow(tuple(each.names), each.id, each.size, _instant(each.created_at), each.removed, each.reason)
        for each in answer.images
    )
    return PruneRow(node, dry_run, images, answer.bytes)


def node_row(status: v1.NodeStatusResponse) -> NodeRow:
    return NodeRow(
        node=status.node,
        mcpd_version=status.mcpd_version,
        podman_version=status.podman_version,
        started_at=_instant(status.started_at),
        services=status.services,
        components=status.components,
        operations_running=status.operations_running,
        disk_free_bytes=status.disk_free_bytes,
        disk_total_bytes=status.disk_total_bytes,
        memory_available_bytes=status.memory_available_bytes,
        memory_total_bytes=status.memory_total_bytes,
        load_average=status.load_average,
        cpus=status.cpus,
        certificate_expires_at=_instant(status.certificate_expires_at),
        links=tuple(LinkRow(each.name, each.ok, each.detail, _instant(each.since)) for each in status.links),
    )


def _word(kind: type[v1.DesiredState] | type[v1.ObservedState] | type[v1.Result], value: int) -> str:
    """An enum's value in lower case; a newer agent's is shown by number rather than not at all."""
    try:
        return (kind(value).name or "").lower()
    except ValueError:
        return f"{kind.__name__}({value})"


def _instant(value: datetime) -> datetime | None:
    """betterproto reads an unset timestamp as 1970."""
    return None if value == _EPOCH else value
