"""The RPCs of the alert ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from mcpd.errors import InvalidRequestError
from mcpd.model import Caller
from mcpd.registry.monitoring import MonitorLedger
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from monitor.ports import Silence
from protos.mcp import v1 as wire

_DEFAULT_ALERTS = 100


class AlertMethods:
    """``look_again``: has every component judged anew, at once."""

    def __init__(self, node: str, ledger: MonitorLedger, look_again: Callable[[], Awaitable[None]]) -> None:
        self._node = node
        self._ledger = ledger
        self._look_again = look_again

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "ListAlerts": self.list_alerts,
            "AckAlert": self.ack_alert,
            "SilenceAlert": self.silence_alert,
            "UnsilenceAlert": self.unsilence_alert,
        }

    async def list_alerts(self, request: wire.ListAlertsRequest, caller: Caller) -> wire.ListAlertsResponse:
        if request.service:
            convert.target(request.service, request.component)
        limit = convert.limit(request.limit, _DEFAULT_ALERTS)
        found = await self._ledger.alerts(request.service, request.component, open_only=request.open_only, limit=limit)
        silences = await self._ledger.silences(datetime.now(UTC))
        return wire.ListAlertsResponse(
            node=self._node,
            alerts=[convert.alert_info(each, silences) for each in found],
            silences=[convert.silence_info(each) for each in silences if request.service in ("", each.service)],
        )

    async def ack_alert(self, request: wire.AckAlertRequest, caller: Caller) -> wire.AckAlertResponse:
        found = await self._ledger.acknowledge(request.id, caller.name, request.note)
        silences = await self._ledger.silences(datetime.now(UTC))
        return wire.AckAlertResponse(alert=convert.alert_info(found, silences))

    async def silence_alert(self, request: wire.SilenceAlertRequest, caller: Caller) -> wire.SilenceAlertResponse:
        target = convert.target(request.service, request.component)
        until = convert.instant(request.until)
        if until is None or until <= datetime.now(UTC):
            raise InvalidRequestError("a silence needs an end in the future")
        if not request.reason.strip():
            raise InvalidRequestError("a silence needs a reason, for whoever wonders later why no alert came")
        made = await self._ledger.silence(target.service, target.component, until, request.reason, caller.name)
        return wire.SilenceAlertResponse(silence=convert.silence_info(made))

    async def unsilence_alert(self, request: wire.UnsilenceAlertRequest, caller: Caller) -> wire.UnsilenceAlertResponse:
        now = datetime.now(UTC)
        if request.id and (request.service or request.component):
            raise InvalidRequestError("name a silence by its id, or by its service and component; not by both")
        if request.id:
            ended: Sequence[Silence] = [await self._ledger.end_silence(request.id, now)]
        else:
            target = convert.target(request.service, request.component)
            ended = await self._ledger.end_silences(target.service, target.component, now)
        # What was kept quiet and is open still is told now; nothing else would wake the monitor for it.
        await self._look_again()
        return wire.UnsilenceAlertResponse(silences=[convert.silence_info(each) for each in ended])
