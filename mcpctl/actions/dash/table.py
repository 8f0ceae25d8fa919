"""Rows of our own as Textual shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.text import Text
from textual.widgets import DataTable

from mcpctl.actions.live.screens import Row
from mcpctl.ui import render
from mcpctl.ui.text_width import Line, columns

_STYLES = {"grey": "bright_black"}


def text(line: Line | Row) -> Text:
    """A line, harmless: what comes from elsewhere is no markup."""
    return Text.assemble(*((render.one_line(piece), style(colour)) for piece, colour in line), no_wrap=True)


def style(colour: str) -> str:
    """What rich calls a colour of ours."""
    return _STYLES.get(colour, colour)


class Table(DataTable[Text]):
    """A table whose rows have keys, and whose cursor stays on its row, whatever changes around it."""

    def __init__(self, headers: Iterable[str], *, id: str) -> None:  # noqa: A002 (Textual's name for it)
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self._headers = tuple(headers)
        self._widths: list[int] = []
        self._shown: dict[str, Row] = {}

    def on_mount(self) -> None:
        self.show({})

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        keys = list(self._shown)
        return keys[self.cursor_row] if self.cursor_row < len(keys) else None

    def show(self, rows: Mapping[str, Row]) -> None:
        """Has ``rows``, by key, and no others."""
        widths = [
            max([columns(header), *(columns(row[index][0]) for row in rows.values())])
            for index, header in enumerate(self._headers)
        ]
        if list(rows.items()) == list(self._shown.items()) and widths == self._widths:
            return
        chosen, offset = self.chosen, self.scroll_offset
        # Textual measures columns by itself, but some time after it has drawn them, and then does not draw them again.
        self.clear(columns=widths != self._widths)
        if widths != self._widths:
            for header, width in zip(self._headers, widths, strict=True):
                self.add_column(header, width=width)
        for key, row in rows.items():
            self.add_row(*(text([cell]) for cell in row), key=key)
        self._widths, self._shown = widths, dict(rows)
        if chosen in self._shown:
            self.move_cursor(row=list(self._shown).index(chosen), scroll=False)
        self.scroll_to(offset.x, offset.y, animate=False)
