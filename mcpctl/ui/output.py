"""How an answer is printed: as a table for people, as rows for programs, or as names for a shell's loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from mcpctl.ui import render
from mcpctl.ui.table_layout import Fit, Layout

R = TypeVar("R")


class Output(StrEnum):
    """``wide`` is a table with more columns, which is never cut to the terminal."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"


class How(msgspec.Struct, frozen=True):
    """``quiet``: of a listing only the names, of a change only what went wrong."""

    output: Output = Output.TABLE
    quiet: bool = False

    @property
    def structured(self) -> bool:
        """Whether a program reads it."""
        return self.output in (Output.JSON, Output.JSONL, Output.YAML)


class View(NamedTuple, Generic[R]):
    """The columns of a row, those that ``wide`` adds, and the name by which other commands know what the row is of."""

    headers: tuple[str, ...]
    cells: Callable[[R], tuple[str, ...]]
    name: Callable[[R], str]
    wide_headers: tuple[str, ...] = ()
    wide_cells: Callable[[R], tuple[str, ...]] = lambda _: ()
    # What a terminal that is too narrow does without.
    fit: Fit = render.ANY

    def columns(self, how: How) -> tuple[tuple[str, ...], Callable[[R], tuple[str, ...]]]:
        """Headers and cells, as ``how`` wants them."""
        if how.output is not Output.WIDE:
            return self.headers, self.cells
        return (*self.headers, *self.wide_headers), lambda row: (*self.cells(row), *self.wide_cells(row))


def listing(rows: Sequence[R], how: How, view: View[R], nothing: str) -> None:
    """Prints rows. Where there are none, and a person reads it, ``nothing`` says so beside the answer, unless empty."""
    if how.structured:
        structured(rows, how, rows)
    elif how.quiet:
        names(map(view.name, rows))
    elif not rows:
        if nothing:
            render.note(f"mcpctl: {nothing}")
    else:
        table(rows, how, view)


def table(rows: Iterable[R], how: How, view: View[R]) -> Layout:
    """Prints a table, and returns its layout as `render.table` does."""
    headers, cells = view.columns(how)
    return render.table(headers, map(cells, rows), wide=how.output is Output.WIDE, fit=view.fit)


def structured(document: object, how: How, rows: Iterable[object]) -> None:
    """Prints ``document`` as one, or with ``jsonl`` its ``rows`` one a line."""
    if how.output is Output.JSONL:
        for row in rows:
            render.as_json_line(row)
    elif how.output is Output.YAML:
        render.as_yaml(document)
    else:
        render.as_json(document)


def put(how: How, row: object) -> None:
    """Prints the one row that is the answer, for a program."""
    structured(row, how, [row])


def later(row: object, how: How) -> None:
    """Prints one row more of a listing that does not end, at once; as JSON, a line."""
    if how.output is Output.YAML:
        # A list of one item: one after the other they are one list.
        render.as_yaml([row])
    else:
        render.as_json_line(row)


def names(found: Iterable[str]) -> None:
    """Prints each name once, one a line."""
    for name in dict.fromkeys(found):
        if name:
            render.say(name)
