"""What `mcpctl events` does: lists what happened on the nodes, and with --follow what happens from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.errors import INTERRUPTED
from mcpctl.nodes.fanout import ask, chosen
from mcpctl.nodes.follow import WITHOUT_END_S, LedgerFollower, Printer, follow_ledgers
from mcpctl.ui.cells import EVENT_HEADERS, LONG_AGO, event_cells
from mcpctl.ui.output import View, listing
from mcpctl.ui.rows.status import EventRow, event_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

DEFAULT_EVENTS = 100
EVENTS: View[EventRow] = View(
    EVENT_HEADERS,
    event_cells,
    lambda row: str(row.id),
    ("ID",),
    lambda row: (str(row.id),),
    Fit(spare=("BY",)),
)


def events(
    query: Query, *, since: datetime | None = None, until: datetime | None = None, limit: int = DEFAULT_EVENTS
) -> int:
    request = events_request(query, since=since, until=until, limit=limit)
    found = asyncio.run(
        ask(query.settings(), query.nodes, lambda stub: stub.list_events(request), service=request.service)
    )
    rows = in_order([[event_row(answer.node, each) for each in answer.events] for answer in found.answers])
    listing(rows, query.how, EVENTS, found.nothing("no events found"))
    return found.status


def events_request(
    query: Query, *, since: datetime | None = None, until: datetime | None = None, limit: int = DEFAULT_EVENTS
) -> v1.ListEventsRequest:
    """Raises UsageError."""
    service, component = query.service_and_component()
    request = v1.ListEventsRequest(service=service, component=component, limit=limit)
    if since:
        request.since = since
    if until:
        request.until = until
    return request


def in_order(nodes: Sequence[list[EventRow]]) -> list[EventRow]:
    """The events of several nodes as one list, oldest first."""
    rows = [row for each in nodes for row in each]
    # Within a node the ledger's order stands (sorting is stable); between nodes there are only the clocks.
    return sorted(rows, key=lambda row: row.at or LONG_AGO) if len(nodes) > 1 else rows


def follow(query: Query, *, since: datetime | None = None, limit: int = DEFAULT_EVENTS) -> int:
    """Ends with Ctrl-C, or when no node is left to follow. Raises CliError as `fanout.ask` does."""
    try:
        return asyncio.run(_follow(query, events_request(query, since=since, limit=limit)))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _follow(query: Query, request: v1.ListEventsRequest) -> int:
    settings = query.settings()
    followers = [_Events(settings, node, request) for node in chosen(settings, query.nodes)]
    return await follow_ledgers(followers, Printer(query.how, EVENTS), in_order)


class _Events(LedgerFollower[EventRow, v1.EventInfo]):
    def __init__(self, settings: Settings, node: Node, request: v1.ListEventsRequest) -> None:
        super().__init__(settings, node)
        self._request = request

    async def _stream(self, stub: AgentServiceStub) -> AsyncIterator[v1.EventInfo]:
        request = v1.WatchEventsRequest(
            service=self._request.service, component=self._request.component, after_id=self._last or 0
        )
        async for response in stub.watch_events(request, timeout=WITHOUT_END_S):
            yield response.event

    async def _list(self, stub: AgentServiceStub) -> tuple[list[v1.EventInfo], int]:
        answer = await stub.list_events(self._request)
        return answer.events, answer.newest_id

    async def _newest(self, stub: AgentServiceStub) -> int:
        answer = await stub.list_events(v1.ListEventsRequest(limit=1))
        return max([answer.newest_id, *(each.id for each in answer.events)])

    def _row(self, entry: v1.EventInfo) -> EventRow:
        return event_row(self._node.name, entry)

    def _id(self, entry: v1.EventInfo) -> int:
        return entry.id
