"""An agent whose components run, use something, drift and print; for what shows them as they change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from protos.mcp import v1
from tests.support.agent import Agent, Node

STARTED = timedelta(hours=3)


class LiveAgent(Agent):
    """``components`` are its to change, by name; each burns ``percent`` of a CPU."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.components: dict[str, v1.ComponentInfo] = {}
        self.percent = 50.0
        self.alerts: list[v1.AlertInfo] = []
        self.lines: list[bytes] = []
        self.begun = datetime.now(UTC)

    def component(self, name: str, *, service: str = "web", **fields: Any) -> None:
        now = datetime.now(UTC)
        known: dict[str, Any] = {
            "desired": v1.DesiredState.RUNNING,
            "observed": v1.ObservedState.RUNNING,
            "container": f"{service}-{name}",
            "container_id": f"{service}{name}",
            "version": "v1",
            "pid": 4711,
            "started_at": now - STARTED,
            "ports": ["8443:8443"],
        }
        self.components[name] = v1.ComponentInfo(service=service, component=name, **(known | fields))

    def fail(self, name: str, drift: str = "it exited with 1") -> None:
        now = datetime.now(UTC)
        self.component(
            name, observed=v1.ObservedState.EXITED, exit_code=1, pid=0, drift=drift, started_at=now, finished_at=now
        )

    async def get_status(self, get_status_request: v1.GetStatusRequest) -> v1.GetStatusResponse:
        if answer := self._answer(get_status_request):
            return answer  # type: ignore[no-any-return]
        services: dict[str, list[v1.ComponentInfo]] = {}
        for each in self.components.values():
            if get_status_request.service in ("", each.service):
                services.setdefault(each.service, []).append(each)
        return v1.GetStatusResponse(
            self.node, [v1.ServiceInfo(name, self.node, True, infos) for name, infos in services.items()]
        )

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        if answer := self._answer(live_check_request):
            return answer  # type: ignore[no-any-return]
        now = datetime.now(UTC)
        for each in self.components.values():
            if each.pid and live_check_request.usage:
                each.usage = v1.Usage((now - self.begun) * self.percent / 100, 12 << 20, 64 << 20, 3, now)
        return v1.LiveCheckResponse(self.node, list(self.components.values()))

    async def list_alerts(self, list_alerts_request: v1.ListAlertsRequest) -> v1.ListAlertsResponse:
        return self._answer(list_alerts_request) or v1.ListAlertsResponse(self.node, self.alerts)

    async def ack_alert(self, ack_alert_request: v1.AckAlertRequest) -> v1.AckAlertResponse:
        self._answer(ack_alert_request)
        (alert,) = [each for each in self.alerts if each.id == ack_alert_request.id]
        alert.acked_by, alert.ack_note = "kyle", ack_alert_request.note
        return v1.AckAlertResponse(alert)

    async def logs(self, logs_request: v1.LogsRequest) -> AsyncIterator[v1.LogsResponse]:
        self._answer(logs_request)
        for line in self.lines:
            yield v1.LogsResponse("api", datetime.now(UTC), "stdout", line)
        if logs_request.follow:
            await asyncio.Event().wait()


def alive(node: Node) -> LiveAgent:
    """Has the node answer as a live one."""
    agent = LiveAgent(node.agent.node)
    node.cut(for_good=True)
    node.agent = agent
    node.listen()
    return agent


def an_event(number: int, kind: str = "exited", component: str = "api") -> v1.EventInfo:
    return v1.EventInfo(number, "web", component, datetime.now(UTC), kind, "code 1")


def an_alert(number: int = 7) -> v1.AlertInfo:
    return v1.AlertInfo(
        id=number,
        service="web",
        component="api",
        kind="down",
        reason="api is down",
        opened_at=datetime.now(UTC),
        delivery="delivered",
    )
