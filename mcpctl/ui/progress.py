"""The drawing of operations on a terminal: a line for each component, redrawn in its place.

`Board` knows what happened and returns the lines; `Screen` puts them on a terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from mcpctl.ui import render, text_width
from mcpctl.ui.rows.changes import OutcomeRow, ProgressRow
from mcpctl.ui.text_width import Line
from protos.program_output import headline

_GAP = "  "
# "reverted" and "restarted" fill it nearly; what a newer agent says is clipped.
_STEP = 9
# Right-aligned: "3600s".
_ELAPSED = 5
# Of a line: the longest name may take it, so that the message is not lost.
_NAME_SHARE = 3
# For the steps that are the whole operation's.
_NO_NAME = "-"
# Each with what stands for it where the encoding has no such sign.
_UNDER_WAY, _GOOD, _BAD, _LEFT = ("▸", ">"), ("✓", "+"), ("✗", "x"), ("-", "-")
_SIGNS = {
    "failed": (_BAD, "red"),
    "reverted": (_BAD, "red"),
    "skipped": (_LEFT, "yellow"),
    "unchanged": (_LEFT, "grey"),
}
# Results whose reason the error that ends the operation may tell as well.
_TOLD_OF = ("failed", "reverted")
# What a message is given where it goes on below, however narrow the terminal.
_NARROWEST = 16


class _Component:
    """Times are seconds: ``first`` and ``last`` of the node's clock, ``heard`` of ours, when ``last`` was told."""

    def __init__(self, heard: float) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.heard = heard
        self.step = ""
        self.message = ""
        self.result = ""
        # Of a step without a result of its own: None while it is under way, then whether it went well.
        self.went_well: bool | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.result) or self.went_well is not None

    def elapsed(self, now: float) -> int:
        """What went by on the node between its first step and its last, and here since that was told.

        No clock is compared with another, and what is followed late has its true age.
        """
        told = 0.0 if self.first is None else max(0.0, self.last - self.first)
        return int(told + (0.0 if self.is_over else max(0.0, now - self.heard)))


class Board:
    """What is known of each component, in the order in which they were heard of."""

    def __init__(self) -> None:
        self._components: dict[str, _Component] = {}

    def step(self, name: str, step: ProgressRow, now: float) -> None:
        found = self._components.setdefault(name, _Component(now))
        if step.at is not None:
            found.last = step.at.timestamp()
            found.first = found.last if found.first is None else found.first
        found.heard = now
        found.step, found.message, found.result, found.went_well = step.step, step.message, "", None

    def outcome(self, name: str, outcome: OutcomeRow, now: float) -> None:
        found = self._components.setdefault(name, _Component(now))
        # What went by since its last step belongs to it, and is counted no further.
        found.last += max(0.0, now - found.heard)
        found.first = 0.0 if found.first is None else found.first
        found.heard = now
        found.result, found.message = outcome.result, outcome.message

    def passed(self, name: str, now: float, *, well: bool = True) -> None:
        """The step of the whole operation that is under way, if there is one, is through: what comes after it began."""
        found = self._components.get(name)
        if found and not found.is_over:
            found.last += max(0.0, now - found.heard)
            found.first = found.last if found.first is None else found.first
            found.heard = now
            found.went_well = well

    def last_lines(self, now: float, width: int, told: str, *, plain: bool = False) -> list[Line]:
        """What stays: every component, its message whole, but for a reason that is ``told`` beside it."""
        room = max(0, width - 1)
        margin = self._margin(self._components, room)
        return [
            line
            for name, each in self._components.items()
            for line in _last_lines(name or _NO_NAME, each, now, margin, room, told, plain)
        ]

    def lines(self, now: float, width: int, height: int, *, plain: bool = False) -> list[Line]:
        """At most ``height`` lines, each narrower than ``width``; ``plain``: with signs that every encoding has."""
        # A terminal moves on to the next line when the last column is written, and not all do so at the same moment.
        room = max(0, width - 1)
        shown, hidden = self._chosen(max(1, height))
        margin = self._margin(shown, room)
        lines = [_line(name or _NO_NAME, self._components[name], now, margin, room, plain) for name in shown]
        if hidden:
            lines.append(text_width.clipped([(f"and {hidden} more", "grey")], room))
        return lines

    def _margin(self, names: Iterable[str], room: int) -> int:
        return min(max((text_width.columns(name or _NO_NAME) for name in names), default=0), room // _NAME_SHARE)

    def _chosen(self, height: int) -> tuple[list[str], int]:
        """Who is shown, and how many are not: where not all fit, those that are under way come first."""
        if len(self._components) <= height:
            return list(self._components), 0
        names = sorted(self._components, key=lambda name: self._components[name].is_over)[: height - 1]
        return [name for name in self._components if name in names], len(self._components) - len(names)


class Screen:
    """A board at the bottom of a terminal. The cursor is always at the start of the line below it: whatever ends the
    program leaves whole lines.
    """

    def __init__(self, board: Board, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.board = board
        self.clock = clock
        self._stream = stream
        self._plain = not all(render.is_shown(sign, stream) for sign, _ in (_UNDER_WAY, _GOOD, _BAD))
        self._drawn = 0

    def draw(self) -> None:
        size = os.get_terminal_size(self._stream.fileno())
        # A terminal that does not know its size says 0.
        width, height = size.columns or 80, size.lines or 24
        self._put(self.board.lines(self.clock(), width, height - 1, plain=self._plain))

    def finish(self, told: str) -> None:
        """Draws what stays; ``told`` is the error that is told next, or empty."""
        size = os.get_terminal_size(self._stream.fileno())
        self._put(self.board.last_lines(self.clock(), size.columns or 80, told, plain=self._plain))

    def _put(self, lines: list[Line]) -> None:
        coloured = render.colourful(self._stream)
        # Up to the first line; each over the old one and cleared behind; what is left of the old ones, and what the
        # keyboard echoed, is cleared below (ECMA-48: CUU, EL, ED).
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = "".join(f"{render.painted(line, coloured=coloured)}\x1b[K\n" for line in lines)
        self._stream.write(f"{up}\r{text}\x1b[J")
        self._stream.flush()
        self._drawn = len(lines)


def _last_lines(
    name: str, component: _Component, now: float, margin: int, room: int, told: str, plain: bool
) -> list[Line]:
    words = headline(component.message)
    is_told = component.result in _TOLD_OF and bool(words) and words in told
    first = _line(name, component, now, margin, room, plain)
    before = sum(text_width.columns(text) for text, _ in first[:-2])
    left = max(_NARROWEST, room - before - len(_GAP) - _ELAPSED)
    parts = list(text_width.wrapped(component.message, left))
    # What a step says is passing; a result is what one came for.
    if is_told or not component.result or len(parts) == 1:
        return [first]
    head = text_width.clipped([*first[:-2], (text_width.fitted(parts[0], left), ""), first[-1]], room)
    return [head, *([(" " * before, ""), (part, "")] for part in parts[1:])]


def _sign(component: _Component) -> tuple[tuple[str, str], str]:
    """What stands before a component, with its simpler form, and the colour."""
    if component.result:
        return _SIGNS.get(component.result, (_GOOD, "green"))
    if component.went_well is None:
        return _UNDER_WAY, ""
    return (_GOOD, "green") if component.went_well else (_BAD, "red")


def _line(name: str, component: _Component, now: float, margin: int, room: int, plain: bool) -> Line:
    (fancy, simple), colour = _sign(component)
    elapsed = f"{component.elapsed(now)}s".rjust(_ELAPSED)
    head: Line = [
        (simple if plain else fancy, colour),
        (f" {text_width.fitted(name, margin)}{_GAP}", ""),
        (text_width.fitted(component.result or component.step, _STEP), colour),
        (_GAP, ""),
    ]
    left = room - sum(text_width.columns(text) for text, _ in head) - len(_GAP) - len(elapsed)
    message = text_width.fitted(component.message, max(0, left))
    return text_width.clipped([*head, (message, ""), (_GAP + elapsed, "grey")], room)
