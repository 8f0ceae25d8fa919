"""status --watch and ps --watch on a terminal: what is seen, over changes of its size, and what is left of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.agent import Node
from tests.support.live_agent import LiveAgent, alive, an_alert, an_event
from tests.support.waiting import until
from tests.terminal.screen import terminal


@pytest.fixture
def live(alone: Node) -> LiveAgent:
    agent = alive(alone)
    agent.component("api")
    agent.component("worker")
    return agent


@pytest.mark.parametrize("columns", [40, 200])
def test_status_shows_drift_alerts_and_events_as_they_come(
    alone: Node, live: LiveAgent, tmp_path: Path, columns: int
) -> None:
    with terminal(tmp_path, "status", "--watch", "--interval", "0.5", columns=columns) as screen:
        screen.shows("SERVICE", "api", "worker", "running", "0 drifting")
        live.fail("worker")
        live.alerts = [an_alert()]
        alone.append(an_event(1, component="worker"))
        screen.shows("exited 1", "1 drifting", "OPEN ALERT", "EVENT", "worker")
        rows = [line for line in screen.lines if line.startswith("web")]
        # Who drifts comes first.
        assert "worker" in rows[0]
        assert ("it exited with 1" in rows[0]) == (columns == 200)
        assert all(len(line) < columns for line in screen.lines)
        status = screen.interrupt()
        assert status == 130
        screen.is_clean()
        # The last view stays.
        assert "exited 1" in screen.left


@pytest.mark.parametrize("columns", [40, 200])
def test_ps_shows_what_is_used(live: LiveAgent, tmp_path: Path, columns: int) -> None:
    assert live.percent == 50
    with terminal(tmp_path, "ps", "-w", "--interval", "0.5", columns=columns) as screen:
        screen.shows("CPU", "running", "50.")
        assert ("12.0 MiB / 64.0 MiB" in screen.text) == (columns == 200)
        assert ("8443:8443" in screen.text) == (columns == 200)
        assert screen.interrupt() == 130
        screen.is_clean()
        assert "50." in screen.left


def test_a_terminal_that_changes_its_size_is_drawn_anew(live: LiveAgent, tmp_path: Path) -> None:
    for number in range(30):
        live.component(f"c{number:02}")
    with terminal(tmp_path, "ps", "--watch", columns=200, lines=50) as screen:
        screen.shows("c29", "PORTS", "12.0 MiB / 64.0 MiB")
        screen.resize(40, 12)
        screen.shows("more")
        until(lambda: "PORTS" not in screen.text and "c29" not in screen.text)
        assert len(screen.lines) <= 12
        assert screen.lines[0].startswith("mcpctl ps")
        screen.resize(120, 50)
        screen.shows("c29", "12.0 MiB / 64.0 MiB")
        assert "more" not in screen.text
        # One of each: nothing is left of what was drawn for another size.
        assert screen.text.count("mcpctl ps") == screen.text.count(" web-c07 ") == 1
        assert screen.interrupt() == 130
        screen.is_clean()


def test_a_node_that_goes_away_is_said_to_be_gone_and_comes_back_by_itself(
    alone: Node, live: LiveAgent, tmp_path: Path
) -> None:
    assert live.components
    with terminal(tmp_path, "status", "-w", "--interval", "0.3", columns=100) as screen:
        screen.shows("running")
        alone.cut(for_good=True)
        screen.shows("node rift: unreachable since")
        # What it told last, in grey.
        until(lambda: b"\x1b[90mrunning" in screen.bytes)
        assert "worker" in screen.text
        alone.listen()
        until(lambda: "unreachable" not in screen.text)
        screen.shows("running")
        assert screen.interrupt() == 130
        screen.is_clean()


def test_one_connection_is_kept_for_all_that_is_asked(alone: Node, live: LiveAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, "status", "-w", "--interval", "0.2") as screen:
        until(lambda: len([each for each in live.requests if type(each).__name__ == "GetStatusRequest"]) > 5)
        assert alone.connections == 1
        assert screen.interrupt() == 130


def test_sigterm_leaves_the_terminal_as_it_was(live: LiveAgent, tmp_path: Path) -> None:
    assert live.components
    with terminal(tmp_path, "ps", "--watch") as screen:
        screen.shows("running")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 143
        screen.is_clean()


def test_ctrl_z_gives_the_shell_its_screen_and_going_on_draws_again(live: LiveAgent, tmp_path: Path) -> None:
    assert live.components
    with terminal(tmp_path, "ps", "--watch") as screen:
        screen.shows("running")
        screen.type("\x1a")
        until(lambda: os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
        until(lambda: screen.bytes.count(b"\x1b[?1049l") == 1)
        entered = screen.bytes.count(b"\x1b[?1049h")
        screen.process.send_signal(signal.SIGCONT)
        until(lambda: screen.bytes.count(b"\x1b[?1049h") == entered + 1)
        assert screen.interrupt() == 130
        screen.is_clean()
