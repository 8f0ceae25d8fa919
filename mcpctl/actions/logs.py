"""What logs does: the lines that components print, of several components and nodes in the order of their times.

Followed, a node that goes away is asked again from the last line of each component on, so that no line is lost and
none is shown twice.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TextIO

import msgspec

from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.errors import DONE, INTERRUPTED, PARTIAL, CliError, UnknownServiceError
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.nodes.fanout import ask_each, chosen, settled
from mcpctl.nodes.follow import WITHOUT_END_S, Follower, Printer, follow_all
from mcpctl.ui import output, render
from mcpctl.ui.output import How, Output, View
from protos.mcp import v1

# Lines of one node that wait for those of another one.
_AHEAD = 1000
# Of what a program prints a terminal gets text, tabs and colours (ECMA-48, SGR), and nothing that moves its cursor.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_RESET = "\x1b[0m"
_PREFIX_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


class LogRow(msgspec.Struct, frozen=True):
    """One line. ``line`` is as it was printed, bytes that are no UTF-8 replaced; ``stream`` is stdout or stderr."""

    node: str
    service: str
    component: str
    at: datetime
    stream: str
    line: str


class Wanted(msgspec.Struct, frozen=True):
    """Which lines. ``tail`` None: all of each component; else its last so many. ``run``: of a run, by its name."""

    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    run: str = ""


def logs(query: Query, wanted: Wanted) -> int:
    """Raises CliError."""
    settings, request = query.settings(), _request(query, wanted)
    nodes, status = _nodes(settings, query)
    printer = _Lines(query.how, timestamps=wanted.timestamps, several=len(nodes) > 1)
    try:
        return asyncio.run(_show(settings, nodes, request, printer)) or status
    except UnknownServiceError as error:
        asked = [each.name for each in nodes]
        raise definition.unknown(settings, request.service, error, asked, request.component) from None


def follow(query: Query, wanted: Wanted) -> int:
    """Ends with Ctrl-C, or when no node is left to follow. Raises CliError."""
    settings, request = query.settings(), _request(query, wanted)
    request.follow = True
    nodes, _ = _nodes(settings, query)
    printer = _Lines(query.how, timestamps=wanted.timestamps, several=len(nodes) > 1)
    kind = _RunLogs if wanted.run else _Logs
    try:
        status = asyncio.run(follow_all([kind(settings, each, request) for each in nodes], printer))
        return DONE if wanted.run else status
    except KeyboardInterrupt:
        return INTERRUPTED


def _request(query: Query, wanted: Wanted) -> v1.LogsRequest:
    service, component = query.service_and_component()
    request = v1.LogsRequest(service=service, component=component, tail=wanted.tail, run=wanted.run)
    if wanted.since:
        request.since = wanted.since
    return request


def _nodes(settings: Settings, query: Query) -> tuple[list[Node], int]:
    """Those that have the service: as its definition says, else as they say themselves."""
    service, _ = query.service_and_component()
    if not query.nodes and (settings.services_dir / f"{service}.toml").is_file():
        return [settings.usable_node(definition.load(settings, service).service.node)], DONE
    request = v1.ListServicesRequest(service=service)
    nodes = chosen(settings, query.nodes)
    said = asyncio.run(ask_each(settings, nodes, lambda stub, _: stub.list_services(request)))
    try:
        found = settled(said)
    except UnknownServiceError as error:
        raise definition.unknown(settings, service, error, [each.name for each in nodes]) from None
    return found.answered, found.status


async def _show(settings: Settings, nodes: Sequence[Node], request: v1.LogsRequest, printer: _Lines) -> int:
    """Everything that there is, merged: each node's lines come in order."""
    queues = [asyncio.Queue[LogRow | None](_AHEAD) for _ in nodes]
    problems: list[CliError] = []

    async def read(node: Node, queue: asyncio.Queue[LogRow | None]) -> None:
        try:
            async with agent(settings, node, deadline=read_deadline()) as stub:
                async for response in stub.logs(request, timeout=WITHOUT_END_S):
                    await queue.put(_row(node, request.service, response))
        except CliError as error:
            problems.append(error)
        await queue.put(None)

    async with asyncio.TaskGroup() as group:
        for node, queue in zip(nodes, queues, strict=True):
            group.create_task(read(node, queue))
        async for row in _merged(queues):
            printer.show(row)
    printer.flush()
    if len(problems) == len(nodes):
        raise problems[0]
    for error in problems:
        render.note(f"mcpctl: {error}")
    return PARTIAL if problems else DONE


async def _merged(queues: Sequence[asyncio.Queue[LogRow | None]]) -> AsyncIterator[LogRow]:
    heads = [await each.get() for each in queues]
    while waiting := [(row.at, index) for index, row in enumerate(heads) if row]:
        _, index = min(waiting)
        row = heads[index]
        heads[index] = await queues[index].get()
        assert row
        yield row


class _Logs(Follower[LogRow]):
    """One node's lines; what was seen of each component is the place from which it is asked again."""

    def __init__(self, settings: Settings, node: Node, request: v1.LogsRequest) -> None:
        super().__init__(settings, node, 0)
        self._request = request
        # By component: the time of its last line, and how many of its lines have that time.
        self._seen: dict[str, tuple[datetime, int]] = {}

    async def _attempt(self, heard: asyncio.Queue[LogRow]) -> None:
        # Where each component's lines were when the last attempt ended; what is asked for again begins before that.
        marks, skipped = dict(self._seen), Counter[str]()
        async with agent(self._settings, self._node, deadline=read_deadline()) as stub:
            async for response in stub.logs(self._again(), timeout=WITHOUT_END_S):
                row = _row(self._node, self._request.service, response)
                mark, count = marks.get(row.component, (row.at, 0))
                if row.at < mark or (row.at == mark and skipped[row.component] < count):
                    skipped[row.component] += row.at == mark
                    continue
                marks.pop(row.component, None)
                last, same = self._seen.get(row.component, (row.at, 0))
                self._seen[row.component] = (row.at, same + 1 if row.at == last else 1)
                self._last = (self._last or 0) + 1
                await heard.put(row)

    def _again(self) -> v1.LogsRequest:
        """The question: the first one, or for what comes after what was seen."""
        if not self._seen:
            return self._request
        since = min(at for at, _ in self._seen.values())
        return v1.LogsRequest(
            service=self._request.service, component=self._request.component, follow=True, since=since
        )


class _RunLogs(_Logs):
    """Of a run: it comes to an end, and nothing follows."""

    async def run(self, heard: asyncio.Queue[LogRow]) -> None:
        try:
            await self._attempt(heard)
        except CliError as error:
            self._give_up(error)


def _row(node: Node, service: str, response: v1.LogsResponse) -> LogRow:
    line = response.line.decode(errors="replace")
    return LogRow(node.name, service, response.component, response.at, response.stream, line)


class _Lines(Printer[LogRow]):
    """Lines with the component that they are of; or a line of JSON for each."""

    def __init__(self, how: How, *, timestamps: bool, several: bool) -> None:
        super().__init__(how, View((), lambda _: (), lambda _: ""))
        self._bare = how.quiet
        self._timestamps = timestamps
        self._several = several
        self._width = 0
        self._colours: dict[str, str] = {}
        self._coloured = render.colourful()
        self._text: Callable[[str], str] = _harmless if render.is_terminal(sys.stdout) else str
        self._out: TextIO = sys.stdout

    async def show_all(self, heard: asyncio.Queue[LogRow]) -> None:
        while True:
            row = await heard.get()
            self.show(row)
            if heard.empty():
                self.flush()
            heard.task_done()

    def show(self, row: LogRow) -> None:
        if self._how.structured:
            if self._how.output is Output.YAML:
                output.later(row, self._how)
            else:
                self._out.write(f"{render.json_line(row)}\n")
            return
        text = self._text(row.line.removesuffix("\r"))
        if self._bare:
            self._out.write(_encodable(f"{text}\n", self._out))
            return
        name = f"{row.node}/{row.component}" if self._several else row.component
        self._width = max(self._width, len(name))
        colour = self._colours.setdefault(name, _PREFIX_COLOURS[len(self._colours) % len(_PREFIX_COLOURS)])
        when = f"{render.moment(row.at)} " if self._timestamps else ""
        prefix = render.painted([(f"{when}{name:{self._width}} |", colour)], coloured=self._coloured)
        reset = _RESET if self._coloured and "\x1b" in text else ""
        self._out.write(_encodable(f"{prefix} {text}{reset}\n", self._out))

    def flush(self) -> None:
        self._out.flush()


def _harmless(text: str) -> str:
    """Text and colours; everything else that a terminal would act on becomes a blank."""
    pieces = _COLOUR.split(text)
    colours = [*_COLOUR.findall(text), ""]
    clean = ("".join(char if char.isprintable() or char == "\t" else " " for char in piece) for piece in pieces)
    shows = render.colourful()
    return "".join(piece + colour * shows for piece, colour in zip(clean, colours, strict=True))


def _encodable(text: str, out: TextIO) -> str:
    """A terminal of another encoding gets what it can show."""
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
