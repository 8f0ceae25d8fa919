"""What Ctrl-C leaves of commands that go on, and what a terminal without UTF-8 is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from protos.mcp import v1
from tests.support.agent import WEB, Node
from tests.support.live_agent import LiveAgent, alive
from tests.terminal.screen import terminal

# LC_ALL=C as old programs know it, without what Python makes of it; LC_ALL=C as it is; and a terminal of Latin-1,
# whose locale few machines have.
ENVIRONMENTS = [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "iso-8859-1"},
]
NOT_ASCII = "Größe 漢字 ▸ \udce9"


@pytest.fixture
def live(alone: Node, tmp_path: Path) -> LiveAgent:
    (tmp_path / "services" / "web.toml").write_text(WEB)
    agent = alive(alone)
    agent.component("api")
    return agent


def test_ctrl_c_in_logs(live: LiveAgent, tmp_path: Path) -> None:
    live.lines = [b"one", b"two"]
    with terminal(tmp_path, "logs", "web", "-f") as screen:
        screen.shows("| one", "| two")
        assert screen.interrupt() == 130
        screen.is_clean()
        assert screen.lines[:2] == ["api | one", "api | two"]


def test_ctrl_c_in_a_deploy_says_that_it_goes_on(live: LiveAgent, tmp_path: Path) -> None:
    step = v1.Progress("api", "pull", "pulling x:v1", datetime.now(UTC))
    live.prepared["DeployRequest"] = [v1.DeployResponse("12", progress=step), ...]
    with terminal(tmp_path, "deploy", "web", columns=200) as screen:
        screen.shows("pulling x:v1")
        assert screen.interrupt() == 130
        screen.is_clean()
        assert "operation 12 continues on rift" in screen.text


@pytest.mark.parametrize("words", [("events",), ("status",), ("status", "--watch"), ("logs", "web"), ("timeline",)])
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=["ascii", "C", "latin-1"])
def test_what_a_terminal_cannot_show_is_no_error(
    live: LiveAgent, tmp_path: Path, environment: dict[str, str], words: tuple[str, ...]
) -> None:
    text = NOT_ASCII.replace("\udce9", "")
    live.fail("api", f"drift {text}")
    live.append(v1.EventInfo(1, "web", "api", datetime.now(UTC), "exited", f"event {text}"))
    live.lines = [f"line {text}".encode()]
    with terminal(tmp_path, *words, columns=200, environment=environment) as screen:
        screen.shows({"logs": "line Gr", "status": "drift Gr", "events": "event Gr"}.get(words[0], "web/api"))
        status = screen.interrupt() if "--watch" in words else screen.end()
        assert status == (130 if "--watch" in words else 0)
        screen.is_clean()
        assert "a bug" not in screen.text


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=["ascii", "C", "latin-1"])
def test_nor_is_a_message_that_it_cannot_show(live: LiveAgent, tmp_path: Path, environment: dict[str, str]) -> None:
    assert live.components
    with terminal(tmp_path, "status", NOT_ASCII, columns=200, environment=environment) as screen:
        assert screen.end() == 2
        screen.is_clean()
        assert "a bug" not in screen.text
