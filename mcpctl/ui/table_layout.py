"""How a table fits a terminal: which columns it has there, how wide they are, and what goes on below. Pure functions.

Off a terminal, and with `--output wide`, a row is a line and nothing is cut (`UNBOUND`).
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mcpctl.ui.text_width import columns, cut, one_line, wrapped

GAP = "  "
# What a column of text keeps at least; and one whose text goes on below, first when others can go, then when none can.
_NARROWEST = 8
_FLOWING = 24
_FLOWING_TIGHT = 12
# Of a text that goes on below: what a program printed when it died, with what there is to say before and after.
_MOST_LINES = 14
_NUMBER = re.compile(r"[0-9 .:%/+-]*|([0-9]+[dhms])+|[0-9.]+ ([KMGT]i)?B|[0-9.]+ ms")
# As `render.moment` writes it.
_MOMENT = re.compile(r"([0-9]{4}-)[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


class Fit(NamedTuple):
    """What a table gives up on a terminal that is too narrow for it. Columns are named by their headers.

    ``flows``: whose text goes on in lines below; () is the last one. ``same``: without which it does where every row
    says the same. ``spare``: without which it does, the first of them first.
    """

    flows: tuple[str, ...] = ()
    same: tuple[str, ...] = ("NODE",)
    spare: tuple[str, ...] = ()


class Layout(NamedTuple):
    """The columns that are shown, by number, and their widths. ``room`` 0: there is no end to a line.

    ``flows``: those whose text goes on below, for ``most`` lines (0: all of them). ``year``: what times are shown
    without.
    """

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    room: int = 0
    flows: frozenset[int] = frozenset()
    most: int = 0
    year: str = ""


Rows = Sequence[Sequence[str]]


def is_number(cell: str) -> bool:
    """Whether it is a number, an age or a time: cut it would be another one."""
    return bool(_NUMBER.fullmatch(cell))


def unbound(headers: Sequence[str], rows: Rows) -> Layout:
    """Every column, as wide as its widest cell."""
    return Layout(tuple(range(len(headers))), tuple(_natural(headers, rows)))


def laid_out(headers: Sequence[str], rows: Rows, room: int, year: str, fit: Fit, *, whole: bool = False) -> Layout:
    """A layout that fits into ``room`` columns. ``year``: the present one. ``whole``: whatever goes on below is shown.

    What is given up, in this order: empty columns, the year of times, columns that say the same in every row, spare
    ones, the width of flowing text, the ends of other texts, and then columns from the right.
    """
    flows = frozenset(headers.index(name) for name in fit.flows or headers[-1:] if name in headers)
    # A column of numbers does not flow.
    flows = frozenset(index for index in flows if not all(is_number(row[index]) for row in rows) or not rows)
    everything = Layout(tuple(range(len(headers))), (), room, flows, 0 if whole else _MOST_LINES)
    for layout in _narrower(headers, rows, everything, year, fit):
        natural = _natural(headers, [_shortened(row, layout.year) for row in rows])
        if _needed(natural, layout, _FLOWING) <= room:
            return _spread(natural, layout, _FLOWING)
    if _needed(natural, layout, _FLOWING_TIGHT) <= room:
        return _spread(natural, layout, _FLOWING_TIGHT)
    fixed = [all(is_number(row[index]) for row in rows) for index in range(len(headers))]
    while True:
        widths = _squeezed(headers, natural, layout, fixed)
        goers = [index for index in layout.shown[1:] if index not in flows]
        if sum(widths) + len(GAP) * (len(widths) - 1) <= room or not goers:
            return layout._replace(widths=tuple(widths))
        layout = layout._replace(shown=tuple(index for index in layout.shown if index != goers[-1]))


def _narrower(headers: Sequence[str], rows: Rows, layout: Layout, year: str, fit: Fit) -> Iterator[Layout]:
    """The layout, and then ones that give up a little more each."""
    yield layout

    def without(goers: Sequence[int]) -> Layout:
        return layout._replace(shown=tuple(each for each in layout.shown if each not in goers))

    # The first column says what a row is about.
    later = range(1, len(headers))
    if rows:
        layout = without([index for index in later if not any(row[index] for row in rows)])
        yield layout
    if all(not (found := _MOMENT.fullmatch(cell)) or found[1] == year for row in rows for cell in row):
        layout = layout._replace(year=year)
        yield layout
    for name in fit.same:
        if name in headers and len(rows) and len({row[headers.index(name)] for row in rows}) == 1:
            layout = without([headers.index(name)])
            yield layout
    for name in fit.spare:
        if name in headers:
            layout = without([headers.index(name)])
            yield layout


def _natural(headers: Sequence[str], rows: Rows) -> list[int]:
    """As wide as the widest cell."""
    return [max(map(columns, column)) for column in zip(headers, *rows, strict=True)]


def _needed(natural: Sequence[int], layout: Layout, least: int) -> int:
    """What a layout takes at least, when what flows has ``least``."""
    floors = [min(natural[index], least) if index in layout.flows else natural[index] for index in layout.shown]
    return sum(floors) + len(GAP) * (len(floors) - 1)


def _spread(natural: Sequence[int], layout: Layout, least: int) -> Layout:
    """The layout with widths: what flows shares what the others leave."""
    wanted = [natural[index] for index in layout.shown]
    floors = [min(natural[index], least) if index in layout.flows else natural[index] for index in layout.shown]
    return layout._replace(widths=tuple(levelled(wanted, floors, layout.room - len(GAP) * (len(wanted) - 1))))


def _squeezed(headers: Sequence[str], natural: Sequence[int], layout: Layout, fixed: Sequence[bool]) -> list[int]:
    chosen = layout.shown
    return fitted(
        [headers[index] for index in chosen],
        [natural[index] for index in chosen],
        [fixed[index] for index in chosen],
        layout.room,
    )


def fitted(headers: Sequence[str], widths: Sequence[int], fixed: Sequence[bool], room: int) -> list[int]:
    """Widths with which a table fits into ``room``, where it can: the widest columns give first.

    A column that is ``fixed`` stays as it is, and none becomes narrower than its header.
    """
    floors = [
        width if keeps else min(width, max(columns(header), _NARROWEST))
        for header, width, keeps in zip(headers, widths, fixed, strict=True)
    ]
    return levelled(widths, floors, room - len(GAP) * (len(widths) - 1))


def levelled(widths: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """Widths of which none is above a level and none below its floor, with the highest level that fits the room."""

    def below(level: int) -> list[int]:
        """No column wider than ``level``, where that can be."""
        return [max(floor, min(width, level)) for floor, width in zip(floors, widths, strict=True)]

    levels = range(max(widths) + 1)
    return below(max(0, bisect.bisect_right(levels, room, key=lambda level: sum(below(level))) - 1))


# -- rows


def widened(layout: Layout, row: Sequence[str]) -> Layout:
    """The layout for a row that it was not made for: wider where there is room, as what flows can give some."""
    row = _shortened(row, layout.year)
    wanted = [max(width, columns(row[index])) for index, width in zip(layout.shown, layout.widths, strict=True)]
    if not layout.room:
        return layout._replace(widths=tuple(wanted))
    floors = [
        # What flows gives up some of its width, and numbers are not cut.
        min(width, _FLOWING_TIGHT) if index in layout.flows else columns(row[index]) if is_number(row[index]) else width
        for index, width in zip(layout.shown, layout.widths, strict=True)
    ]
    floors = [max(floor, min(width, _NARROWEST)) for floor, width in zip(floors, layout.widths, strict=True)]
    return layout._replace(widths=tuple(levelled(wanted, floors, layout.room - len(GAP) * (len(wanted) - 1))))


def physical(layout: Layout, row: Sequence[str], more: str) -> list[list[str]]:
    """The lines of a row, each with a text for every column that is shown. ``more`` stands for what is cut."""
    row = _shortened(row, layout.year)
    cells = [
        _flowing(row[index], width, layout.most, more)
        if index in layout.flows and layout.room
        else [_cut(one_line(row[index]), width, more)]
        for index, width in zip(layout.shown, layout.widths, strict=True)
    ]
    height = max(map(len, cells))
    return [[cell[line] if line < len(cell) else "" for cell in cells] for line in range(height)]


def padded(layout: Layout, texts: Sequence[str], paint: Callable[[int, str], str]) -> str:
    """One line. ``paint`` gives the text of a place its colour, which takes no room."""
    pieces = [
        paint(place, text) + " " * (width - columns(text))
        for place, (text, width) in enumerate(zip(texts, layout.widths, strict=True))
    ]
    # Spaces at the end would wrap.
    while pieces and not texts[len(pieces) - 1]:
        del pieces[-1]
    return GAP.join(pieces).rstrip()


def _flowing(cell: str, width: int, most: int, more: str) -> list[str]:
    if columns(cell) <= width and "\n" not in cell:
        return [one_line(cell)]
    lines: list[str] = []
    for line in wrapped(cell, width):
        if most and len(lines) == most:
            lines[-1] = cut(lines[-1], width - columns(more)) + more
            break
        lines.append(line)
    return lines


def _cut(cell: str, width: int, more: str) -> str:
    return cell if columns(cell) <= width else cut(cell, width - columns(more)) + more


def _shortened(row: Sequence[str], year: str) -> Sequence[str]:
    """A row whose times of ``year`` are without it."""
    if not year:
        return row
    return [cell[len(year) :] if cell.startswith(year) and _MOMENT.fullmatch(cell) else cell for cell in row]
