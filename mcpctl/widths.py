"""Text that has to fit into columns of a terminal, some of whose characters take two."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from mcpctl import render

# Text with colours, as `render.say` takes it.
Line = list[tuple[str, str]]


def columns(text: Iterable[str]) -> int:
    """How many columns it takes at most."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, room: int) -> str:
    """As much of it as fits into ``room`` columns."""
    used = 0
    for index, char in enumerate(text):
        used += columns(char)
        if used > room:
            return text[:index]
    return text


def fitted(text: str, room: int) -> str:
    """One line, exactly ``room`` columns wide; what is cut says so, where there is room to."""
    text = render.one_line(text)
    if columns(text) > room:
        text = cut(text, room - 2) + ".." if room > 2 else cut(text, room)
    return text + " " * (room - columns(text))


def clipped(line: Line, room: int) -> Line:
    """As much of a line as fits into ``room`` columns."""
    found: Line = []
    for text, colour in line:
        whole = render.one_line(text)
        part = cut(whole, room)
        room -= columns(part)
        found.append((part, colour))
        if part != whole:
            break
    return found
