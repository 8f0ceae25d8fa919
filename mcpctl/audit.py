"""What audit does: who called what on each node, and how it ended; with --follow, what is called from now on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from mcpctl import render
from mcpctl.client import READ_DEADLINE_S, agent
from mcpctl.config import Node, Settings
from mcpctl.errors import INTERRUPTED
from mcpctl.fanout import ask
from mcpctl.following import Follower, Printer, follow_all
from mcpctl.looking import LONG_AGO, Query
from mcpctl.output import View, listing
from mcpctl.rows import AuditRow, audit_row
from mcpctl.tables import Fit
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

DEFAULT_ENTRIES = 100
HEADERS = ("TIME", "NODE", "CALLER", "ROLE", "PEER", "METHOD", "TARGET", "STATUS", "TOOK")
# People read no faster, and a node writes its table four times a second.
_POLL_S = 1.0
# Of entries in one answer, while following.
_PAGE = 1000
# What following does itself, on each node, once a second.
_OWN_METHOD = "ListAudit"


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
        """Whether it is shown while following: that makes calls itself, which would never end."""
        if self.caller not in ("", entry.caller) or self.method not in ("", entry.method):
            return False
        return bool(self.method) or (entry.method, entry.status) != (_OWN_METHOD, "OK")


def audit(query: Query, wanted: Wanted) -> int:
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_audit(wanted.request())))
    rows = _in_order([[audit_row(answer.node, each) for each in answer.entries] for answer in found.answers])
    listing(rows, query.how, _CALLS, found.nothing("there are no such calls"))
    return found.status


def follow(query: Query, wanted: Wanted) -> int:
    """Ends with Ctrl-C, or when no node is left to follow. Raises CliError as `fanout.ask` does."""
    try:
        return asyncio.run(_follow(query, wanted))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _follow(query: Query, wanted: Wanted) -> int:
    settings = query.settings()
    found = await ask(settings, query.nodes, lambda stub: _list(stub, wanted))
    printer = Printer(query.how, _CALLS)
    printer.begin(_in_order([[audit_row(each.node, info) for info in each.entries] for each in found.answers]))
    if not found.answers:
        return found.status
    followers = [
        _Calls(settings, node, each.newest, wanted) for node, each in zip(found.answered, found.answers, strict=True)
    ]
    followers += [_Calls(settings, node, None, wanted) for node in found.unreachable]
    return await follow_all(followers, printer)


class _Listing(NamedTuple):
    node: str
    entries: list[v1.AuditInfo]
    # The place in the table from which on nothing was listed.
    newest: int


async def _list(stub: AgentServiceStub, wanted: Wanted) -> _Listing:
    # Asked first: what comes in between is in the listing, and told apart by its id.
    newest = await _newest(stub)
    answer = await stub.list_audit(wanted.request())
    return _Listing(answer.node, answer.entries, max([newest, *(each.id for each in answer.entries)]))


async def _newest(stub: AgentServiceStub) -> int:
    """The id of the newest call of all, 0 when there is none."""
    answer = await stub.list_audit(v1.ListAuditRequest(limit=1))
    return max((each.id for each in answer.entries), default=0)


class _Calls(Follower[AuditRow]):
    """Asks once a second for what came behind the last one seen."""

    def __init__(self, settings: Settings, node: Node, last: int | None, wanted: Wanted) -> None:
        super().__init__(settings, node, last)
        self._wanted = wanted

    async def _attempt(self, heard: asyncio.Queue[AuditRow]) -> None:
        async with agent(self._settings, self._node, deadline=READ_DEADLINE_S) as stub:
            while True:
                if not await self._poll(stub, heard):
                    await asyncio.sleep(_POLL_S)

    async def _poll(self, stub: AgentServiceStub, heard: asyncio.Queue[AuditRow]) -> bool:
        """Whether there is more at once."""
        if not self._last:
            listing = await _list(stub, self._wanted)
            await self._tell(listing.entries, heard)
            self._last = max(self._last or 0, listing.newest)
            return False
        answer = await stub.list_audit(v1.ListAuditRequest(limit=_PAGE, after_id=self._last))
        if not answer.entries:
            # Not even our own calls: a table that was restored, or that lost its end with the machine's power, counts
            # on from there. A connection that was made anew in between is not noticed otherwise.
            self._last = min(self._last, await _newest(stub))
        await self._tell(answer.entries, heard)
        return len(answer.entries) == _PAGE

    async def _tell(self, entries: Iterable[v1.AuditInfo], heard: asyncio.Queue[AuditRow]) -> None:
        for each in entries:
            if each.id <= (self._last or 0):
                continue
            if self._wanted.is_news(each):
                await heard.put(audit_row(self._node.name, each))
            self._last = each.id


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
