"""The RPCs about callers: who one is, and who called what."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from mcpd.model import Caller
from mcpd.registry.audit import AuditLog
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from protos.mcp import v1 as wire

_DEFAULT_ENTRIES = 100
# Entries that a watcher is sent before the next are read: bounds what a slow one holds in memory.
_WATCH_BATCH = 200


class AuditMethods:
    def __init__(self, node: str, audit: AuditLog) -> None:
        self._node = node
        self._audit = audit

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListAudit": self.list_audit, "WatchAudit": self.watch_audit, "WhoAmI": self.who_am_i}

    async def watch_audit(
        self, request: wire.WatchAuditRequest, caller: Caller
    ) -> AsyncGenerator[list[wire.WatchAuditResponse], None]:
        entries = self._audit.follow(request.after_id, request.caller, request.method, _WATCH_BATCH)
        async with contextlib.aclosing(entries):
            async for batch in entries:
                yield [wire.WatchAuditResponse(entry=convert.audit_info(each)) for each in batch]

    async def list_audit(self, request: wire.ListAuditRequest, caller: Caller) -> wire.ListAuditResponse:
        # Asked first: what is written in between is in the answer, behind it.
        newest = await self._audit.newest()
        found = await self._audit.entries(
            since=convert.instant(request.since),
            caller=request.caller,
            method=request.method,
            after=request.after_id,
            limit=convert.limit(request.limit, _DEFAULT_ENTRIES),
        )
        entries = [convert.audit_info(each) for each in found]
        return wire.ListAuditResponse(node=self._node, entries=entries, newest_id=newest)

    async def who_am_i(self, request: wire.WhoAmIRequest, caller: Caller) -> wire.WhoAmIResponse:
        return convert.who_am_i(self._node, caller)
