"""How plans, operations and what came of them are printed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant, word
from protos.mcp import v1


class OutcomeRow(msgspec.Struct, frozen=True):
    component: str
    result: str
    message: str


class ProgressRow(msgspec.Struct, frozen=True):
    component: str
    step: str
    message: str
    at: datetime | None


class FieldChangeRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """``before`` or ``after`` empty: not set. ``diff``: how a text of many lines differs, which they only name."""

    field: str
    before: str
    after: str
    source: str
    diff: str = ""


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


class RevisionComponentRow(msgspec.Struct, frozen=True):
    component: str
    image: str
    version: str


class RevisionRow(msgspec.Struct, frozen=True):
    """``is_current``: the newest. ``caller`` empty: it ran before revisions were kept. ``restores`` 0: no rollback."""

    node: str
    service: str
    number: int
    at: datetime | None
    caller: str
    restores: int
    is_current: bool
    components: tuple[RevisionComponentRow, ...]


class ReportRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the last three, from an operation that is followed; node and service where there may be several."""

    operation: str
    node: str = ""
    service: str = ""
    info: OperationRow | None = None
    progress: ProgressRow | None = None
    outcome: OutcomeRow | None = None


def outcome_row(outcome: v1.ComponentOutcome) -> OutcomeRow:
    return OutcomeRow(outcome.component, word(v1.Result, outcome.result), outcome.message)


def progress_row(progress: v1.Progress) -> ProgressRow:
    return ProgressRow(progress.component, progress.step, progress.message, instant(progress.at))


def component_plan_row(plan: v1.ComponentPlan) -> ComponentPlanRow:
    changes = tuple(
        FieldChangeRow(each.field, each.before, each.after, each.source, each.diff) for each in plan.changes
    )
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
        started_at=instant(info.started_at),
        ended_at=instant(info.ended_at),
        state=info.state,
        step=info.step,
        message=info.message,
    )


def revision_rows(service: str, answer: v1.ListRevisionsResponse) -> list[RevisionRow]:
    return [
        RevisionRow(
            node=answer.node,
            service=service,
            number=each.number,
            at=instant(each.at),
            caller=each.caller,
            restores=each.restores,
            is_current=index == 0,
            components=tuple(RevisionComponentRow(one.name, one.image, one.version) for one in each.components),
        )
        for index, each in enumerate(answer.revisions)
    ]


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
