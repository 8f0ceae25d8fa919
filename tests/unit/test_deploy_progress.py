"""`mcpctl deploy` on a terminal: each component is a line that moves."""

import re
import signal

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.support.agent import HOSTILE, JSON, Node
from tests.support.changes import ANNOUNCED, reports, step
from tests.support.terminal import Open, seen


@pytest.mark.usefixtures("deploying")
def test_on_a_terminal_a_component_is_one_line_that_ends_as_its_result(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web")
    assert program.end() == 0
    announced, line = seen(program.shown)
    assert announced == ANNOUNCED
    assert line.startswith("✓ api  replaced   v1 -> v2 ")
    assert "\x1b[32m✓\x1b[0m" in program.shown
    assert "pulling x:v1" in program.shown
    assert program.shown.endswith("\r\n\x1b[J")


@pytest.mark.usefixtures("deploying")
def test_a_dumb_terminal_gets_plain_lines(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web", TERM="dumb")
    assert program.end() == 0
    assert program.shown == f"{ANNOUNCED}\r\napi              pull     pulling x:v1\r\n"


@pytest.mark.usefixtures("deploying")
def test_json_draws_nothing(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web", *JSON)
    assert program.end() == 0
    assert program.shown == ""


def test_an_error_comes_below_the_drawing(on_terminal: Open, deploying: Node) -> None:
    failed = GRPCError(Status.FAILED_PRECONDITION, f"api failed at verify{HOSTILE}")
    deploying.agent.prepared["DeployRequest"] = reports(step(HOSTILE), failed, completed=False)
    program = on_terminal("deploy", "web", NO_COLOR="1")
    assert program.end() == 1
    _, first, second, *_ = seen(program.shown)
    assert first.startswith("▸ api  pull ")
    assert second.startswith("mcpctl: node rift: api failed at verify")
    escapes = set(re.findall(r"\x1b.[^A-Za-z]*.", program.shown))
    assert escapes <= {"\x1b[K", "\x1b[J", "\x1b[1A"}


def test_ctrl_c_leaves_whole_lines_on_the_terminal(on_terminal: Open, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = on_terminal("deploy", "web")
    program.until("pulling")
    program.type("^C")
    program.process.send_signal(signal.SIGINT)
    assert program.end() == 130
    assert "^C" in program.shown
    _, first, *rest = seen(program.shown)
    assert first.startswith("▸ api  pull ")
    assert "".join(rest).startswith("mcpctl: interrupted; operation 12 continues on rift")


def test_the_seconds_go_on_while_nothing_happens(on_terminal: Open, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    on_terminal("deploy", "web").until(r" [1-9]\d*s")
