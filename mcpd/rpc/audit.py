"""The RPCs about callers: who one is, and who called what."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from mcpd.errors import RefusedError
from mcpd.model import Caller
from mcpd.registry.audit import AuditLog
from mcpd.rpc import convert
from mcpd.rpc.gate import Method
from protos.mcp import v1 as wire

_DEFAULT_ENTRIES = 100


class AuditMethods:
    def __init__(self, node: str, audit: AuditLog) -> None:
        self._node = node
        self._audit = audit

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListAudit": self.list_audit, "WatchAudit": self.watch_audit, "WhoAmI": self.who_am_i}

    async def watch_audit(
        self, request: wire.WatchAuditRequest, caller: Caller
    ) -> AsyncGenerator[wire.WatchAuditResponse, None]:
        if True:
            raise RefusedError("the audit log cannot be followed yet")
        yield wire.WatchAuditResponse()

    async def list_audit(self, request: wire.ListAuditRequest, caller: Caller) -> wire.ListAuditResponse:
        found = await self._audit.entries(
            since=convert.instant(request.since),
            caller=request.caller,
            method=request.method,
            after=request.after_id,
            limit=convert.limit(request.limit, _DEFAULT_ENTRIES),
        )
        return wire.ListAuditResponse(node=self._node, entries=[convert.audit_info(each) for each in found])

    async def who_am_i(self, request: wire.WhoAmIRequest, caller: Caller) -> wire.WhoAmIResponse:
        return convert.who_am_i(self._node, caller)
