"""SIGKILL of the daemon at every point around an alert: nothing is lost, nor told twice but where it must be.

Between the command's start and the commit of how it ended nobody can decide, after a crash, whether it was told: in
these two windows it is told again, with the same id, so that the receiver can drop the repeat.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
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
STORM = 50
# As the dispatcher bounds it.
AT_ONCE = 16


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


def test_a_storm_of_alerts_is_bounded_and_told_again_only_where_a_kill_leaves_it_open(tmp_path: Path) -> None:
    """Fifty die at once, and the daemon in the middle of telling of them."""
    told, dying = tmp_path / "told", tmp_path / "kill-your-parent"
    command = tmp_path / "notify"
    command.write_text(
        f'#!/bin/sh\necho "begins $MCP_ALERT_ID" >> {told}\nsleep 0.05\necho "ends $MCP_ALERT_ID" >> {told}\n'
        f"if [ $(grep -c ends {told}) -ge {STORM // 2} ] && rm {dying} 2> /dev/null; then kill -9 $PPID; fi\n"
    )
    command.chmod(0o755)
    assert live(tmp_path, command, "running", "never", STORM) == 0
    dying.touch()
    assert live(tmp_path, command, "exited", "never", STORM) == -signal.SIGKILL
    killed_at = told.read_text().count("\n")
    assert live(tmp_path, command, "exited", "never", STORM) == 0
    lines = [line.split() for line in told.read_text().splitlines()]
    begun = Counter(number for what, number in lines if what == "begins")
    assert len(begun) == STORM
    # Again only those that ran, or had ended and were not recorded, when the daemon was killed.
    assert sum(begun.values()) - STORM <= AT_ONCE
    assert max(begun.values()) <= 2
    assert 1 < most_at_once(lines[:killed_at]) <= AT_ONCE
    assert live(tmp_path, command, "exited", "never", STORM) == 0
    assert len(told.read_text().splitlines()) == len(lines)


def most_at_once(lines: Sequence[Sequence[str]]) -> int:
    running = most = 0
    for what, _ in lines:
        running += 1 if what == "begins" else -1
        most = max(most, running)
    return most


def live(folder: Path, command: Path, state: str, point: str, containers: int = 1) -> int:
    """One life of the daemon's monitor; returns how it ended."""
    argv = [sys.executable, "-m", watcher.__name__, str(folder / "mcp.db"), str(command), state, point, str(containers)]
    return subprocess.run(argv, check=False, timeout=watcher.DEADLINE_S + 10).returncode
