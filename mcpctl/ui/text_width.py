"""Text that has to fit into columns of a terminal, some of whose characters take two, and some none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Text with colours, as `render.say` takes it.
Line = list[tuple[str, str]]

# Of categories that are drawn over the character before them.
_COMBINING = ("Mn", "Me")
# The end of a line, and how far the next one is indented.
_BREAK = re.compile(r"\n[ \t]*")


def one_line(text: str) -> str:
    """What came from elsewhere cannot move the cursor or break a row."""
    return "".join(char if char.isprintable() else " " for char in _BREAK.sub(" ", text))


def columns(text: str) -> int:
    """How many columns it takes at most."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.category(char) in _COMBINING:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, room: int) -> str:
    """As much of it as fits into ``room`` columns."""
    if text.isascii():
        return text[: max(0, room)]
    used = 0
    for index, char in enumerate(text):
        used += _width(char)
        if used > room:
            return text[:index]
    return text


def fitted(text: str, room: int) -> str:
    """One line, exactly ``room`` columns wide; what is cut says so, where there is room to."""
    text = one_line(text)
    if columns(text) > room:
        text = cut(text, room - 2) + ".." if room > 2 else cut(text, room)
    return text + " " * (room - columns(text))


def clipped(line: Line, room: int) -> Line:
    """As much of a line as fits into ``room`` columns."""
    found: Line = []
    for text, colour in line:
        whole = one_line(text)
        part = cut(whole, room)
        room -= columns(part)
        found.append((part, colour))
        if part != whole:
            break
    return found


def wrapped(text: str, room: int) -> Iterator[str]:
    """All of a text as lines of at most ``room`` columns, broken where it breaks, then at spaces where there are any.

    What an inner line is indented by is kept in the lines that go on with it, where there is room to.
    """
    for line in text.split("\n"):
        yield from _broken(one_line(line).rstrip(), max(1, room))


def _broken(line: str, room: int) -> Iterator[str]:
    body = line.lstrip()
    # Beside an indent there is room for the widest of characters, or there is no indent.
    indent = line[: min(len(line) - len(body), room // 2, max(0, room - 2))]
    room -= len(indent)
    # A character that is wider than the room is on a line of its own.
    while columns(body) > room and len(body) > 1:
        head = cut(body, room) or body[0]
        space = head.rfind(" ") if body[len(head)] != " " else len(head)
        head = head[:space] if space > 0 else head
        yield indent + head.rstrip()
        body = body[len(head) :].lstrip()
    yield indent + body
