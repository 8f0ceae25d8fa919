"""What `mcpd init` prints, pasted on a workstation as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import free_port


def mcp(module: str, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_printed_lines_make_mcpctl_on_another_machine_trust_two_nodes(tmp_path: Path) -> None:
    """`ssh` is replaced by a program that runs its command here; all else is as pasted, once for each node."""
    home, tools = tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    ssh = tools / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    ssh.chmod(0o755)
    workstation = {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
    for name in ("rift", "vault"):
        made = mcp("mcpd", "init", str(tmp_path / name), "--node", name, "--address", f"127.0.0.1:{free_port()}")
        assert made.returncode == 0, made.stderr
        _, _, pasted = made.stdout.partition("paste these lines; they make mcpctl trust and reach it:\n")
        lines, _, _ = pasted.partition("\nThe admin token is in")
        done = subprocess.run(["sh", "-euc", lines], env=workstation, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    listed = mcp("mcpctl", "node", "list", "--offline", env=workstation)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NODE", "rift", "vault"]
    # Configuration, CA and token are all accepted: what is missing is only the daemons.
    asked = mcp("mcpctl", "ps", env=workstation)
    assert asked.returncode == 4
    assert asked.stderr.count("cannot be reached") == 2
    for name in ("rift", "vault"):
        token = home / f".config/mcp/nodes/{name}/token"
        assert token.read_text() == (tmp_path / name / "admin.token").read_text()
        assert token.stat().st_mode & 0o777 == 0o600
