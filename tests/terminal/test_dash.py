"""mcpctl dash on a terminal of 80x24."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent import Node
from tests.support.live_agent import alive
from tests.terminal.screen import terminal

pytest.importorskip("textual", reason="the extra dash is not installed")


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "ctrl-c"])
def test_it_shows_the_fleet_and_leaves_the_terminal_as_it_was(alone: Node, tmp_path: Path, key: str) -> None:
    alive(alone).component("api")
    with terminal(tmp_path, "dash") as screen:
        screen.shows("rift", "web", "1/1", "Quit")
        screen.type(key)
        assert screen.end() == 0
        screen.is_clean()
