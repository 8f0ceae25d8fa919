"""An alert to send, commands to send it with, and what the operating system says of them."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import trio

from monitor.alerts.command import execute
from monitor.model import Alert, AlertKind, Execution
from tests.support.waiting import until

# Far more than anything here needs; a test that gets there has failed.
DEADLINE_S = 30
# Longer than any test: it is never what ends a command, unless the clock is a mock.
LONG_S = 1000.0
MIB = 1 << 20

ALERT = Alert(
    id=7,
    node="rift",
    service="web",
    component="api",
    kind=AlertKind.DRIFT,
    desired="running",
    observed="exited",
    reason="exited 137 (out of memory)",
    since=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    transitions=3,
)


def alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(ALERT, **changes)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-ISE", "-c", code)


def sh(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def run(argv: tuple[str, ...], alert: Alert = ALERT) -> Execution:
    with trio.fail_after(DEADLINE_S):
        return await execute(argv, alert, LONG_S)


async def meanwhile(condition: Callable[[], object], what: str) -> None:
    """Waits in real time, which a mock clock does not have."""
    await trio.to_thread.run_sync(until, condition, what)


def open_descriptors() -> set[str]:
    """Each with what it is: ``3 pipe:[4711]``."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{each.name} {each.readlink()}")
    return found


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def children() -> str:
    """Our child processes, zombies too."""
    return " ".join(each.read_text() for each in Path("/proc/self/task").glob("*/children")).strip()
