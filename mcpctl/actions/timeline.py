"""What timeline does: asks the nodes for the history of their components, and draws it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions.query import Query
from mcpctl.nodes.fanout import ask
from mcpctl.ui import history, render
from mcpctl.ui.cells import full_name
from mcpctl.ui.history import Cell, History, Window
from mcpctl.ui.output import names as print_names
from mcpctl.ui.output import structured
from mcpctl.ui.rows.alerts import alert_row
from mcpctl.ui.rows.changes import operation_row
from mcpctl.ui.rows.status import component_row, event_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# As much as a node gives in one answer.
_MOST = 10_000
# What each cell looks like: a block with a colour; and a sign, for whom there is no colour.
LOOK = {
    Cell.UP: ("█", "green", "="),
    Cell.COMPLETED: ("▄", "green", "+"),
    Cell.DOWN: ("█", "red", "X"),
    Cell.DOWN_A_WHILE: ("▄", "red", "x"),
    Cell.DEGRADED: ("█", "yellow", "~"),
    Cell.DEGRADED_A_WHILE: ("▄", "yellow", "-"),
    Cell.ORDERED: ("▄", "blue", "_"),
    Cell.STOPPED: ("█", "grey", "."),
    Cell.UNKNOWN: (" ", "", " "),
}
_DEPLOY, _ALERT = "v", "!"
# In every legend; the others are in one where they are in the picture.
_COMMON = (Cell.UP, Cell.DOWN, Cell.DEGRADED, Cell.STOPPED)
_UPTIME = 6
_GAP = "  "


class Timeline(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """What `timeline` prints as JSON."""

    start: datetime
    end: datetime
    components: list[History]


class _Told(NamedTuple):
    then: v1.GetStatusResponse
    since: v1.ListEventsResponse
    alerts: v1.ListAlertsResponse
    operations: v1.ListOperationsResponse


def timeline(query: Query, window: Window, width: int) -> int:
    """Lines of ``width`` characters at most. Raises CliError as `fanout.ask` does."""
    name = query.service()
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: _tell(stub, name, window), service=name))
    components = [each for answer in found.answers for each in _histories(answer, window)]
    components.sort(key=lambda each: (each.service, each.component, each.node))
    if query.json:
        structured(Timeline(*window, components), query.how, components)
    elif query.how.quiet:
        print_names(full_name(each.service, each.component) for each in components)
    elif components:
        _draw(components, window, width)
    elif nothing := found.nothing("no component existed in that time"):
        render.note(f"mcpctl: {nothing}")
    return found.status


async def _tell(stub: AgentServiceStub, service: str, window: Window) -> _Told:
    unknown: GRPCError | None = None
    try:
        then = await stub.get_status(v1.GetStatusRequest(service=service, limit=_MOST, at=window.start))
    except GRPCError as error:
        if error.status is not Status.NOT_FOUND:
            raise
        # Not there then; its events tell whether it ever was.
        unknown, then = error, v1.GetStatusResponse()
    since = await stub.list_events(v1.ListEventsRequest(service=service, since=window.start, limit=_MOST))
    if unknown and not since.events:
        raise unknown
    alerts = await stub.list_alerts(v1.ListAlertsRequest(service=service, limit=_MOST))
    operations = await stub.list_operations(v1.ListOperationsRequest(service=service, limit=_MOST))
    return _Told(then, since, alerts, operations)


def _histories(told: _Told, window: Window) -> list[History]:
    node = told.since.node
    then = [component_row(node, each) for service in told.then.services for each in service.components]
    events = [event_row(node, each) for each in told.since.events]
    alerts = [alert_row(node, each) for each in told.alerts.alerts]
    operations = [operation_row(node, each) for each in told.operations.operations]
    if told.then.warning:
        render.note(f"mcpctl: node {node}: {told.then.warning}")
    if len(events) >= _MOST:
        # What happened between the start and the first of these is not known, and neither are the states.
        render.note(
            f"mcpctl: node {node}: only the newest {_MOST} events are drawn; the time before them is left blank"
        )
        then = [msgspec.structs.replace(each, observed=history.UNKNOWN) for each in then]
    return history.histories(node, then, events, alerts, window, operations)


def _draw(components: Sequence[History], window: Window, width: int) -> None:
    several = len({each.node for each in components}) > 1
    names = [_name(each, several) for each in components]
    # A third of the line is for names.
    margin = min(max(map(len, ["TARGET", *names])), width // 3)
    columns = width - margin - _UPTIME - 2 * len(_GAP)
    lead = " " * margin + _GAP
    period = f"{render.moment(window.start)} to {render.moment(window.end)}"
    heading = period if len(period) <= columns else ""
    render.say((f"{'TARGET':{margin}}{_GAP}{heading:{columns}}{_GAP}{'UPTIME':>{_UPTIME}}", "bold"))
    drawn: set[Cell] = set()
    for name, each in zip(names, components, strict=True):
        if deploys := history.marked(each.marks, "deployed", _DEPLOY, window, columns):
            render.say(lead + deploys)
        cells = history.cells(each.segments, window, columns)
        drawn.update(cells)
        share = f"{history.percentage(each.uptime):>{_UPTIME}}"
        render.say(f"{_shortened(name, margin):{margin}}{_GAP}", *_runs(cells), f"{_GAP}{share}")
        if alerts := history.marked(each.marks, "alert", _ALERT, window, columns):
            render.say(lead, (alerts, "red"))
    render.say((lead + history.axis(window, columns)).rstrip())
    _draw_legend(legend(drawn), width)


def legend(drawn: Collection[Cell]) -> list[Cell]:
    """The cells that are explained below a picture which has those ``drawn``."""
    return [cell for cell in LOOK if cell in _COMMON or (cell in drawn and cell is not Cell.UNKNOWN)]


def _draw_legend(explained: Sequence[Cell], width: int) -> None:
    entries = [(_runs([cell])[0], str(cell)) for cell in explained]
    entries += [((_DEPLOY, ""), "deploy"), ((_ALERT, "red"), "alert")]
    line: list[tuple[str, str]] = []
    for sign, word in entries:
        entry = [(_GAP if line else "", ""), sign, (f" {word}", "")]
        if line and sum(len(text) for text, _ in line + entry) > width:
            render.say(*line)
            line, entry = [], entry[1:]
        line += entry
    render.say(*line)


def _name(each: History, several: bool) -> str:
    name = full_name(each.service, each.component)
    return f"{each.node}: {name}" if several else name


def _shortened(name: str, width: int) -> str:
    """Both ends tell more than the middle."""
    if len(name) <= width:
        return name
    tail = (width - 2) // 2
    return f"{name[: width - 2 - tail]}..{name[len(name) - tail :]}"


def _runs(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """The cells as text with colours, neighbours of one kind together."""
    blocks = "".join(block for block, _, _ in LOOK.values())
    in_blocks = render.colourful() and render.is_shown(blocks, sys.stdout)
    runs: list[tuple[str, str]] = []
    for cell in cells:
        block, colour, plain = LOOK[cell]
        sign = block if in_blocks else plain
        if runs and runs[-1][1] == colour:
            sign = runs.pop()[0] + sign
        runs.append((sign, colour))
    return runs
