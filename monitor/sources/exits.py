"""The exit watcher: a pidfd for each container. The kernel tells of a death, and conmon's exit file has the code."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from monitor import pidfd
from monitor.model import Ended, Observation, Sighting
from monitor.ports import OutsideError
from monitor.sources.inspector import Inspector

# Measured: conmon writes the exit file 1 to 4 ms after the death. When a whole node dies, each conmon waits for a core,
# up to a second; podman, who is asked about all of them, answers after ten.
_EXIT_FILE_DEADLINE_S = 5.0
# Between two looks at it: short as long as it usually takes, and then ever longer, so that a hundred who look leave the
# cores to conmon.
_EXIT_FILE_USUAL_S = 0.01
_EXIT_FILE_POLL_S = 0.0005
_EXIT_FILE_POLL_MAX_S = 0.02
# How long podman may need to say whether somebody is stopping it by hand, from when it is asked (usually 2 to 3 ms). An
# answer that takes longer is of a podman that has read the exit file, and no longer tells.
_BY_HAND_DEADLINE_S = 0.004
# Without an exit file (it died while nobody watched) podman's answer is the only one that has the code.
_NO_CODE_DEADLINE_S = 5.0
# The kernel's start time of a process and podman's of its container are taken some 100 ms apart; a process that got
# the pid afterwards started later than that, or it is another boot's.
_START_TOLERANCE_S = 3.0


class Run(NamedTuple):
    """A run of a container, and its processes on this node."""

    container: str
    started_at: datetime
    pid: int
    conmon_pid: int


class ExitWatcher:
    """Watches runs, each until its end; `watch` is to be run as a task per run.

    ``resync`` asks for a list: an end is seldom alone, and the events of what follows it may be lost.
    """

    def __init__(
        self, inspector: Inspector, send: trio.MemorySendChannel[Observation], resync: Callable[[], None]
    ) -> None:
        self._inspector = inspector
        self._send = send
        self._resync = resync

    async def watch(self, run: Run) -> None:
        """Returns when the run has ended and that was sent; then looks, since podman may restart it."""
        exit_file = _exit_file(run)
        if not _is_that_process(run):
            await self._look_again(run)
            return
        await pidfd.wait_exit(run.pid)
        asked_at = trio.current_time()
        end = Ended(run.container, run.started_at, datetime.now(UTC), None, by_hand=None)
        seen: Sighting | None = None
        answered = trio.Event()

        async def ask_podman() -> None:
            nonlocal seen
            with contextlib.suppress(OutsideError):
                seen = await self._inspector.look(run.container)
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_podman)
            code = await _exit_code(exit_file, run)
            end = msgspec.structs.replace(end, exit_code=code)
            if code is not None:
                await self._send.send(end)
            with trio.move_on_at(asked_at + (_BY_HAND_DEADLINE_S if code is not None else _NO_CODE_DEADLINE_S)):
                await answered.wait()
            # Without a code from the kernel's side, podman's word is all there is; when it does not answer either, the
            # resync asks again.
            if code is not None or (seen and seen.pid == run.pid):
                await self._send.send(msgspec.structs.replace(end, by_hand=bool(seen and seen.by_hand)))
        await self._look_again(run)

    async def _look_again(self, run: Run) -> None:
        with contextlib.suppress(OutsideError):  # the resync looks when podman is back
            await self._inspector.look(run.container)
        self._resync()


def _is_that_process(run: Run) -> bool:
    """Whether the pid is still that of the run: pids are used again."""
    try:
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True  # ended already, which waiting for it finds out at once
    # proc(5): field 22, in clock ticks since boot; 19 fields after the command's closing parenthesis.
    seconds_ago = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    started = datetime.now(UTC).timestamp() - seconds_ago
    return started - run.started_at.timestamp() < _START_TOLERANCE_S


def _exit_file(run: Run) -> Path | None:
    """Where conmon will write the exit code: in its --exit-dir, under the container's id (conmon(8))."""
    try:
        words = Path(f"/proc/{run.conmon_pid}/cmdline").read_text().split("\0")
        return Path(words[words.index("--exit-dir") + 1], run.container)
    except (OSError, ValueError, IndexError):
        return None


async def _exit_code(file: Path | None, run: Run) -> int | None:
    """The code in the exit file; None when conmon ended without a word, or writes none in time."""
    if file is None:
        return None
    pause, usual_until = _EXIT_FILE_POLL_S, trio.current_time() + _EXIT_FILE_USUAL_S
    with trio.move_on_after(_EXIT_FILE_DEADLINE_S):
        while True:
            # In this order: what conmon wrote before its end is found.
            may_write = _is_there(run.conmon_pid)
            code = _read_code(file, run.started_at)
            if code is not None or not may_write:
                return code
            await trio.sleep(pause)
            if trio.current_time() > usual_until:
                pause = min(2 * pause, _EXIT_FILE_POLL_MAX_S)
    return None


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _read_code(file: Path, started_at: datetime) -> int | None:
    """A small file on a tmpfs: reading it here is quicker than asking another thread to."""
    try:
        if file.stat().st_mtime < started_at.timestamp():
            return None
        return int(file.read_text())
    except (OSError, ValueError):
        return None
