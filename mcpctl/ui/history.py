"""The history of components as values: events become segments, segments become cells. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from mcpctl.ui.rows.alerts import AlertRow
from mcpctl.ui.rows.changes import OperationRow
from mcpctl.ui.rows.status import ComponentRow, EventRow

Row = TypeVar("Row", EventRow, AlertRow)

UNKNOWN = "unknown"
# Down, and meant to be.
STOPPED = "stopped"
# It was to run to its end, and has, well; or it is a job that has not run yet.
COMPLETED = "completed"
# Its container is made, and was never started.
_NEW = "created"
# The ledger's words for an end with status 0.
_ENDED_WELL = "exited 0"
_UP = frozenset({"running", "healthy"})
_DOWN = frozenset({"unhealthy", "exited", "removed"})
_DEGRADED = frozenset({"created", "paused", "restarting"})
_STATES = _UP | _DOWN | _DEGRADED | {COMPLETED, UNKNOWN}
# In these it is as it should be, unless somebody wants it stopped.
_GOOD = _UP | {COMPLETED}
# In these nothing runs, which may be on purpose.
_AT_REST = frozenset({"created", "exited", "removed", COMPLETED})
# A component is seen to be down a moment before the operation that stopped it is through, and written down.
_SETTLING = timedelta(seconds=5)
# What a deploy has replaced is removed when its successor runs and counts; each of many takes a moment.
_RETIRING = timedelta(minutes=1)
# Alerts that tell of an end of trouble mark none.
_GOOD_NEWS = "recovered"
# Operations of the daemon's own accord: what is down before or during one of them, nobody has ordered down.
_UNORDERED = frozenset({"heal", "boot"})
# What takes up this share of a cell is what the cell says; what is shorter is shown to be.
_MOST_OF = 0.5


class Window(NamedTuple):
    """From ``start`` up to ``end``, which is later."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def cell(self, at: datetime, width: int) -> int:
        """Which of ``width`` equal slices ``at`` falls into; the nearest for a time outside."""
        return min(max((at - self.start) * width // self.length, 0), width - 1)

    def begin(self, cell: int, width: int) -> datetime:
        """The first moment of a slice, so that ``self.cell(self.begin(n, width), width) == n``."""
        # Rounded up to the microsecond: rounded down it would be the last moment of the slice before.
        return self.start - (-self.length * cell // width)


class Change(NamedTuple):
    """Something that happened to a component: the state that it went into, or an operation."""

    at: datetime
    kind: str


class Span(NamedTuple):
    """The time that an operation was at work on something; ``component`` empty: on all of the service."""

    start: datetime
    end: datetime
    service: str
    component: str


class Segment(msgspec.Struct, frozen=True, omit_defaults=True, rename={"start": "from", "end": "to"}):
    """A time in one state: an observed one; ``stopped`` where it is down and meant to be; or ``completed``.

    ``ordered``: it did not run, or not well, since an operation was at work on it.
    """

    start: datetime
    end: datetime
    state: str
    ordered: bool = False


class Mark(msgspec.Struct, frozen=True):
    """``kind`` is ``deployed`` or ``alert``."""

    at: datetime
    kind: str
    detail: str


class History(msgspec.Struct, frozen=True):
    """One component over the window. ``uptime`` is a percentage; None when nothing is known."""

    node: str
    service: str
    component: str
    uptime: float | None
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]


class Cell(StrEnum):
    """What one character says of its slice of time. ``DOWN_A_WHILE``: for less than half of it."""

    UP = "up"
    COMPLETED = "completed"
    DOWN = "down"
    DOWN_A_WHILE = "briefly down"
    DEGRADED = "degraded"
    DEGRADED_A_WHILE = "briefly degraded"
    ORDERED = "down on request"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


# -- events to segments


def histories(
    node: str,
    then: Collection[ComponentRow],
    events: Collection[EventRow],
    alerts: Collection[AlertRow],
    window: Window,
    operations: Iterable[OperationRow] = (),
) -> list[History]:
    """The components of one node: how they were ``then``, at the window's start, and what happened since.

    ``operations`` say what of it was ordered.
    """
    spans = [
        Span(each.started_at, each.ended_at or window.end, each.service, each.component)
        for each in operations
        if each.started_at and each.kind not in _UNORDERED
    ]
    first = {(each.service, each.component): each for each in then}
    names = set(first) | {(each.service, each.component) for each in events if each.component}
    happened, told = _About(events), _About(alerts)
    return [
        _history(node, name, first.get(name), happened.of(*name), told.of(*name), window, spans)
        for name in sorted(names)
    ]


def _history(
    node: str,
    name: tuple[str, str],
    then: ComponentRow | None,
    events: Sequence[EventRow],
    alerts: Sequence[AlertRow],
    window: Window,
    spans: Sequence[Span],
) -> History:
    changes = [Change(each.at, COMPLETED if then and _rests(then, each) else each.kind) for each in events if each.at]
    observed = then.observed if then else UNKNOWN
    state = COMPLETED if then and (then.has_completed or (then.is_job and observed == _NEW)) else observed
    segments = fold(state, then is None or then.desired != "stopped", changes, window)
    segments = ordered(
        segments, [each for each in spans if each.service == name[0] and each.component in ("", name[1])]
    )
    marks = [Mark(each.at, "deployed", each.message) for each in events if each.at and each.kind == "deployed"]
    marks += [
        Mark(each.opened_at, "alert", each.reason) for each in alerts if each.opened_at and each.kind != _GOOD_NEWS
    ]
    inside = sorted((each for each in marks if window.start <= each.at < window.end), key=lambda mark: mark.at)
    return History(node, *name, uptime(segments), segments, tuple(inside))


def _rests(component: ComponentRow, event: EventRow) -> bool:
    """Whether what happened is a good end of what runs to its end, or makes a job whose time has not come."""
    has_ended_well = event.kind == "exited" and event.message == _ENDED_WELL
    return (component.desired == "completed" and has_ended_well) or (
        component.is_job and (has_ended_well or event.kind == _NEW)
    )


class _About(Generic[Row]):
    """Rows by what they are about, in their order."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: defaultdict[tuple[str, str], list[tuple[int, Row]]] = defaultdict(list)
        for position, row in enumerate(rows):
            self._rows[row.service, row.component].append((position, row))

    def of(self, service: str, component: str) -> list[Row]:
        """What names no component is about all of a service; what names no service either, about the node."""
        found = [each for key in ((service, component), (service, ""), ("", "")) for each in self._rows.get(key, ())]
        return [row for _, row in sorted(found, key=lambda each: each[0])]


def fold(state: str, wanted: bool, changes: Iterable[Change], window: Window) -> tuple[Segment, ...]:
    """Segments that cover the window without gap or overlap, neighbours in different states.

    ``state`` and ``wanted`` are what the component was at the start, and whether it should have run. ``changes`` come
    in the order of the ledger, which stands: where a clock was set back, what came later counts as having come at once.
    """
    observed = state if state in _STATES else UNKNOWN
    turns = [(window.start, _shown(observed, wanted))]
    for when, kind in _of_itself(observed, changes, window):
        since = when
        if kind in _STATES:
            observed = kind
            wanted = wanted or kind in _UP
        elif kind in ("started", "restarted"):
            wanted = True
        # A deploy ends when its component is as it is wanted. What rests then was deployed to rest.
        elif kind in ("stopped", "undeployed") or (kind == "deployed" and observed in _AT_REST - {COMPLETED}):
            wanted = False
            while turns and turns[-1][1] in _AT_REST and when - turns[-1][0] <= _SETTLING:
                since, _ = turns.pop()
        shown = _shown(observed, wanted)
        if not turns or shown != turns[-1][1]:
            turns.append((since, shown))
    return _joined(turns, window.end)


def _of_itself(observed: str, changes: Iterable[Change], window: Window) -> Iterator[Change]:
    """What happened to the component, and not to a container that it had before or never was."""
    was_deployed = observed != UNKNOWN
    was_reverted = False
    when = retiring = window.start
    for at, kind in changes:
        if at >= window.end:
            continue
        when = max(at, when)
        # 1. What a deploy replaced goes when its successor runs.
        if kind == "removed" and observed in _GOOD and when < retiring:
            continue
        if kind == "deployed":
            was_deployed, retiring = True, when + _RETIRING
        observed = kind if kind in _STATES else observed
        yield Change(when, kind)
        # 2. What a first deploy made, and took back, is not missing: there is no such component.
        was_reverted = (was_reverted or kind == "reverted") and not was_deployed
        if was_reverted and observed == "removed":
            observed = UNKNOWN
            yield Change(when, UNKNOWN)


def ordered(segments: Iterable[Segment], spans: Collection[Span]) -> tuple[Segment, ...]:
    """The same segments, with what an operation did to its component told apart: it began in one of the ``spans``.

    What goes on when the operation has ended is none of it: such a segment is divided there.
    """
    found: list[Segment] = []
    for each in segments:
        is_trouble = _cell(each.state) in (Cell.DOWN, Cell.DEGRADED)
        ends = [span.end for span in spans if span.start <= each.start <= span.end] if is_trouble else []
        if not ends:
            found.append(each)
        elif each.end <= max(ends) + _SETTLING:
            found.append(msgspec.structs.replace(each, ordered=True))
        else:
            found.append(Segment(each.start, max(ends), each.state, ordered=True))
            found.append(Segment(max(ends), each.end, each.state))
    return tuple(each for each in found if each.start < each.end)


def _shown(observed: str, wanted: bool) -> str:
    return STOPPED if observed in _AT_REST and not wanted else observed


def _joined(turns: Sequence[tuple[datetime, str]], end: datetime) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    ends = [when for when, _ in turns[1:]] + [end]
    for (start, state), until in zip(turns, ends, strict=True):
        if start == until:
            continue
        if segments and segments[-1].state == state:
            start = segments.pop().start
        segments.append(Segment(start, until, state))
    return tuple(segments)


# -- segments to numbers and cells


def uptime(segments: Iterable[Segment]) -> float | None:
    """The percentage of the known time in which it was running, healthy or completed; None when nothing is known."""
    up = known = timedelta()
    for each in segments:
        length = each.end - each.start
        known += length if each.state != UNKNOWN else timedelta()
        up += length if each.state in _GOOD else timedelta()
    return 100 * (up / known) if known else None


def percentage(value: float | None) -> str:
    """Six characters at most. Cut, not rounded: what was ever down does not show 100%."""
    if value is None:
        return "-"
    return "100%" if value == 100 else f"{int(value * 100) / 100:.2f}%"


def cells(segments: Iterable[Segment], window: Window, width: int) -> tuple[Cell, ...]:
    """``width`` cells. Trouble shows however short it was, and whether it was; otherwise what lasted longest."""
    lasting: list[dict[Cell, timedelta]] = [{} for _ in range(width)]
    for each in segments:
        kind = Cell.ORDERED if each.ordered else _cell(each.state)
        for index in range(window.cell(each.start, width), window.cell(each.end, width) + 1):
            length = min(each.end, window.begin(index + 1, width)) - max(each.start, window.begin(index, width))
            if length:
                lasting[index][kind] = lasting[index].get(kind, timedelta()) + length
    return tuple(map(_summary, lasting))


def _summary(lasting: dict[Cell, timedelta]) -> Cell:
    whole = sum(lasting.values(), timedelta())
    for trouble, short in ((Cell.DOWN, Cell.DOWN_A_WHILE), (Cell.DEGRADED, Cell.DEGRADED_A_WHILE)):
        if trouble in lasting:
            return trouble if lasting[trouble] >= _MOST_OF * whole else short
    if Cell.ORDERED in lasting:
        return Cell.ORDERED
    return max(lasting, key=lambda kind: lasting[kind], default=Cell.UNKNOWN)


def _cell(state: str) -> Cell:
    if state in _UP:
        return Cell.UP
    if state in _DOWN:
        return Cell.DOWN
    if state in _DEGRADED:
        return Cell.DEGRADED
    if state == COMPLETED:
        return Cell.COMPLETED
    return Cell.STOPPED if state == STOPPED else Cell.UNKNOWN


def marked(marks: Iterable[Mark], kind: str, sign: str, window: Window, width: int) -> str:
    """A line with ``sign`` above each cell in which something of ``kind`` is; "" when there is nothing."""
    line = [" "] * width
    for each in marks:
        if each.kind == kind:
            line[window.cell(each.at, width)] = sign
    return "".join(line).rstrip()


# -- the axis

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_STEPS = (
    *(timedelta(seconds=number) for number in (1, 2, 5, 10, 15, 30)),
    *(_MINUTE * number for number in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * number for number in (1, 2, 3, 6, 12)),
    *(_DAY * number for number in (1, 2, 7, 14, 30, 90, 365, 3650)),
)
# From the beginning of one label to the next: a time, its bar, and room to breathe.
_APART = 9


def axis(window: Window, width: int, local: Callable[[datetime], datetime] = datetime.astimezone) -> str:
    """``width`` characters at most, with ``local`` times at round moments; the start, where none of these fits."""
    step = next((each for each in _STEPS if each * width >= window.length * _APART), _STEPS[-1])
    form = "%m-%d" if step >= _DAY else "%H:%M" if step >= _MINUTE else "%H:%M:%S"
    if step >= 90 * _DAY:
        form = "%Y-%m-%d"
    line = ""
    midnight = local(window.start).replace(hour=0, minute=0, second=0, microsecond=0)
    tick = midnight + -(-(window.start - midnight) // step) * step
    while tick < window.end:
        place, label = window.cell(tick, width), f"|{local(tick).strftime(form)}"
        if len(line) < place + (not line) and place + len(label) <= width:
            line = line.ljust(place) + label
        tick += step
    start = f"|{local(window.start).strftime(form)}"
    return line or (start if len(start) <= width else "")
