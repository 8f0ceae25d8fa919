"""What `--follow` does: the listing, then what happens on each node as it happens, until Ctrl-C.

Each row is shown once. A node's place in its ledger is the id of the last row seen, so that what breaks is taken up
where it was. One task and one connection per node put rows on a queue, and one task prints them: a slow terminal slows
the nodes down, and a reader that goes away is not taken for a node that did.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from mcpctl.config import Node, Settings
from mcpctl.errors import FAILED, BusyError, CliError, UnreachableError
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.nodes.fanout import settled
from mcpctl.ui import output, render, table_layout
from mcpctl.ui.output import How, View
from protos.mcp.v1 import AgentServiceStub

# A daemon that restarts is back within a second or two; a node that is down for the night is asked twice a minute.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# A stub with a deadline has one for every call. A year is as good as none, and fits the eight digits of gRPC.
WITHOUT_END_S = 365 * 86400.0
# Rows that may wait for the terminal.
_AHEAD = 1000

R = TypeVar("R")
I = TypeVar("I")  # noqa: E741 -- an entry, as it comes off the wire


class Printer(Generic[R]):
    """The table, or each row as a program reads it: a line of JSON, an item of YAML, a name."""

    def __init__(self, how: How, view: View[R]) -> None:
        self._how = how
        self._view = view
        _, self._cells = view.columns(how)
        self._layout = table_layout.unbound(view.columns(how)[0], [])

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
        # It is said already that this one does not answer.
        self._is_out = last is None

    async def run(self, heard: asyncio.Queue[R]) -> None:
        """Puts its rows on ``heard``. Returns when the node refuses to be followed, having said so."""
        loop = asyncio.get_running_loop()
        wait = _FIRST_WAIT_S
        while True:
            since, last = loop.time(), self._last
            try:
                await self._attempt(heard)
                problem = f"node {self._node.name}: {self._node.address} closed the stream"
            except (UnreachableError, BusyError) as error:
                problem = str(error)
            except CliError as error:
                self._give_up(error)
                return
            # A stream that brought something, or lasted, was one: this is another outage, with its own line.
            if self._last != last or loop.time() - since > _LONGEST_WAIT_S:
                wait, self._is_out = _FIRST_WAIT_S, False
            if not self._is_out:
                render.note(f"mcpctl: {problem}; retrying")
                self._is_out = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _give_up(self, error: CliError) -> None:
        render.note(f"mcpctl: {error}; no longer followed")

    @abstractmethod
    async def _attempt(self, heard: asyncio.Queue[R]) -> None:
        """Follows until it ends or breaks; moves ``_last``. Raises CliError."""


async def follow_all(followers: Iterable[Follower[R]], printer: Printer[R]) -> int:
    """Until no node is left to follow. Returns the exit status."""
    heard: asyncio.Queue[R] = asyncio.Queue(_AHEAD)
    try:
        async with asyncio.TaskGroup() as group:
            await _show_until_over([group.create_task(each.run(heard)) for each in followers], printer, heard, group)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return FAILED


async def _show_until_over(
    following: Sequence[asyncio.Task[None]], printer: Printer[R], heard: asyncio.Queue[R], group: asyncio.TaskGroup
) -> None:
    printing = group.create_task(printer.show_all(heard))
    await asyncio.wait(following)
    await heard.join()
    printing.cancel()


# -- ledgers


class LedgerFollower(Follower[R], Generic[R, I]):
    """One node's ledger: what it lists, and over the same connection what comes behind that. ``I``: an entry of it.

    ``listed``: the rows that it had at first, or why it said nothing.
    """

    def __init__(self, settings: Settings, node: Node) -> None:
        super().__init__(settings, node, None)
        self.listed: asyncio.Future[list[R] | CliError] = asyncio.get_running_loop().create_future()

    @property
    def node(self) -> Node:
        return self._node

    async def _attempt(self, heard: asyncio.Queue[R]) -> None:
        now = asyncio.get_running_loop().time
        start, patience = now(), read_deadline()
        try:
            async with agent(self._settings, self._node, deadline=patience) as stub:
                async with asyncio.timeout_at(start + patience):
                    await self._catch_up(stub, heard)
                async for entry in self._stream(stub):
                    if not self._last:
                        # After 0 means "only new ones": an empty ledger's first entries may be older than the stream.
                        await self._catch_up(stub, heard)
                    await self._tell([entry], heard)
        except CliError as error:
            if isinstance(error, UnreachableError):
                error.waited_s = now() - start
            if not self.listed.done():
                self.listed.set_result(error)
            raise

    def _give_up(self, error: CliError) -> None:
        # Who was refused the listing is told by whoever waits for it.
        if self._last is not None:
            super()._give_up(error)

    async def _catch_up(self, stub: AgentServiceStub, heard: asyncio.Queue[R]) -> None:
        """Tells what the listing has when nothing of it was seen; else makes sure that our place is in this ledger."""
        if self._last:
            # A ledger that was restored from a snapshot counts on from there.
            self._last = min(self._last, await self._newest(stub))
            return
        entries, newest = await self._list(stub)
        if not newest:
            # It is empty, or of an older mcpd, which does not say. Asked before the listing: what comes in between is
            # in the listing, and told apart by its id.
            newest = await self._newest(stub)
            entries, _ = await self._list(stub) if newest else (entries, 0)
        if self.listed.done():
            await self._tell(entries, heard)
        else:
            self.listed.set_result([self._row(each) for each in entries])
        self._last = max([self._last or 0, newest, *map(self._id, entries)])

    async def _tell(self, entries: Iterable[I], heard: asyncio.Queue[R]) -> None:
        for each in entries:
            if self._id(each) <= (self._last or 0):
                continue
            if self._is_news(each):
                await heard.put(self._row(each))
            self._last = self._id(each)

    def _is_news(self, entry: I) -> bool:
        """Whether it is told while following."""
        return True

    @abstractmethod
    def _stream(self, stub: AgentServiceStub) -> AsyncIterator[I]:
        """What comes behind ``_last``, without an end. Raises CliError."""

    @abstractmethod
    async def _list(self, stub: AgentServiceStub) -> tuple[list[I], int]:
        """What was asked for, and the id of the newest entry of all; 0: there is none, or an older mcpd is silent."""

    @abstractmethod
    async def _newest(self, stub: AgentServiceStub) -> int:
        """The id of the newest entry of all; 0 when there is none."""

    @abstractmethod
    def _row(self, entry: I) -> R:
        """How it is shown."""

    @abstractmethod
    def _id(self, entry: I) -> int:
        """Its place in the ledger."""


async def follow_ledgers(
    followers: Sequence[LedgerFollower[R, I]], printer: Printer[R], in_order: Callable[[list[list[R]]], list[R]]
) -> int:
    """What the nodes list, in order, then what comes, until no node is left to follow. Returns the exit status.

    Raises CliError as `fanout.ask` does.
    """
    heard: asyncio.Queue[R] = asyncio.Queue(_AHEAD)
    try:
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(each.run(heard)) for each in followers]
            found = settled([(each.node, await each.listed) for each in followers])
            printer.begin(in_order(found.answers))
            if found.answers:
                await _show_until_over(following, printer, heard, group)
            for task in following:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return FAILED if found.answers else found.status
