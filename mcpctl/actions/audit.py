"""What audit does: who called what on each node, and how it ended; with --follow, what is called from now on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.errors import INTERRUPTED
from mcpctl.nodes.fanout import ask, chosen
from mcpctl.nodes.follow import WITHOUT_END_S, LedgerFollower, Printer, follow_ledgers
from mcpctl.ui import render
from mcpctl.ui.cells import LONG_AGO
from mcpctl.ui.output import View, listing
from mcpctl.ui.rows.access import AuditRow, audit_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

DEFAULT_ENTRIES = 100
HEADERS = ("TIME", "NODE", "CALLER", "ROLE", "PEER", "METHOD", "TARGET", "STATUS", "TOOK")
# Of a node that must be asked: people read no faster, and it writes its table four times a second.
_POLL_S = 1.0
# Of entries in one answer, while it is asked.
_PAGE = 1000
# What following does itself, on each node, and how that ends when it is not refused.
_OWN_METHODS = ("ListAudit", "WatchAudit")
_LET_IN = ("OK", "CANCELLED", "UNAVAILABLE")


class Wanted(msgspec.Struct, frozen=True):
    """Empty strings and None: all."""

    since: datetime | None = None
    caller: str = ""
    method: str = ""
    limit: int = DEFAULT_ENTRIES

    def request(self) -> v1.ListAuditRequest:
        request = v1.ListAuditRequest(caller=self.caller, method=self.method, limit=self.limit)
        if self.since:
            request.since = self.since
        return request

    def is_news(self, entry: v1.AuditInfo) -> bool:
        """Whether it is shown while following, which makes calls itself; where it has to ask, without an end."""
        if self.caller not in ("", entry.caller) or self.method not in ("", entry.method):
            return False
        return bool(self.method) or not (entry.method in _OWN_METHODS and entry.status in _LET_IN)


def audit(query: Query, wanted: Wanted) -> int:
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_audit(wanted.request())))
    rows = _in_order([[audit_row(answer.node, each) for each in answer.entries] for answer in found.answers])
    listing(rows, query.how, _CALLS, found.nothing("no calls found"))
    return found.status


def follow(query: Query, wanted: Wanted) -> int:
    """Ends with Ctrl-C, or when no node is left to follow. Raises CliError as `fanout.ask` does."""
    try:
        return asyncio.run(_follow(query, wanted))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _follow(query: Query, wanted: Wanted) -> int:
    settings = query.settings()
    followers = [_Calls(settings, node, wanted) for node in chosen(settings, query.nodes)]
    return await follow_ledgers(followers, Printer(query.how, _CALLS), _in_order)


class _Calls(LedgerFollower[AuditRow, v1.AuditInfo]):
    """A node whose mcpd has no stream of them is asked once a second for what came behind the last one seen."""

    def __init__(self, settings: Settings, node: Node, wanted: Wanted) -> None:
        super().__init__(settings, node)
        self._wanted = wanted

    async def _stream(self, stub: AgentServiceStub) -> AsyncIterator[v1.AuditInfo]:
        request = v1.WatchAuditRequest(self._wanted.caller, self._wanted.method, self._last or 0)
        try:
            async for response in stub.watch_audit(request, timeout=WITHOUT_END_S):
                yield response.entry
            return
        except GRPCError as error:
            if error.status is not Status.UNIMPLEMENTED:
                raise
        while True:
            page = await self._page(stub)
            for each in page:
                yield each
            if len(page) < _PAGE:
                await asyncio.sleep(_POLL_S)

    async def _page(self, stub: AgentServiceStub) -> list[v1.AuditInfo]:
        if not self._last:
            return (await self._list(stub))[0]
        answer = await stub.list_audit(v1.ListAuditRequest(limit=_PAGE, after_id=self._last))
        if not answer.entries:
            # Not even our own calls: a table that was restored, or that lost its end with the machine's power, counts
            # on from there. A connection that was made anew in between is not noticed otherwise.
            self._last = min(self._last, await self._newest(stub))
        return answer.entries

    async def _list(self, stub: AgentServiceStub) -> tuple[list[v1.AuditInfo], int]:
        answer = await stub.list_audit(self._wanted.request())
        return answer.entries, answer.newest_id

    async def _newest(self, stub: AgentServiceStub) -> int:
        answer = await stub.list_audit(v1.ListAuditRequest(limit=1))
        return max([answer.newest_id, *(each.id for each in answer.entries)])

    def _is_news(self, entry: v1.AuditInfo) -> bool:
        return self._wanted.is_news(entry)

    def _row(self, entry: v1.AuditInfo) -> AuditRow:
        return audit_row(self._node.name, entry)

    def _id(self, entry: v1.AuditInfo) -> int:
        return entry.id


def _in_order(nodes: list[list[AuditRow]]) -> list[AuditRow]:
    """As with events: within a node the ledger's order stands, between nodes there are only the clocks."""
    rows = [row for each in nodes for row in each]
    return sorted(rows, key=lambda row: row.at or LONG_AGO) if len(nodes) > 1 else rows


def _cells(row: AuditRow) -> tuple[str, ...]:
    who = row.caller or "-", row.role or "-", row.peer
    took = render.took(row.took_ms)
    return render.moment(row.at), row.node, *who, row.method, row.target or "-", row.status, took


_CALLS: View[AuditRow] = View(
    HEADERS,
    _cells,
    lambda row: str(row.id),
    ("ID",),
    lambda row: (str(row.id),),
    Fit(flows=("TARGET",), spare=("PEER", "ROLE", "TOOK")),
)
