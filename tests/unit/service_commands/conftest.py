"""An editor that does as the test says, and a compose file."""

import sys
from pathlib import Path

import pytest

from tests.support.agent import Node
from tests.support.definitions import COMPOSE, Editor


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Sets an editor that runs some Python on ``file``; ``turn`` counts its runs. Returns where they are counted."""

    def editor(code: str) -> Path:
        turns = tmp_path / "turns"
        turns.write_text("")
        script = tmp_path / "my editor.py"
        script.write_text(
            "import pathlib, sys\n"
            f"turns = pathlib.Path({str(turns)!r})\n"
            "turns.write_text(turns.read_text() + sys.argv[-1] + '\\n')\n"
            "turn = len(turns.read_text().splitlines())\n"
            f"definition = pathlib.Path({str(tmp_path / 'services/web.toml')!r})\n"
            "file = pathlib.Path(sys.argv[-1])\n"
            f"{code}\n"
        )
        monkeypatch.setenv("VISUAL", f"{sys.executable} '{script}' --wait")
        return turns

    monkeypatch.delenv("EDITOR", raising=False)
    return editor


@pytest.fixture
def file(tmp_path: Path, nodes: tuple[Node, Node]) -> Path:  # noqa: ARG001
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE)
    return path
