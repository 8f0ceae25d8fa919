"""Builders: what a node answers when it is asked for its status, alerts and events."""

from datetime import UTC, datetime, timedelta
from typing import Any

from protos.mcp import v1
from tests.support.agent import AT, Node


def an_alert(number: int = 7, **values: Any) -> v1.AlertInfo:
    defaults = {"id": number, "service": "web", "component": "api", "kind": "drift", "reason": "exited 137"}
    return v1.AlertInfo(**{**defaults, "opened_at": AT, "delivery": "sent", **values})


def prepare_alerts(node: Node, *alerts: v1.AlertInfo, silences: tuple[v1.SilenceInfo, ...] = ()) -> None:
    node.agent.prepared["ListAlertsRequest"] = v1.ListAlertsResponse(node.agent.node, list(alerts), list(silences))


def prepare_status(node: Node, *components: v1.ComponentInfo) -> None:
    service = v1.ServiceInfo("web", node.agent.node, True, list(components))
    node.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse(node.agent.node, [service])


def an_api(**values: Any) -> v1.ComponentInfo:
    defaults = {"service": "web", "component": "api", "desired": v1.DesiredState.RUNNING}
    return v1.ComponentInfo(**{**defaults, "observed": v1.ObservedState.RUNNING, **values})


def now() -> datetime:
    return datetime.now(UTC)


def an_event(number: int, kind: str, at: datetime = AT, **values: Any) -> v1.EventInfo:
    return v1.EventInfo(**{"id": number, "service": "web", "component": "api", "at": at, "kind": kind, **values})


def ago(hours: float) -> datetime:
    """A third into a slice, so that a slow machine moves nothing into another and what follows is the longer part."""
    return now() - timedelta(hours=hours) + timedelta(minutes=10)


def a_run(number: int = 12, **values: Any) -> v1.JobRun:
    """One that has succeeded after a minute."""
    defaults = {"id": number, "due_at": AT, "started_at": AT, "ended_at": AT + timedelta(minutes=1)}
    return v1.JobRun(**{**defaults, "state": "succeeded", "exit_status": 0, "caller": "mcpd", **values})


def a_job(*runs: v1.JobRun, **values: Any) -> v1.JobInfo:
    defaults = {"service": "web", "component": "backup", "schedule": "0 2 * * *", "timezone": "UTC", "active": True}
    return v1.JobInfo(**{**defaults, "next_at": AT + timedelta(days=1), "runs": list(runs), **values})


def prepare_jobs(node: Node, *jobs: v1.JobInfo) -> None:
    node.agent.prepared["ListJobsRequest"] = v1.ListJobsResponse(node.agent.node, list(jobs))
