"""How tables fit a terminal: what they give up, and what never."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpctl.actions import alerts, audit, events, nodes, operations
from mcpctl.ui import table_layout, text_width
from mcpctl.ui.output import View
from mcpctl.ui.table_layout import Fit

YEAR = "2026-"
WHEN = "2026-11-29 16:09:11"
DIED = "worker failed at verify: exited 137 (SIGKILL) right after its start; the service was rolled back"


def shown(
    headers: tuple[str, ...],
    rows: list[tuple[str, ...]],
    room: int = 80,
    fit: Fit | None = None,
    *,
    whole: bool = False,
) -> list[str]:
    layout = table_layout.laid_out(headers, rows, room, YEAR, fit or Fit(), whole=whole)
    names = [headers[index] for index in layout.shown]
    lines = [table_layout.padded(layout, names, lambda _, text: text)]
    for row in rows:
        lines += [
            table_layout.padded(layout, each, lambda _, text: text) for each in table_layout.physical(layout, row, "…")
        ]
    return lines


OPERATIONS = ("rift", "12", "deploy", "metacrypt", "kyle", WHEN, "1m5s", "reverted", DIED)
_OPERATIONS: View[tuple[str, ...]] = View(operations._HEADERS, tuple, str, fit=operations._FIT)
NODE = ("rift", "active", "yes", "0.1.0", "4.3.1", "1.38/2", "76.2 GiB of 252.0 GiB", "in 12d", "podman: " + DIED)
CALL = (WHEN, "rift", "kyle", "admin", "100.95.252.120:59574", "ListOperations", "metacrypt/api", "FAILED_PRECONDITION")
ALERT = (
    "117",
    "rift",
    "drift",
    "metacrypt/worker",
    WHEN,
    "",
    "suppressed (silence 3 until 2026-11-29 18:00 UTC)",
    DIED,
)


@pytest.mark.parametrize(
    ("view", "row", "kept"),
    [
        (
            View(operations._HEADERS, tuple, str, fit=operations._FIT),
            OPERATIONS,
            ("12", "deploy", "metacrypt", "reverted"),
        ),
        (nodes._NODES, NODE, ("rift", "active", "yes")),
        (audit._CALLS, (*CALL, "544 ms"), ("kyle", "ListOperations", "metacrypt/api", "FAILED_PRECONDITION")),
        (alerts._ALERTS, ALERT, ("117", "drift", "metacrypt/worker")),
        (events.EVENTS, (WHEN, "rift", "web/worker", "reverted", "kyle", DIED), ("web/worker", "reverted")),
    ],
)
def test_at_80_columns_what_matters_is_whole_and_text_goes_on_below(
    view: View[tuple[str, ...]], row: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    lines = shown(view.headers, [row, row], fit=view.fit)
    assert max(map(len, lines)) <= 80
    assert all(word in lines[1] for word in kept)
    if DIED in row[-1]:
        start = lines[0].index(view.headers[-1])
        told = " ".join(line[start:].strip() for line in lines[1 : 1 + (len(lines) - 1) // 2])
        assert told == row[-1]


def test_what_a_container_printed_stays_in_lines_of_its_own() -> None:
    reason = "exited 1 right after its start; it printed last:\n    cannot open /etc/x\n    giving up"
    assert shown(("COMPONENT", "DETAIL"), [("api", reason)], 60) == [
        "COMPONENT  DETAIL",
        "api        exited 1 right after its start; it printed last:",
        "               cannot open /etc/x",
        "               giving up",
    ]


def test_a_text_has_an_end_unless_it_is_wanted_whole() -> None:
    rows = [("api", "\n".join(map(str, range(50))) + " x" * 80)]
    lines = shown(("COMPONENT", "DETAIL"), rows, 40)
    assert len(lines) == 1 + table_layout._MOST_LINES
    assert lines[-1].endswith("…")
    assert len(shown(("COMPONENT", "DETAIL"), rows, 40, whole=True)) > 50


def test_what_goes_first_is_what_says_least() -> None:
    headers = ("ID", "NODE", "EMPTY COLUMN", "STARTED", "BY", "WHY")
    rows = [(str(number), "rift", "", WHEN, "kyle", "x" * 30) for number in range(3)]
    fit = Fit(spare=("BY",))
    given_up = [shown(headers, rows, room, fit)[0].split() for room in (200, 68, 63, 58, 50, 44)]
    assert given_up[0] == ["ID", "NODE", "EMPTY", "COLUMN", "STARTED", "BY", "WHY"]
    assert given_up[1] == ["ID", "NODE", "STARTED", "BY", "WHY"]
    assert given_up[-1] == ["ID", "STARTED", "WHY"]
    # Of last year's times the year is what one came for.
    old = [(*row[:3], "2025-11-29 16:09:11", *row[4:]) for row in rows]
    assert "2025-11-29 16:09:11" in shown(headers, old, 44, fit)[1]
    assert "11-29 16:09:11" in shown(headers, rows, 44, fit)[1]


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=5)


@given(ROWS, st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal_whatever_is_in_it(rows: list[tuple[str, ...]], room: int) -> None:
    for line in shown(("WHAT", "NODE", "STATE", "DETAIL"), rows, room):
        assert line.isprintable()
        # A number is never cut, and these may be long.
        if not re.search(r"[0-9 .:%/+-]{9}", line):
            assert text_width.columns(line) <= room


@given(TEXT, st.integers(1, 100))
@example(" \u31f0", 2)
def test_wrapping_loses_nothing_but_blanks(text: str, room: int) -> None:
    lines = list(text_width.wrapped(text, room))
    assert "".join("".join(lines).split()) == "".join("".join(map(text_width.one_line, text.split("\n"))).split())
    assert all(text_width.columns(line) <= max(2, room) for line in lines)


@given(ROWS, st.tuples(TEXT, TEXT, TEXT, TEXT), st.sampled_from([0, 80]))
def test_a_later_row_fits_as_well(rows: list[tuple[str, ...]], later: tuple[str, ...], room: int) -> None:
    headers = ("WHAT", "NODE", "STATE", "DETAIL")
    layout = table_layout.laid_out(headers, rows, room, YEAR, Fit()) if room else table_layout.unbound(headers, rows)
    later = tuple(map(text_width.one_line, later))
    wider = table_layout.widened(layout, later)
    assert wider.shown == layout.shown
    for texts in table_layout.physical(wider, later, "…"):
        line = table_layout.padded(wider, texts, lambda _, text: text)
        if room and not any(map(table_layout.is_number, later)):
            assert text_width.columns(line) <= room


def test_lines_that_become_one_are_a_space_apart_however_they_are_indented() -> None:
    assert text_width.one_line("it printed last:\n    cannot\n\treach") == "it printed last: cannot reach"
