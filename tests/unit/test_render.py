"""What is printed: columns, ages and sizes, and nothing that could move a terminal's cursor."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions.exporting import yamltext
from mcpctl.ui import render
from mcpctl.ui.rows.changes import outcome_row
from mcpctl.ui.rows.status import EventRow, component_row, event_row, service_row
from protos.mcp import v1

Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return lambda: capsys.readouterr().out


# -- tables


def test_columns_are_as_wide_as_their_widest_cell(printed: Printed) -> None:
    render.table(("SERVICE", "STATE"), [("web", "running"), ("metacrypt", "exited 1")])
    assert printed() == "SERVICE    STATE\nweb        running\nmetacrypt  exited 1\n"


def test_no_line_ends_in_spaces(printed: Printed) -> None:
    render.table(("A", "B", "C"), [("1", "", ""), ("longer", "2", "")])
    assert [line for line in printed().splitlines() if line != line.rstrip()] == []


def test_without_rows_the_headers_stand_alone(printed: Printed) -> None:
    render.table(("A", "B"), [])
    assert printed() == "A  B\n"


def test_a_later_row_stays_in_line_and_what_is_wider_widens_the_rest(printed: Printed) -> None:
    widths = render.table(("A", "B"), [("one", "x")])
    widths = render.later_row(("2", "y"), widths)
    widths = render.later_row(("three", "z"), widths)
    render.later_row(("4", "w"), widths)
    assert printed() == "A    B\none  x\n2    y\nthree  z\n4      w\n"


def test_off_a_terminal_there_are_no_escape_codes(printed: Printed) -> None:
    render.table(("STATE",), [("running",), ("unhealthy",)])
    assert "\x1b" not in printed()


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], **environment: str) -> str:
    """What a table looks like on a terminal."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "w") as stdout:
            monkeypatch.setattr("sys.stdout", stdout)
            render.table(("SERVICE", "STATE"), rows)
            monkeypatch.undo()
        shown = b""
        # EIO: what was written is read, and nobody has the terminal open any more (pty(7)).
        with contextlib.suppress(OSError):
            while chunk := terminal.read(65536):
                shown += chunk
        return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_states_have_colours_and_columns_stay_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch, [("running", "running"), ("db", "unhealthy")])
    assert "\x1b[32mrunning\x1b[0m  \x1b[32mrunning\x1b[0m" in shown
    assert "db       \x1b[31munhealthy\x1b[0m" in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal(monkeypatch, [("web", "running")], **environment)


HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;title\x07",
    "cursor": "\x1b[2J\x1b[H",
    "C1 control": "\x9b31m",
    "new line": "one\ntwo",
    "carriage return": "one\rtwo",
    "line separator": "one\u2028two\x85three",
    "right to left": "\u202egpj.exe",
    "backspace": "a\bb",
    "lone surrogate": "a\udc80b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_came_from_outside_cannot_move_the_cursor(printed: Printed, text: str) -> None:
    render.table(("A", "B"), [(text, "end")])
    lines = printed().split("\n")
    assert len(lines) == 3
    assert lines[1].isprintable()
    assert lines[1].endswith("  end")


def test_a_note_from_outside_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    harmful = []
    for kind, text in HOSTILE.items():
        render.note(f"mcpctl: node rift: {text.encode(errors='ignore').decode()}")
        if not capsys.readouterr().err.replace("\n", "").isprintable():
            harmful.append(kind)
    assert harmful == []


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5))
def test_a_table_has_a_line_for_each_row_whatever_is_in_it(rows: list[tuple[str, str, str]]) -> None:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lines.append)
        render.table(("A", "B", "C"), rows)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


# -- JSON


def test_json_is_one_document_of_plain_values(printed: Printed) -> None:
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    render.as_json([EventRow("rift", 7, at, "web", "api", "exited", "line\n\x1b[31m", "admin")])
    (row,) = json.loads(printed())
    assert row["at"] == "2026-03-01T12:00:00Z"
    assert row["message"] == "line\n\x1b[31m"


def test_json_carries_no_raw_control_characters(printed: Printed) -> None:
    render.as_json(["".join(HOSTILE.values()).encode(errors="ignore").decode()])
    text = printed()
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_json_line_is_one_line(printed: Printed) -> None:
    render.as_json_line({"message": "one\ntwo"})
    assert printed() == '{"message":"one\\ntwo"}\n'


# -- ages, moments, sizes

AGES = {
    "0s": timedelta(seconds=0.9),
    "5s": timedelta(seconds=5),
    "59s": timedelta(seconds=59),
    "1m": timedelta(minutes=1),
    "12m5s": timedelta(minutes=12, seconds=5),
    "1h": timedelta(hours=1, seconds=59),
    "23h59m": timedelta(hours=23, minutes=59, seconds=59),
    "1d": timedelta(days=1, minutes=59),
    "3d4h": timedelta(days=3, hours=4, minutes=30),
    "400d": timedelta(days=400),
}


class FixedClock(datetime):
    """The time that `render.age` reads."""

    @classmethod
    def now(cls, tz: object = None) -> "FixedClock":  # noqa: ARG003
        return cls(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("shown", "ago"), AGES.items())
def test_an_age_has_its_largest_two_units(monkeypatch: pytest.MonkeyPatch, shown: str, ago: timedelta) -> None:
    monkeypatch.setattr(render, "datetime", FixedClock)
    assert render.age(FixedClock.now() - ago) == shown


def test_an_age_can_be_one_of_the_past() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert render.age(at - timedelta(hours=3), at) == "3h"


def test_a_clock_that_is_behind_the_nodes_shows_no_negative_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "datetime", FixedClock)
    assert render.age(FixedClock.now() + timedelta(hours=1)) == "0s"


def test_a_time_that_is_not_known_shows_as_nothing() -> None:
    assert render.age(None) == ""
    assert render.moment(None) == ""


SIZES = {
    0: "0 B",
    1023: "1023 B",
    1024: "1.0 KiB",
    1536: "1.5 KiB",
    256 * 2**20: "256.0 MiB",
    2**30: "1.0 GiB",
    5 * 2**40: "5.0 TiB",
    2**60: "1048576.0 TiB",
}


@pytest.mark.parametrize(("count", "shown"), SIZES.items())
def test_a_size_has_a_binary_unit(count: int, shown: str) -> None:
    assert render.size(count) == shown


# -- rows


def test_an_unset_time_is_none_and_not_1970() -> None:
    assert event_row("rift", v1.EventInfo(id=1)).at is None
    row = component_row("rift", v1.ComponentInfo(service="web"))
    assert (row.started_at, row.finished_at, row.observed_at, row.exit_code) == (None, None, None, None)
    assert service_row(v1.ServiceInfo(name="web")).updated_at is None


def test_states_are_words() -> None:
    info = v1.ComponentInfo(desired=v1.DesiredState.RUNNING, observed=v1.ObservedState.UNHEALTHY, exit_code=0)
    row = component_row("rift", info)
    assert (row.desired, row.observed, row.exit_code) == ("running", "unhealthy", 0)
    assert outcome_row(v1.ComponentOutcome("api", v1.Result.REVERTED, "why")).result == "reverted"


def test_a_state_of_a_newer_agent_is_shown_by_number() -> None:
    received = v1.ComponentInfo().parse(b"\x30\x63\x38\x64")  # desired = 99, observed = 100
    row = component_row("rift", received)
    assert (row.desired, row.observed) == ("DesiredState(99)", "ObservedState(100)")


# -- what a terminal would act on, in structured output

# A string of each kind; a lone surrogate is in no message that came off a wire.
ACTED_ON = {kind: text for kind, text in HOSTILE.items() if kind != "lone surrogate"} | {
    "delete": "a\x7fb",
    "zero width": "a\u200bb\ufeff",
    "tag characters": "a\U000e0041b",
    "isolate": "\u2066x\u2069",
    "next line, first in it": "\x85a: b",
    "emoji": "ünïcode 👍🏽 日本",
}


@pytest.mark.parametrize("text", ACTED_ON.values(), ids=ACTED_ON.keys())
def test_json_and_yaml_are_harmless_and_parse_to_the_same(capsys: pytest.CaptureFixture[str], text: str) -> None:
    rows = [{"message": text, text: f"{text} at the end {text}"}, {"message": f"'{text}'", "n": 1}]
    for show, parse in (
        (render.as_json, json.loads),
        (render.as_json_line, json.loads),
        (render.as_yaml, yaml.safe_load),
        (lambda value: print(yamltext.document(value), end=""), yaml.safe_load),
    ):
        show(rows)
        printed = capsys.readouterr().out
        assert printed.replace("\n", "").isprintable(), show
        assert parse(printed) == rows, show


def test_what_prints_is_not_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (render.as_json, render.as_yaml):
        show(["ünïcode 日本"])
        assert "ünïcode 日本" in capsys.readouterr().out


def test_times_and_numbers_stay_what_they_are_in_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    render.as_yaml({"at": at, "n": 7, "none": None, "text": "7"})
    assert yaml.safe_load(capsys.readouterr().out) == {"at": at, "n": 7, "none": None, "text": "7"}
