"""The RPCs of the alert ledger."""

from __future__ import annotations

from datetime import UTC, datetime

from mcpd.errors import InvalidRequestError, RefusedError
from mcpd.model import Caller
from mcpd.registry.monitoring import MonitorLedger
from mcpd.rpc import convert
from mcpd.rpc.gate import Method
from protos.mcp import v1 as wire

_DEFAULT_ALERTS = 100


class AlertMethods:
    def __init__(self, node: str, ledger: MonitorLedger) -> None:
        self._node = node
        self._ledger = ledger

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "ListAlerts": self.list_alerts,
            "AckAlert": self.ack_alert,
            "SilenceAlert": self.silence_alert,
            "UnsilenceAlert": self.unsilence_alert,
        }

    async def unsilence_alert(self, request: wire.UnsilenceAlertRequest, caller: Caller) -> wire.UnsilenceAlertResponse:
        raise RefusedError("silences cannot be ended yet")

    async def list_alerts(self, request: wire.ListAlertsRequest, caller: Caller) -> wire.ListAlertsResponse:
        if request.service:
            convert.target(request.service, request.component)
        limit = convert.limit(request.limit, _DEFAULT_ALERTS)
        found = await self._ledger.alerts(request.service, request.component, open_only=request.open_only, limit=limit)
        silences = await self._ledger.silences(datetime.now(UTC))
        return wire.ListAlertsResponse(
            node=self._node,
            alerts=[convert.alert_info(each) for each in found],
            silences=[convert.silence_info(each) for each in silences if request.service in ("", each.service)],
        )

    async def ack_alert(self, request: wire.AckAlertRequest, caller: Caller) -> wire.AckAlertResponse:
        found = await self._ledger.acknowledge(request.id, caller.name, request.note)
        return wire.AckAlertResponse(alert=convert.alert_info(found))

    async def silence_alert(self, request: wire.SilenceAlertRequest, caller: Caller) -> wire.SilenceAlertResponse:
        target = convert.target(request.service, request.component)
        until = convert.instant(request.until)
        if until is None or until <= datetime.now(UTC):
            raise InvalidRequestError("a silence needs an end that is still to come")
        if not request.reason.strip():
            raise InvalidRequestError("a silence needs a reason, for whoever wonders at 3 a.m. why nothing came")
        made = await self._ledger.silence(target.service, target.component, until, request.reason, caller.name)
        return wire.SilenceAlertResponse(silence=convert.silence_info(made))
