"""A forked mcpctl is what a started one would be, to whoever runs it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked_mcpctl import FORKS

WITHIN_S = 60.0


@pytest.mark.parametrize("words", [["list"], ["deploy", "web"], ["--version"], ["no-command"]])
def test_it_says_and_ends_as_a_started_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "MCP_CONFIG": "none.toml"}
    forked = FORKS.run(words, env, WITHIN_S)
    argv = [sys.executable, "-m", "mcpctl", *words]
    started = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    # One leaves nothing to the next: the first read a file of another folder.
    (tmp_path / "none.toml").write_text("[")
    assert FORKS.run(["list"], env, WITHIN_S).stderr.startswith(f"mcpctl: {tmp_path}/none.toml")


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = f'[[nodes]]\nname = "n1"\naddress = "127.0.0.1:{silent.getsockname()[1]}"\nca_cert = "ca.pem"\n'
        (tmp_path / "mcp.toml").write_text(node + 'token_path = "token"\n')
        (tmp_path / "ca.pem").touch()
        (tmp_path / "token").write_text("x")
        (tmp_path / "token").chmod(0o600)
        with pytest.raises(subprocess.TimeoutExpired):
            FORKS.run(["node", "list"], {"MCP_CONFIG": str(tmp_path / "mcp.toml")}, 0.0001)
