"""What `--follow` does: the listing, then what happens on each node as it happens, until Ctrl-C.

Each row is shown once. A node's place in its ledger is the id of the last row seen, so that what breaks is taken up
where it was. One task per node puts rows on a queue and one prints them: a slow terminal slows the nodes down, and a
reader that goes away is not taken for a node that did.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from mcpctl import output, render, tables
from mcpctl.client import READ_DEADLINE_S, agent
from mcpctl.config import Node, Settings
from mcpctl.errors import FAILED, INTERRUPTED, BusyError, CliError, UnreachableError
from mcpctl.fanout import ask
from mcpctl.looking import DEFAULT_EVENTS, EVENTS, Query, events_request, in_order
from mcpctl.output import How, View
from mcpctl.rows import EventRow, event_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# A daemon that restarts is back within a second or two; a node that is down for the night is asked twice a minute.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# A stub with a deadline has one for every call. A year is as good as none, and fits the eight digits of gRPC.
WITHOUT_END_S = 365 * 86400.0
# Rows that may wait for the terminal.
_AHEAD = 1000

R = TypeVar("R")


class Printer(Generic[R]):
    """The table, or each row as a program reads it: a line of JSON, an item of YAML, a name."""

    def __init__(self, how: How, view: View[R]) -> None:
        self._how = how
        self._view = view
        _, self._cells = view.columns(how)
        self._layout = tables.unbound(view.columns(how)[0], [])

    def begin(self, rows: list[R]) -> None:
        if not self._how.structured and not self._how.quiet:
            self._layout = output.table(rows, self._how, self._view)
            rows = []
        for row in rows:
            self._one(row)
        sys.stdout.flush()

    async def show_all(self, heard: asyncio.Queue[R]) -> None:
        while True:
            self._one(await heard.get())
            heard.task_done()

    def _one(self, row: R) -> None:
        if self._how.structured:
            output.later(row, self._how)
        elif self._how.quiet:
            render.say(self._view.name(row))
            sys.stdout.flush()
        else:
            self._layout = render.later_row(self._cells(row), self._layout)


class Follower(ABC, Generic[R]):
    """One node. ``last`` is the id of the last row seen; 0: its ledger is empty; None: it was never reached."""

    def __init__(self, settings: Settings, node: Node, last: int | None) -> None:
        self._settings = settings
        self._node = node
        self._last = last
        # `ask` has said already that this one does not answer.
        self._is_out = last is None

    async def run(self, heard: asyncio.Queue[R]) -> None:
        """Puts its rows on ``heard``. Returns when the node refuses to be followed, having said so."""
        loop = asyncio.get_running_loop()
        wait = _FIRST_WAIT_S
        while True:
            since, last = loop.time(), self._last
            try:
                await self._attempt(heard)
                problem = f"node {self._node.name}: {self._node.address} ended the stream"
            except (UnreachableError, BusyError) as error:
                problem = str(error)
            except CliError as error:
                render.note(f"mcpctl: {error}; it is not followed any more")
                return
            # A stream that brought something, or lasted, was one: this is another outage, with its own line.
            if self._last != last or loop.time() - since > _LONGEST_WAIT_S:
                wait, self._is_out = _FIRST_WAIT_S, False
            if not self._is_out:
                render.note(f"mcpctl: {problem}; it is tried again")
                self._is_out = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    @abstractmethod
    async def _attempt(self, heard: asyncio.Queue[R]) -> None:
        """Follows until it ends or breaks; moves ``_last``. Raises CliError."""


async def follow_all(followers: Iterable[Follower[R]], printer: Printer[R]) -> int:
    """Until no node is left to follow. Returns the exit status."""
    heard: asyncio.Queue[R] = asyncio.Queue(_AHEAD)
    try:
        async with asyncio.TaskGroup() as group:
            printing = group.create_task(printer.show_all(heard))
            await asyncio.wait([group.create_task(each.run(heard)) for each in followers])
            await heard.join()
            printing.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return FAILED


# -- events


def events(query: Query, *, since: datetime | None = None, limit: int = DEFAULT_EVENTS) -> int:
    """Ends with Ctrl-C, or when no node is left to follow. Raises CliError as `fanout.ask` does."""
    try:
        return asyncio.run(_follow(query, events_request(query, since=since, limit=limit)))
    except KeyboardInterrupt:
        return INTERRUPTED


class _Listing(NamedTuple):
    node: str
    events: list[v1.EventInfo]
    # The place in the ledger from which on nothing was listed.
    newest: int


async def _follow(query: Query, request: v1.ListEventsRequest) -> int:
    settings = query.settings()
    found = await ask(settings, query.nodes, lambda stub: _list(stub, request))
    printer = Printer(query.how, EVENTS)
    printer.begin(in_order([[event_row(each.node, info) for info in each.events] for each in found.answers]))
    if not found.answers:
        return found.status
    followers = [
        _Events(settings, node, each.newest, request) for node, each in zip(found.answered, found.answers, strict=True)
    ]
    followers += [_Events(settings, node, None, request) for node in found.unreachable]
    return await follow_all(followers, printer)


async def _list(stub: AgentServiceStub, request: v1.ListEventsRequest) -> _Listing:
    # Asked first: what comes in between is in the listing, and told apart by its id.
    newest = await _newest(stub)
    answer = await stub.list_events(request)
    return _Listing(answer.node, answer.events, max([newest, *(each.id for each in answer.events)]))


async def _newest(stub: AgentServiceStub) -> int:
    """The id of the newest event of all, 0 when there is none."""
    answer = await stub.list_events(v1.ListEventsRequest(limit=1))
    return max((each.id for each in answer.events), default=0)


class _Events(Follower[EventRow]):
    """A stream; the listing again after each break."""

    def __init__(self, settings: Settings, node: Node, last: int | None, request: v1.ListEventsRequest) -> None:
        super().__init__(settings, node, last)
        self._request = request

    async def _attempt(self, heard: asyncio.Queue[EventRow]) -> None:
        async with agent(self._settings, self._node, deadline=READ_DEADLINE_S) as stub:
            await self._catch_up(stub, heard)
            request = v1.WatchEventsRequest(
                service=self._request.service, component=self._request.component, after_id=self._last or 0
            )
            async for response in stub.watch_events(request, timeout=WITHOUT_END_S):
                if not self._last:
                    # After 0 means "only new ones": an empty ledger's first events may be older than the stream.
                    await self._catch_up(stub, heard)
                await self._tell([response.event], heard)

    async def _catch_up(self, stub: AgentServiceStub, heard: asyncio.Queue[EventRow]) -> None:
        """Tells what the listing has when nothing of it was seen; else makes sure that our place is in this ledger."""
        if self._last:
            # A ledger that was restored from a snapshot counts on from there.
            self._last = min(self._last, await _newest(stub))
            return
        listing = await _list(stub, self._request)
        await self._tell(listing.events, heard)
        self._last = max(self._last or 0, listing.newest)

    async def _tell(self, infos: Iterable[v1.EventInfo], heard: asyncio.Queue[EventRow]) -> None:
        for info in infos:
            if info.id > (self._last or 0):
                await heard.put(event_row(self._node.name, info))
                self._last = info.id
