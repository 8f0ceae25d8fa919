"""Tables, JSON and words for the terminal. Text of our own: importing rich costs a listing a fifth of its time."""

from __future__ import annotations

import bisect
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

import msgspec

from protos import escapes

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "grey": "90", "bold": "1"}
_COLOURS |= {"cyan": "36", "magenta": "35", "blue": "34"}
_GAP = "  "
# What stands for the rest of a cell that is cut; and what a column of text keeps.
_MORE = "…"
_NARROWEST = 8
_NUMBER = re.compile(r"[0-9 .:%/+-]*|([0-9]+[dhms])+|[0-9.]+ ([KMGT]i)?B|[0-9.]+ ms")
_STATE_COLOUR = {
    "running": "green",
    "healthy": "green",
    "unhealthy": "red",
    "exited": "red",
    "removed": "red",
    "restarting": "yellow",
    "paused": "yellow",
    "unknown": "yellow",
    "failed": "red",
    "reverted": "red",
    "skipped": "yellow",
}


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, wide: bool = False) -> list[int]:
    """Prints columns as wide as their widest cell; state words coloured on a terminal.

    On a terminal that is narrower the widest columns of text are cut, unless ``wide``. Returns the columns' widths.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    if not wide and is_terminal(sys.stdout):
        fixed = [all(map(_is_number, column)) for column in zip(*cells, strict=True)] or [True] * len(headers)
        widths = fitted(headers, widths, fixed, shutil.get_terminal_size().columns)
    print(_style(_line(headers, widths, {}), "bold" if colourful() else ""))
    for row in cells:
        _print_row(row, widths)
    return widths


def fitted(headers: Sequence[str], widths: Sequence[int], fixed: Sequence[bool], columns: int) -> list[int]:
    """Widths with which a table fits into ``columns``, where it can: the widest columns give first.

    A column that is ``fixed`` stays as it is, and none becomes narrower than its header.
    """
    room = columns - len(_GAP) * (len(widths) - 1)
    floors = [
        width if keeps else min(width, max(len(header), _NARROWEST))
        for header, width, keeps in zip(headers, widths, fixed, strict=True)
    ]

    def below(level: int) -> list[int]:
        """No column wider than ``level``, where that can be."""
        return [max(floor, min(width, level)) for floor, width in zip(floors, widths, strict=True)]

    levels = range(max(widths) + 1)
    return below(max(0, bisect.bisect_right(levels, room, key=lambda level: sum(below(level))) - 1))


def _is_number(cell: str) -> bool:
    """Whether it is a number, an age or a time: cut it would be another one."""
    return bool(_NUMBER.fullmatch(cell))


def later_row(row: Sequence[str], widths: Sequence[int], *, wide: bool = False) -> list[int]:
    """Prints a row that a table of ``widths`` did not have yet, at once. Returns the widths that the next one needs."""
    cells = [one_line(cell) for cell in row]
    before, widths = widths, [max(width, len(cell)) for width, cell in zip(widths, cells, strict=True)]
    if not wide and is_terminal(sys.stdout):
        # The columns stay where they are; what is wider than the line is cut.
        headers = [" " * width for width in before]
        widths = fitted(headers, widths, list(map(_is_number, cells)), shutil.get_terminal_size().columns)
    _print_row(cells, widths)
    sys.stdout.flush()
    return widths


def say(*pieces: str | tuple[str, str]) -> None:
    """Prints one line of text, some of it with a colour: ``("FAILED", "red")``."""
    texts = [(piece, "") if isinstance(piece, str) else piece for piece in pieces]
    print(painted(texts, coloured=colourful()))


def painted(pieces: Iterable[tuple[str, str]], *, coloured: bool) -> str:
    """One line of texts with their colours, harmless to a terminal."""
    return "".join(_style(one_line(text), colour if coloured else "") for text, colour in pieces)


def as_json(value: object) -> None:
    """One JSON document, indented for people, in a shape that stays."""
    print(escapes.in_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def as_yaml(value: object) -> None:
    """One YAML document, or a part of a list of them, of the same shape as the JSON."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        pass

    def string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if escapes.needs_quotes(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, string)
    plain = msgspec.to_builtins(value, builtin_types=(datetime,))
    text: str = yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    print(escapes.in_yaml(text), end="", flush=True)


def json_line(value: object) -> str:
    """One line, without its end."""
    return escapes.in_json(msgspec.json.encode(value).decode())


def as_json_line(value: object) -> None:
    print(json_line(value), flush=True)


def note(message: str) -> None:
    """Something beside the answer, for people: to stderr, each line of it harmless."""
    print("\n".join(map(one_line, message.split("\n"))), file=sys.stderr, flush=True)


def age(since: datetime | None, at: datetime | None = None) -> str:
    """How long before ``at``, or ago, in the largest two units: 3d4h, 12m, 5s."""
    if since is None:
        return ""
    return _units(max(0, int(((at or datetime.now(UTC)) - since) / timedelta(seconds=1))))


def _units(seconds: int) -> str:
    """The largest two units."""
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    return "".join(
        f"{number}{unit}" for number, unit in parts[first : first + 2] if number or unit == "s" == parts[first][1]
    )


def moment(when: datetime | None) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when else ""


def stamp() -> str:
    """Now, as a part of a file's name."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"


def took(milliseconds: float) -> str:
    """How long something took, in three digits or so: 0.4 ms, 12 ms, 3.4 s, 1m5s."""
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 60 else _units(int(seconds))


def size(count: int) -> str:
    """Bytes with a binary unit: 1.5 GiB."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def state_colour(word: str) -> str:
    """The colour of a state, with its exit status or without, or of a result; "" for everything else."""
    state, _, status = word.partition(" ")
    return _STATE_COLOUR.get(state, "") if not status or status.isdigit() else ""


def _print_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    coloured = colourful()
    colours = {index: state_colour(cell) for index, cell in enumerate(cells) if coloured}
    print(_line(cells, widths, colours))


def _line(cells: Sequence[str], widths: Sequence[int], colours: dict[int, str]) -> str:
    last = len(cells) - 1
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = _cut(cell, width)
        space = "" if index == last else " " * (width - len(text))
        padded.append(_style(text, colours.get(index, "")) + space)
    return _GAP.join(padded).rstrip()


def _cut(cell: str, width: int) -> str:
    if len(cell) <= width:
        return cell
    mark = _MORE if is_shown(_MORE, sys.stdout) else "~"
    return cell[: width - 1] + mark


def _style(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and text else text


def colourful(stream: TextIO | None = None) -> bool:
    """Whether ``stream``, else stdout, is a terminal that shows colours to somebody who wants them (no-color.org)."""
    return is_terminal(stream or sys.stdout) and not os.environ.get("NO_COLOR")


def is_terminal(stream: TextIO) -> bool:
    """Whether it is one that understands escape codes."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def is_shown(text: str, stream: TextIO) -> bool:
    """Whether the stream's encoding has it."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """What came from elsewhere cannot move the cursor or break a row."""
    return "".join(char if char.isprintable() else " " for char in text)
