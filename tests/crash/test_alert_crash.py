"""SIGKILL of the daemon at every point around an alert: nothing is lost, nor told twice but where it must be.

Between the command's start and the commit of how it ended nobody can decide, after a crash, whether it was told: in
these two windows it is told again, with the same id, so that the receiver can drop the repeat.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import watcher

# The point, how often the operator's command is started over both lives, and whether that is the undecidable window.
POINTS = {
    "before commit": 1,
    "after commit": 1,
    "during exec": 2,
    "after exec": 2,
    "after it was recorded": 1,
}
UNDECIDABLE = {"during exec", "after exec"}


@pytest.mark.parametrize("point", POINTS)
def test_an_alert_survives_a_kill(tmp_path: Path, point: str) -> None:
    told, dying = tmp_path / "told", tmp_path / "kill-your-parent"
    command = tmp_path / "notify"
    command.write_text(
        f'#!/bin/sh\necho "$MCP_ALERT_ID $MCP_KIND $MCP_REASON" >> {told}\n'
        f"if [ -e {dying} ]; then rm {dying}; kill -9 $PPID; fi\n"
    )
    command.chmod(0o755)
    assert live(tmp_path, command, "running", "never") == 0
    if point == "during exec":
        dying.touch()
    assert live(tmp_path, command, "exited", point) == -signal.SIGKILL
    for _ in range(3):
        assert live(tmp_path, command, "exited", "never") == 0
    lines = told.read_text().splitlines()
    assert set(lines) == {"1 drift exited 137 (SIGKILL)"}
    assert len(lines) == POINTS[point]
    assert (len(lines) > 1) == (point in UNDECIDABLE)


def live(folder: Path, command: Path, state: str, point: str) -> int:
    """One life of the daemon's monitor; returns how it ended."""
    argv = [sys.executable, "-m", watcher.__name__, str(folder / "mcp.db"), str(command), state, point]
    return subprocess.run(argv, check=False, timeout=watcher.DEADLINE_S + 10).returncode
