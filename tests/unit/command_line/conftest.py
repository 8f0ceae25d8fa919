"""A configuration whose nodes are not there, and the program."""

import sys
from pathlib import Path

import pytest

from mcpctl import __main__ as program
from mcpd.setup import pki
from tests.support.agent import Ran, Run
from tests.support.offline import CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workstation's configuration, with nodes at which nothing listens."""
    (tmp_path / "services").mkdir()
    (tmp_path / "mcp.toml").write_text(CONFIG)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "ca.pem").write_bytes(pki.make_authority("rift").pem.certificate)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program in this process: fast enough for many."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mcpctl", *words])
        with pytest.raises(SystemExit) as raised:
            program.main()
        out, err = capsys.readouterr()
        assert isinstance(raised.value.code, int)
        return Ran(raised.value.code, out, err)

    for name in ("MCP_TOKEN", "MCP_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MCP_CONFIG", str(folder / "mcp.toml"))
    return run
