"""The drawing of operations on a terminal: a line for each component, redrawn in its place.

`Board` knows what happened and returns the lines; `Screen` puts them on a terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from mcpctl import render, widths
from mcpctl.rows import OutcomeRow, ProgressRow

# Text with colours, as `render.say` takes it.
Line = list[tuple[str, str]]

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


class _Component:
    """Times are seconds: ``first`` and ``last`` of the node's clock, ``heard`` of ours, when ``last`` was told."""

    def __init__(self, heard: float) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.heard = heard
        self.step = ""
        self.message = ""
        self.result = ""

    def elapsed(self, now: float) -> int:
        """What went by on the node between its first step and its last, and here since that was told.

        No clock is compared with another, and what is followed late has its true age.
        """
        told = 0.0 if self.first is None else max(0.0, self.last - self.first)
        return int(told + (0.0 if self.result else max(0.0, now - self.heard)))


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
        found.step, found.message, found.result = step.step, step.message, ""

    def outcome(self, name: str, outcome: OutcomeRow, now: float) -> None:
        found = self._components.setdefault(name, _Component(now))
        # What went by since its last step belongs to it, and is counted no further.
        found.last += max(0.0, now - found.heard)
        found.first = 0.0 if found.first is None else found.first
        found.heard = now
        found.result, found.message = outcome.result, outcome.message

    def lines(self, now: float, width: int, height: int, *, plain: bool = False) -> list[Line]:
        """At most ``height`` lines, each narrower than ``width``; ``plain``: with signs that every encoding has."""
        # A terminal moves on to the next line when the last column is written, and not all do so at the same moment.
        room = max(0, width - 1)
        shown, hidden = self._chosen(max(1, height))
        longest = max((widths.columns(name or _NO_NAME) for name in shown), default=0)
        margin = min(longest, room // _NAME_SHARE)
        lines = [_line(name or _NO_NAME, self._components[name], now, margin, room, plain) for name in shown]
        if hidden:
            lines.append(widths.clipped([(f"and {hidden} more", "grey")], room))
        return lines

    def _chosen(self, height: int) -> tuple[list[str], int]:
        """Who is shown, and how many are not: where not all fit, those that are under way come first."""
        if len(self._components) <= height:
            return list(self._components), 0
        names = sorted(self._components, key=lambda name: bool(self._components[name].result))[: height - 1]
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
        lines = self.board.lines(self.clock(), width, height - 1, plain=self._plain)
        coloured = render.colourful(self._stream)
        # Up to the first line; each over the old one and cleared behind; what is left of the old ones, and what the
        # keyboard echoed, is cleared below (ECMA-48: CUU, EL, ED).
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = "".join(f"{render.painted(line, coloured=coloured)}\x1b[K\n" for line in lines)
        self._stream.write(f"{up}\r{text}\x1b[J")
        self._stream.flush()
        self._drawn = len(lines)


def _line(name: str, component: _Component, now: float, margin: int, room: int, plain: bool) -> Line:
    (fancy, simple), colour = _SIGNS.get(component.result, (_GOOD, "green")) if component.result else (_UNDER_WAY, "")
    elapsed = f"{component.elapsed(now)}s".rjust(_ELAPSED)
    head: Line = [
        (simple if plain else fancy, colour),
        (f" {widths.fitted(name, margin)}{_GAP}", ""),
        (widths.fitted(component.result or component.step, _STEP), colour),
        (_GAP, ""),
    ]
    left = room - sum(widths.columns(text) for text, _ in head) - len(_GAP) - len(elapsed)
    return widths.clipped([*head, (widths.fitted(component.message, max(0, left)), ""), (_GAP + elapsed, "grey")], room)
