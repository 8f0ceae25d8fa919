"""exec and run on a terminal: it is raw while the program has it, and afterwards as it was, however that ends."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import termios
import threading
from pathlib import Path

import pytest

from tests.support.agent import WEB, Node
from tests.support.session_agent import SessionAgent, running_programs
from tests.support.waiting import until
from tests.terminal.screen import Terminal, terminal

# What editors do: the second screen, no cursor, the mouse.
DRAWS = "printf 'before\\r\\n\\033[?1049h\\033[?25l\\033[?1002;1006hdrawn'; exec sleep 600"


@pytest.fixture
def agent(alone: Node, tmp_path: Path) -> SessionAgent:
    (tmp_path / "services" / "web.toml").write_text(WEB)
    return running_programs(alone)


def is_raw(screen: Terminal) -> bool:
    local = termios.tcgetattr(screen._theirs)[3]
    return not local & (termios.ICANON | termios.ECHO | termios.ISIG)


def sh(script: str) -> tuple[str, ...]:
    return ("exec", "web/api", "--", "sh", "-c", script)


def test_a_shell_is_a_shell_and_the_terminal_is_as_it_was(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, "exec", "web", columns=91, lines=33) as screen:
        until(lambda: is_raw(screen))
        start = agent.last.start
        assert (start.terminal.rows, start.terminal.columns, start.has_input) == (33, 91, True)
        assert start.env == {"TERM": "xterm-256color"}
        screen.type("PS1='> '; stty size; echo $TERM; tty\r")
        screen.shows("33 91", "xterm-256color", "/dev/pts/")
        screen.type("exit 7\r")
        assert screen.end() == 7
        screen.is_clean()


@pytest.mark.parametrize("status", [0, 1, 137])
def test_each_status_leaves_it_clean(agent: SessionAgent, tmp_path: Path, status: int) -> None:
    with terminal(tmp_path, *sh(f"printf bye; exit {status}")) as screen:
        assert screen.end() == status
        screen.is_clean()
        assert agent.last.start.terminal.rows == 24
        assert screen.lines[0] == ("bye$" if status < 128 else "bye")


def test_a_change_of_size_is_the_programs_too(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")) as screen:
        screen.shows("ready")
        screen.resize(100, 40)
        screen.shows("40 100")
        assert agent.last.sizes[-1] == (40, 100)
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 143
        screen.is_clean()


def test_ctrl_c_ctrl_d_and_ctrl_z_travel_as_bytes(agent: SessionAgent, tmp_path: Path) -> None:
    program = "stty raw -echo; echo ready; dd bs=1 count=4 2>/dev/null | od -An -tx1"
    with terminal(tmp_path, *sh(program)) as screen:
        screen.shows("ready")
        screen.type("\x03\x04\x1a\x1c")
        screen.shows("03 04 1a 1c")
        assert screen.end() == 0
        screen.is_clean()
        assert agent.last.signals == []
        assert not agent.last.has_end


def test_ctrl_c_is_a_signal_to_a_program_on_a_terminal_of_its_own(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done")) as screen:
        screen.shows("ready")
        assert screen.interrupt() == 5
        screen.shows("caught")
        screen.is_clean()
        assert agent.last.signals == []


def test_without_a_terminal_ctrl_c_is_a_signal_and_ctrl_d_an_end(agent: SessionAgent, tmp_path: Path) -> None:
    program = "trap 'echo caught' INT; echo ready; cat; echo over"
    with terminal(tmp_path, "exec", "web/api", "-i", "--no-tty", "--", "sh", "-c", program) as screen:
        screen.shows("ready")
        assert not is_raw(screen)
        screen.type("hello\r")
        until(lambda: agent.last.received == len("hello\n"))
        screen.type("\x04")
        screen.shows("over")
        assert screen.end() == 0
        assert agent.last.has_end
        screen.is_clean()
    with terminal(tmp_path, "exec", "web/api", "--no-tty", "--", "sh", "-c", "echo ready; sleep 600") as screen:
        screen.shows("ready")
        assert not agent.last.start.has_input
        assert screen.interrupt() == 130
        assert agent.last.signals == ["SIGINT"]
        screen.is_clean()


def test_a_paste_of_a_mebibyte_arrives_whole(agent: SessionAgent, tmp_path: Path) -> None:
    text = "".join(f"{number:015}\n" for number in range(1 << 16))
    with terminal(tmp_path, *sh(f"stty raw -echo; echo ready; head -c {len(text)} | sha256sum")) as screen:
        screen.shows("ready")
        # Its other end reads as fast as the program does.
        paste = threading.Thread(target=_write, args=(screen, text.encode()))
        paste.start()
        assert screen.end() == 0
        paste.join()
        screen.is_clean()
        assert hashlib.sha256(text.encode()).hexdigest() in "".join(screen.lines)
        assert agent.last.received == len(text)


def _write(screen: Terminal, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(screen._ours, left) :]


def test_what_is_typed_before_it_begins_is_the_programs(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh("stty raw -echo; dd bs=1 count=3 2>/dev/null | od -An -c")) as screen:
        screen.type("abc")
        screen.shows("a   b   c")
        assert screen.end() == 0
        assert agent.last.received == 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"])
def test_a_signal_to_mcpctl_gives_the_terminal_back_as_it_was(agent: SessionAgent, tmp_path: Path, name: str) -> None:
    number = signal.Signals[name]
    with terminal(tmp_path, *sh(DRAWS)) as screen:
        screen.shows("drawn")
        screen.process.send_signal(number)
        assert screen.end() == 128 + number
        screen.is_clean()
        assert f"mcpctl: ended by {name}; node rift ends sh in web-api" in screen.left
        until(lambda: agent.last.was_left)


def test_a_lost_connection_gives_the_terminal_back_as_it_was(agent: SessionAgent, alone: Node, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh(DRAWS), columns=200) as screen:
        screen.shows("drawn")
        alone.cut(for_good=True)
        assert screen.end() == 125
        screen.is_clean()
        assert re.search(r"mcpctl: the connection to node rift was lost while sh in web-api was running", screen.left)
        assert agent.sessions


def test_a_program_that_is_killed_while_it_draws_leaves_a_cursor(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh(DRAWS)) as screen:
        screen.shows("drawn")
        assert agent.last.process
        os.killpg(agent.last.process.pid, signal.SIGKILL)
        assert screen.end() == 137
        screen.is_clean()


def test_it_is_raw_again_when_it_goes_on_after_a_stop(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, *sh("echo ready; cat")) as screen:
        screen.shows("ready")
        screen.process.send_signal(signal.SIGSTOP)
        until(lambda: os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
        # As a shell does, which has it meanwhile.
        termios.tcsetattr(screen._theirs, termios.TCSANOW, screen.modes_before)
        screen.process.send_signal(signal.SIGCONT)
        until(lambda: is_raw(screen))
        screen.type("\x04")
        assert screen.end() == 0
        screen.is_clean()
        assert agent.last.sizes


def test_a_run_has_the_terminal_too(agent: SessionAgent, tmp_path: Path) -> None:
    with terminal(tmp_path, "run", "web", "-it", "--", "sh", "-c", "tty; exit 3") as screen:
        assert screen.end() == 3
        assert "/dev/pts/" in screen.text
        screen.is_clean()
        assert agent.last.start.terminal.columns == 80


def test_an_error_before_it_begins_leaves_the_terminal_alone(agent: SessionAgent, alone: Node, tmp_path: Path) -> None:
    assert not agent.sessions
    alone.cut(for_good=True)
    with terminal(tmp_path, *sh("true")) as screen:
        assert screen.end() == 125
        screen.is_clean()
        assert "cannot be reached" in screen.text
