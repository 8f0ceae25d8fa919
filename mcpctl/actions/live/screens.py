"""The screens of `--watch`: views of nodes become lines for a terminal of some size. Pure functions.

A table that is too wide loses its least important columns, then the ends of its widest cells; one that is too long ends
with "and 7 more". What a node told before it went away is grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from mcpctl.actions.live.fleet_state import NodeView, Used
from mcpctl.ui import render
from mcpctl.ui.cells import LONG_AGO, full_name, state
from mcpctl.ui.rows.alerts import AlertRow
from mcpctl.ui.rows.status import ComponentRow, EventRow
from mcpctl.ui.text_width import Line, clipped, columns, fitted

EVENTS = 5
_GAP = "  "
# A shortened cell still says something.
_NARROWEST = 4
_CPU_WIDTH = 6
_STALE = "grey"


class Column(NamedTuple):
    """``rank``: who goes first where there is no room, the highest; 0: never.

    ``least``: it may become as narrow as this before another one goes; 0: as its widest cell.
    """

    header: str
    rank: int = 0
    least: int = 0


# Cells with their colours.
Row = tuple[tuple[str, str], ...]


class Section(NamedTuple):
    """A table of a screen. ``floor`` of its rows stay as long as another section has more than its own floor."""

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    floor: int


# Of the views, the time, and the width and height of the terminal.
View = Callable[[Sequence[NodeView], datetime, int, int], list[Line]]

_PS = (
    Column("NODE", 4),
    Column("SERVICE"),
    Column("COMPONENT"),
    Column("CONTAINER", 6),
    Column("VERSION", 5),
    Column("STATE"),
    Column("UP", 3),
    Column("CPU".rjust(_CPU_WIDTH)),
    Column("MEM", 2),
    Column("PORTS", 7, least=10),
)
_STATUS = (
    Column("SERVICE"),
    Column("COMPONENT"),
    Column("NODE", 3),
    Column("VERSION", 5),
    Column("DESIRED", 4),
    Column("STATE"),
    Column("FOR", 2),
    Column("DRIFT", 1, least=10),
)
_ALERTS = (
    Column("OPEN ALERT"),
    Column("TARGET"),
    Column("NODE", 3),
    Column("FOR", 2),
    Column("REASON", 1, least=10),
)
_EVENTS = (
    Column("TIME"),
    Column("TARGET"),
    Column("NODE", 3),
    Column("EVENT"),
    Column("DETAIL", 1, least=10),
)


# -- the views


def status_view(views: Sequence[NodeView], now: datetime, width: int, height: int) -> list[Line]:
    """Who drifts first; then what is as it should be, and the open alerts and last events of all nodes."""
    components = [(each, row) for each in views for row in each.components]
    components.sort(key=lambda found: (not found[1].drift, found[1].service, found[1].component))
    alerts = [(each, row) for each in views for row in each.alerts]
    alerts.sort(key=lambda found: found[1].opened_at or LONG_AGO, reverse=True)
    events = [(each, row) for each in views for row in each.events]
    events.sort(key=lambda found: found[1].at or LONG_AGO)
    sections = [
        Section(_STATUS, [greyed(node, status_cells(row, now)) for node, row in components], 3),
        Section(_ALERTS, [greyed(node, alert_cells(row, now)) for node, row in alerts], 2),
        Section(_EVENTS, [greyed(node, event_cells(row)) for node, row in events[-EVENTS:]], 2),
    ]
    drifting = sum(bool(row.drift) for _, row in components)
    told = open_alerts([row for _, row in alerts])
    counts = [f"{drifting} drifting", told, _count(len(components), "component")]
    return screen("mcpctl status", counts, views, sections, now, width, height)


def ps_view(views: Sequence[NodeView], now: datetime, width: int, height: int) -> list[Line]:
    """Containers with what they use."""
    containers = [(each, row) for each in views for row in each.containers]
    # What nobody declared comes last.
    containers.sort(key=lambda found: (not found[1].service, found[1].service, found[1].component, found[1].container))
    rows = [greyed(node, ps_cells(row, node.used.get(row.container_id), now)) for node, row in containers]
    running = sum(bool(row.pid) for _, row in containers)
    counts = [f"{running} running", _count(len(containers), "container")]
    return screen("mcpctl ps", counts, views, [Section(_PS, rows, 3)], now, width, height)


def screen(
    title: str,
    counts: Sequence[str],
    views: Sequence[NodeView],
    sections: Sequence[Section],
    now: datetime,
    width: int,
    height: int,
) -> list[Line]:
    """At most ``height`` lines, each narrower than ``width``."""
    # A terminal moves on to the next line when the last column is written, and not all do so at the same moment.
    room = max(0, width - 1)
    when = f"{now.astimezone():%H:%M:%S}"
    lines: list[Line] = [[(title, "bold"), (f"{_GAP}{when}{_GAP}{', '.join(counts)}", "")]]
    troubles = [found for each in views if (found := trouble(each, now))]
    # Half of a small screen is for what is known.
    lines += _some(troubles, max(1, height // 2))
    shares = _shares(sections, height - len(lines))
    for section, share in zip(sections, shares, strict=True):
        if share:
            lines += [[]] if section is not sections[0] else []
            lines += table(section.columns, section.rows, share, room)
    return [clipped(line, room) for line in lines[: max(1, height)]]


def trouble(view: NodeView, now: datetime) -> Line:
    """What is to be said of a node beside its rows; empty when there is nothing."""
    if view.is_refused:
        return [(f"{view.problem}; no longer polled", "red")]
    if view.lost_at:
        since = f"{view.lost_at.astimezone():%H:%M:%S} ({render.age(view.lost_at, now)})"
        return [(f"node {view.node}: unreachable since {since}", "red"), (f": {_reason(view)}", _STALE)]
    if view.is_awaited:
        return [(f"node {view.node}: connecting", _STALE)]
    if view.unknown:
        return [(f"node {view.node}: {view.unknown}", "yellow")]
    if view.warning:
        return [(f"node {view.node}: {view.warning}", "yellow")]
    return []


def _reason(view: NodeView) -> str:
    return view.problem.removeprefix(f"node {view.node}: ")


def open_alerts(rows: Sequence[AlertRow]) -> str:
    """How many there are, and how many of these a silence keeps quiet: 3 open alerts (1 silenced)."""
    silenced = sum(row.is_silenced for row in rows)
    return _count(len(rows), "open alert") + (f" ({silenced} silenced)" if silenced else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# -- cells


def status_cells(row: ComponentRow, now: datetime) -> Row:
    lasting = render.age(row.started_at if row.pid else row.finished_at, now)
    shown = state(row)
    drift = (row.drift, "red" if row.drift else "")
    plain = [(text, "") for text in (row.service, row.component, row.node, row.version, row.desired)]
    return (*plain, (shown, _state_colour(row)), (lasting, ""), drift)


def ps_cells(row: ComponentRow, used: Used | None, now: datetime) -> Row:
    up = render.age(row.started_at, now) if row.pid else ""
    names = [row.node, row.service or "-", row.component or "-", row.container, row.version]
    uses = [up, cpu(used).rjust(_CPU_WIDTH), memory(used), " ".join(row.ports)]
    return (*((text, "") for text in names), (state(row), _state_colour(row)), *((text, "") for text in uses))


def cpu(used: Used | None) -> str:
    """Of one CPU; "-" while it is not known."""
    return "-" if used is None or used.percent is None else f"{used.percent:.1f}%"


def memory(used: Used | None) -> str:
    if used is None:
        return "-"
    limit = f" / {render.size(used.memory_limit)}" if used.memory_limit else ""
    return f"{render.size(used.memory)}{limit}"


def alert_cells(row: AlertRow, now: datetime) -> Row:
    # First, so that it is not what is cut.
    silenced = f"silenced until {_clock(row.silenced_until, now)}: " if row.is_silenced else ""
    reason = silenced + (f"{row.reason} (acked by {row.acked_by})" if row.acked_by else row.reason)
    colour = "" if row.acked_by or row.is_silenced else "red"
    subject = full_name(row.service, row.component) or "the node"
    return ((row.kind, colour), (subject, ""), (row.node, ""), (render.age(row.opened_at, now), ""), (reason, ""))


def _clock(when: datetime | None, now: datetime) -> str:
    """A time; with its day when that is another one."""
    if when is None:
        return ""
    local = when.astimezone()
    return f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local:%m-%d %H:%M}"


def event_cells(row: EventRow) -> Row:
    when = f"{row.at.astimezone():%H:%M:%S}" if row.at else ""
    detail = " ".join(filter(None, (f"by {row.caller}" if row.caller else "", row.message)))
    subject = full_name(row.service, row.component)
    return ((when, ""), (subject, ""), (row.node, ""), (row.kind, render.state_colour(row.kind)), (detail, ""))


def _state_colour(row: ComponentRow) -> str:
    return render.state_colour(state(row))


def greyed(view: NodeView, row: Row) -> Row:
    """A row of a node as it is shown: in grey, where the node told it before it went away."""
    return tuple((text, _STALE) for text, _ in row) if view.lost_at else row


# -- tables that fit


def table(headers: Sequence[Column], rows: Sequence[Row], most: int, room: int) -> list[Line]:
    """At most ``most`` rows below a line of headers, each at most ``room`` columns wide."""
    cells = [tuple((render.one_line(text), colour) for text, colour in row) for row in rows]
    wanted = [max([columns(each.header), *(columns(row[i][0]) for row in cells)]) for i, each in enumerate(headers)]
    # A column without a word in it is none.
    kept = [index for index in range(len(headers)) if not cells or any(row[index][0].strip() for row in cells)]
    kept = _kept(headers, wanted, kept, room)
    widths = _narrowed(headers, [wanted[index] for index in kept], kept, room)
    lines = [_line([(headers[index].header, "bold") for index in kept], widths)]
    return lines + _some([_line([row[index] for index in kept], widths) for row in cells], most)


def _kept(headers: Sequence[Column], wanted: Sequence[int], kept: Sequence[int], room: int) -> list[int]:
    """The columns for which there is room."""
    left = list(kept)
    while True:
        needed = sum(min(wanted[index], headers[index].least or wanted[index]) for index in left)
        goers = [index for index in left if headers[index].rank]
        if needed + len(_GAP) * (len(left) - 1) <= room or not goers:
            return left
        left.remove(max(goers, key=lambda index: headers[index].rank))


def _narrowed(headers: Sequence[Column], widths: list[int], kept: Sequence[int], room: int) -> list[int]:
    """Widths that fit: those that may become narrow do, then the widest."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    for place, index in enumerate(kept):
        if excess > 0 and headers[index].least:
            less = min(excess, max(0, widths[place] - headers[index].least))
            widths[place] -= less
            excess -= less
    while excess > 0 and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
        excess -= 1
    return widths


def _line(cells: Sequence[tuple[str, str]], widths: Sequence[int]) -> Line:
    line: Line = []
    for place, ((text, colour), width) in enumerate(zip(cells, widths, strict=True)):
        cell = fitted(text, width)
        shown = cell.rstrip()
        line.append((shown, colour))
        if place < len(widths) - 1:
            line.append((" " * (len(cell) - len(shown)) + _GAP, ""))
    return line


def _some(lines: Sequence[Line], most: int) -> list[Line]:
    if len(lines) <= most:
        return list(lines)
    shown = lines[: most - 1]
    return [*shown, [(f"and {len(lines) - len(shown)} more", "grey")]]


def _shares(sections: Sequence[Section], room: int) -> list[int]:
    """How many lines below its headers each section has; none of an empty one but the first."""
    shares = [len(each.rows) for each in sections]

    def excess() -> int:
        # Headers, and a blank line above all but the first.
        first = 1 + shares[0]
        return first + sum(2 + share for share in shares[1:] if share) - room

    # 1. The later ones down to their floors; 2. the first one down to its own; 3. the later ones are left out.
    for place in [*range(len(shares) - 1, 0, -1), 0]:
        shares[place] -= min(max(0, excess()), max(0, shares[place] - sections[place].floor))
    for place in range(len(shares) - 1, 0, -1):
        if excess() > 0:
            shares[place] = 0
    shares[0] = max(min(shares[0], 1), shares[0] - max(0, excess()))
    return shares
