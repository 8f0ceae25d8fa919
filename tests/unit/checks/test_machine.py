"""What `mcpd check` says of the clock, the kernel and the alert command."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcpd.checks import finding, machine
from mcpd.checks.finding import Status
from tests.support.findings import status


@pytest.mark.parametrize(("year", "verdict"), [(2026, Status.OK), (1970, Status.FAILURE), (2199, Status.FAILURE)])
def test_a_clock_far_off_is_told(year: int, verdict: Status) -> None:
    assert status(machine.judge_clock(datetime(year, 1, 1, tzinfo=UTC))) is verdict


def test_a_clock_that_nobody_keeps_right_is_told() -> None:
    assert status(machine.judge_sync(0)) is Status.OK
    assert status(machine.judge_sync(0x41)) is Status.WARNING


def test_the_kernel_is_asked_as_python_cannot() -> None:
    """Against adjtimex(8), where that is installed; in any case the answer is one that the kernel can give."""
    asked = machine.clock_status()
    assert 0 <= asked <= 0xFFFF
    if program := shutil.which("adjtimex"):
        printed = subprocess.run([program, "--print"], capture_output=True, text=True, check=True).stdout
        (line,) = (line for line in printed.splitlines() if "status:" in line)
        assert asked == int(line.split(":")[1].split()[0])


def test_an_alert_command_must_be_a_program(tmp_path: Path) -> None:
    program = tmp_path / "alert"
    argv = (str(program), "--token", "hunter2")
    assert status(machine.look_alert_command(())) is Status.WARNING
    assert status(machine.look_alert_command(argv)) is Status.WARNING
    program.touch()
    assert status(machine.look_alert_command(argv)) is Status.WARNING
    program.chmod(0o755)
    found = machine.look_alert_command(argv)
    assert status(found) is Status.OK
    assert "hunter2" not in finding.as_json(found)
