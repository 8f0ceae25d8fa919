"""Builders: what a node says of the changes that are made to it, and the definitions that ask for them."""

from pathlib import Path
from typing import Any

from protos.mcp import v1
from tests.support.agent import AT, WEB, Node

HEADERS = ["NODE", "SERVICE", "COMPONENT", "RESULT", "DETAIL"]
# Above the steps of a deploy: what to give to `attach` and `cancel`.
ANNOUNCED = "mcpctl: node rift: the deploy of web is operation 12"


def define(folder: Path, name: str, node: str = "rift") -> Path:
    path = folder / f"services/{name}.toml"
    path.write_text(WEB.replace("web", name).replace("rift", node))
    return path


def outcome(component: str = "api", result: v1.Result = v1.Result.REPLACED, message: str = "v1 -> v2") -> Any:
    return v1.ComponentOutcome(component, result, message)


def step(message: str = "pulling x:v1", name: str = "pull", component: str = "api") -> v1.Progress:
    return v1.Progress(component, name, message, AT)


def a_plan(*components: v1.ComponentPlan, warnings: tuple[str, ...] = ()) -> v1.PlanResponse:
    return v1.PlanResponse("p1", list(components), list(warnings))


def a_change(field: str = "image", before: str = "x:v1", after: str = "x:v2", source: str = "definition") -> Any:
    return v1.FieldChange(field, before, after, source)


REPLACED = v1.ComponentPlan(
    "api",
    "replace",
    "image changed",
    [a_change(), a_change("user", "", "0:0"), a_change("heal", "restart", "", "node")],
)


def reports(*events: Any, completed: bool = True) -> list[Any]:
    """A deploy's stream; what is no report is as the double takes it."""
    made = [_report(each) for each in events]
    return [*made, v1.DeployResponse("12", completed=v1.Completed())] if completed else made


def _report(event: Any) -> Any:
    if isinstance(event, v1.Progress):
        return v1.DeployResponse("12", progress=event)
    return v1.DeployResponse("12", outcome=event) if isinstance(event, v1.ComponentOutcome) else event


def service(name: str = "web", *outcomes: Any, pending: tuple[Any, ...] = (), error: str = "") -> v1.ServiceOutcome:
    return v1.ServiceOutcome(name, list(outcomes), list(pending), error)


def synced(node: Node, *services: v1.ServiceOutcome) -> None:
    node.agent.prepared["SyncRequest"] = v1.SyncResponse(list(services))


def purged(node: Node, *services: v1.ServiceOutcome) -> None:
    node.agent.prepared["PurgeRequest"] = v1.PurgeResponse(list(services))


def recovered(node: Node, *outcomes: Any, completed: bool = True) -> None:
    stream: list[Any] = [v1.RecoverResponse("7", "web", progress=step("creating web-api", "create"))]
    stream += [v1.RecoverResponse("7", "web", outcome=each) for each in outcomes]
    node.agent.prepared["RecoverRequest"] = stream + [v1.RecoverResponse(completed=v1.Completed())] * completed


def an_operation(number: int = 12, **values: Any) -> v1.OperationInfo:
    fields = {"service": "web", "component": "api", "kind": "deploy", "caller": "kyle", "started_at": AT}
    return v1.OperationInfo(**{"id": number, "state": "running", "step": "pull", **fields, **values})


def listed(node: Node, *operations: v1.OperationInfo) -> None:
    node.agent.prepared["ListOperationsRequest"] = v1.ListOperationsResponse(node.agent.node, list(operations))


def watched(node: Node, *events: Any, completed: bool = True) -> None:
    stream: list[Any] = [v1.WatchOperationResponse(operation=an_operation())]
    for each in events:
        field = {v1.Progress: "progress", v1.ComponentOutcome: "outcome"}.get(type(each))
        stream.append(v1.WatchOperationResponse(**{field: each}) if field else each)
    stream += [v1.WatchOperationResponse(completed=v1.Completed())] * completed
    node.agent.prepared["WatchOperationRequest"] = stream
