"""Tables, JSON and words for the terminal. Text of our own: importing rich costs a listing a fifth of its time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

import msgspec

from mcpctl.ui import table_layout
from mcpctl.ui.table_layout import Fit, Layout
from mcpctl.ui.table_layout import fitted as fitted
from mcpctl.ui.text_width import columns, cut
from mcpctl.ui.text_width import one_line as one_line
from protos import escapes

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "grey": "90", "bold": "1"}
_COLOURS |= {"cyan": "36", "magenta": "35", "blue": "34"}
_MORE = "…"
# A table that says nothing else.
ANY = Fit()
_STATE_COLOUR = {
    "running": "green",
    "healthy": "green",
    "completed": "green",
    "unhealthy": "red",
    "exited": "red",
    "removed": "red",
    "restarting": "yellow",
    "paused": "yellow",
    "unknown": "yellow",
    "succeeded": "green",
    "failed": "red",
    "timed-out": "red",
    "not-started": "red",
    "reverted": "red",
    "skipped": "yellow",
}


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, wide: bool = False, fit: Fit = ANY, whole: bool = False
) -> Layout:
    """Prints columns as wide as their widest cell; state words coloured on a terminal.

    On a terminal that is narrower it gives up what ``fit`` says, unless ``wide``; text that goes on below has an end
    there, unless ``whole``. Returns how it was laid out.
    """
    cells = [list(row) for row in rows]
    if not wide and is_terminal(sys.stdout):
        room = shutil.get_terminal_size().columns
        layout = table_layout.laid_out(headers, cells, room, f"{datetime.now():%Y-}", fit, whole=whole)
    else:
        layout = table_layout.unbound(headers, [list(map(one_line, row)) for row in cells])
    heading = [_elided(headers[index], width) for index, width in zip(layout.shown, layout.widths, strict=True)]
    print(_style(table_layout.padded(layout, heading, lambda _, text: text), "bold" if colourful() else ""))
    for row in cells:
        _print_row(row, layout)
    return layout


def later_row(row: Sequence[str], layout: Layout) -> Layout:
    """Prints a row that a table did not have yet, at once. Returns the layout that the next one needs."""
    layout = table_layout.widened(layout, row if layout.room else list(map(one_line, row)))
    _print_row(row, layout)
    sys.stdout.flush()
    return layout


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


def span(seconds: float) -> str:
    """How long something has lasted, in the largest two units, as `age`."""
    return _units(max(0, int(seconds)))


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


def _print_row(cells: Sequence[str], layout: Layout) -> None:
    coloured = colourful()
    colours = [state_colour(cells[index]) if coloured else "" for index in layout.shown]
    for texts in table_layout.physical(layout, cells, _more()):
        print(table_layout.padded(layout, texts, lambda place, text: _style(text, colours[place])))


def _elided(text: str, width: int) -> str:
    return text if columns(text) <= width else cut(text, width - 1) + _more()


def _more() -> str:
    """What stands for the rest of a cell that is cut."""
    return _MORE if is_shown(_MORE, sys.stdout) else "~"


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
