"""What an operation looks like on a terminal: as lines of text, and as what a terminal is sent."""

import io
import os
import pty
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.ui import text_width
from mcpctl.ui.progress import Board, Line, Screen
from mcpctl.ui.rows.changes import OutcomeRow, ProgressRow
from tests.support.agent import AT, HOSTILE


def a_step(step: str = "pull", message: str = "pulling x:v1", after: float = 0) -> ProgressRow:
    return ProgressRow("api", step, message, AT + timedelta(seconds=after))


def text(line: Line) -> str:
    return "".join(piece for piece, _ in line)


def drawn(board: Board, *, now: float = 0, width: int = 60, height: int = 24, plain: bool = False) -> list[str]:
    return [text(line) for line in board.lines(now, width, height, plain=plain)]


def test_a_component_is_a_line_with_its_step_message_and_seconds() -> None:
    board = Board()
    board.step("api", a_step(), now=100)
    board.step("database", a_step("verify", "waiting until it is healthy"), now=103)
    assert drawn(board, now=105) == [
        "▸ api       pull       pulling x:v1                      5s",
        "▸ database  verify     waiting until it is healthy       2s",
    ]


def test_a_component_that_is_done_shows_its_result_in_colour_and_counts_no_further() -> None:
    board = Board()
    board.step("api", a_step(), now=100)
    board.outcome("api", OutcomeRow("api", "replaced", "v1 -> v2"), now=107)
    (line,) = board.lines(500, 60, 24)
    assert text(line) == "✓ api  replaced   v1 -> v2                               7s"
    assert ("✓", "green") in line
    assert any(piece.strip() == "replaced" and colour == "green" for piece, colour in line)


@pytest.mark.parametrize(
    ("result", "sign", "colour"),
    [
        ("created", "✓", "green"),
        ("failed", "✗", "red"),
        ("reverted", "✗", "red"),
        ("skipped", "-", "yellow"),
        ("unchanged", "-", "grey"),
    ],
)
def test_a_result_has_its_sign_and_colour(result: str, sign: str, colour: str) -> None:
    board = Board()
    board.outcome("api", OutcomeRow("api", result, ""), now=0)
    assert board.lines(0, 60, 24)[0][0] == (sign, colour)


def test_what_is_followed_late_has_the_age_that_the_node_gives_it() -> None:
    board = Board()
    for after in (0, 30, 42):
        board.step("api", a_step(after=after), now=1000)
    assert drawn(board, now=1001)[0].endswith(" 43s")
    board.outcome("api", OutcomeRow("api", "created", ""), now=1002)
    assert drawn(board, now=2000)[0].endswith(" 44s")


def test_an_encoding_without_signs_gets_plain_ones() -> None:
    board = Board()
    board.step("api", a_step(), now=0)
    board.outcome("db", OutcomeRow("db", "created", ""), now=0)
    board.outcome("bad", OutcomeRow("bad", "failed", ""), now=0)
    assert [line[0] for line in drawn(board, plain=True)] == [">", "+", "x"]


def last(board: Board, told: str = "", *, width: int = 60) -> list[str]:
    return [text(line).rstrip() for line in board.last_lines(9, width, told)]


def test_a_step_of_the_whole_operation_ends_when_the_next_begins() -> None:
    board = Board()
    board.step("", a_step("plan", "looking"), now=1)
    board.step("api", a_step(), now=3)
    assert [line.split()[0] for line in drawn(board, now=9)] == ["▸", "▸"]
    board.passed("", now=3)
    board.passed("nobody", now=3)
    assert [line.split()[:3] for line in drawn(board, now=9)] == [["✓", "-", "plan"], ["▸", "api", "pull"]]
    assert drawn(board, now=9)[0].endswith(" 2s")
    board.step("", a_step("commit", "recording"), now=5)
    board.passed("", now=5, well=False)
    assert drawn(board, now=9)[0].split()[:3] == ["✗", "-", "commit"]


def test_what_stays_has_every_component_and_its_message_whole() -> None:
    board = Board()
    message = "no longer defined, left as it is, and so on " * 3
    for number in range(40):
        board.outcome(
            f"c{number}", OutcomeRow(f"c{number}", "skipped", "no longer defined, left as it is, and so on " * 3), 1
        )
    lines = last(board)
    assert sum(line.startswith("-") for line in lines) == 40
    assert max(map(len, lines)) < 60
    words = " ".join(" ".join(lines[: len(lines) // 40]).split())
    assert words.replace(" 0s ", " ") == f"- c0 skipped {message}".strip()


def test_a_reason_that_the_error_tells_is_not_told_twice() -> None:
    board = Board()
    reason = "worker failed at verify: exited 1 right after its start; it printed last:\n    cannot open /etc/x"
    board.outcome("worker", OutcomeRow("worker", "reverted", reason), 1)
    error = "deploy of web: worker failed at verify: exited 1 right after its start; the service was rolled back"
    assert len(last(board, error)) == 1
    alone = last(board, "the connection broke")
    assert alone[-1].endswith("                            cannot open /etc/x"[-22:])
    assert len(alone) > 2


def test_steps_of_the_operation_itself_have_no_name() -> None:
    board = Board()
    board.step("", a_step("plan", "recording"), now=0)
    assert drawn(board)[0].startswith("▸ -  plan       recording ")


def test_where_not_all_fit_those_under_way_come_first() -> None:
    board = Board()
    for name in "abcde":
        board.step(name, a_step(), now=0)
    for name in "ace":
        board.outcome(name, OutcomeRow(name, "created", ""), now=0)
    assert [line[:3] for line in drawn(board, height=5)] == ["✓ a", "▸ b", "✓ c", "▸ d", "✓ e"]
    assert [line[:3] for line in drawn(board, height=4)] == ["✓ a", "▸ b", "▸ d", "and"]
    assert drawn(board, height=4)[-1] == "and 2 more"
    assert [line[:3] for line in drawn(board, height=3)] == ["▸ b", "▸ d", "and"]
    assert drawn(board, height=1) == ["and 5 more"]


def test_a_message_is_cut_where_the_line_ends() -> None:
    board = Board()
    board.step("api", a_step(message="waiting until web-api is healthy"), now=0)
    assert drawn(board, width=40) == ["▸ api  pull       waiting unti..     0s"]
    assert drawn(board, width=20) == ["▸ api  pull        "]
    assert drawn(board, width=10) == ["▸ api  pu"]
    board.step("database", a_step(), now=0)
    assert drawn(board, width=10)[1] == "▸ d..  pu"


MESSAGES = [HOSTILE, "long " * 100, "漢字" * 100, "é\u0301" * 50, "\u202ebackwards", ""]


@pytest.mark.parametrize("width", [1, 2, 10, 20, 33, 60, 300])
@pytest.mark.parametrize("message", MESSAGES, ids=ascii)
def test_a_line_never_reaches_the_last_column_whatever_is_in_it(message: str, width: int) -> None:
    board = Board()
    board.step(message or "api", ProgressRow("api", message, message, AT), now=0)
    board.outcome("x" * 100, OutcomeRow("", message, message), now=0)
    for line in drawn(board, width=width):
        assert text_width.columns(line) < width
        assert line.isprintable()


def test_wide_characters_take_two_columns() -> None:
    board = Board()
    board.step("api", a_step(message="漢字ＡＢ" * 9), now=0)
    assert drawn(board, width=40) == ["▸ api  pull       漢字ＡＢ漢字..     0s"]


@given(st.text(), st.text(), st.text(), st.integers(1, 200))
def test_any_text_keeps_to_the_width(name: str, step: str, message: str, width: int) -> None:
    board = Board()
    board.step(name, ProgressRow("", step, message, None), now=0)
    (line,) = drawn(board, width=width)
    assert text_width.columns(line) < width
    assert line.isprintable()


# -- on a terminal


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def sent(self) -> str:
        found = self.getvalue()
        self.truncate(0)
        self.seek(0)
        return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((60, 24)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_screen_draws_over_what_it_drew(terminal: Terminal) -> None:
    board = Board()
    screen = Screen(board, terminal, clock=lambda: 0)
    board.step("api", a_step(), now=0)
    screen.draw()
    first = terminal.sent()
    assert re.fullmatch(r"\r▸ api .*\x1b\[K\n\x1b\[J", first)
    board.step("db", a_step(), now=0)
    screen.draw()
    assert terminal.sent().startswith("\x1b[1A\r▸ api")
    screen.draw()
    assert terminal.sent().startswith("\x1b[2A\r▸ api")


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_who_wants_no_colour_gets_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, no_colour: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    board = Board()
    board.outcome("api", OutcomeRow("api", "created", HOSTILE), now=0)
    Screen(board, terminal, clock=lambda: 0).draw()
    sent = terminal.sent()
    assert ("\x1b[32m" in sent) == coloured
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", sent)) - {"\x1b[32m", "\x1b[90m", "\x1b[0m"} == {"\x1b[K", "\x1b[J"}


def test_a_terminal_that_does_not_know_its_size_is_drawn_on() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "w") as stream:
        board = Board()
        board.step("api", a_step(), now=0)
        Screen(board, stream, clock=lambda: 0).draw()
        assert "pulling x:v1" in reader.read(1000).decode()
