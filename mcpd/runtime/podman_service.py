"""The podman link: watches a configured socket, or runs podman's API service itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
import trio

from mcpd.errors import McpdError
from mcpd.runtime.podman import Podman
from monitor import pidfd
from monitor.model import SourceState

log = structlog.get_logger()

# A probe's command leaves two processes of conmon behind for so long; podman's own default, 300 s, would be 30 MiB for
# every component with a probe each half minute. Sooner than that podman has forgotten how the command ended: of 30
# probes on a busy machine none was lost with 1 s, and 23 with none. podman before 4.4 does not read this file: see
# docs/bootstrap.md.
_CONF = "[engine]\nexit_command_delay = 1\n"

_REMOTE = frozenset({"CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY"})

# How often a podman that answers is checked again.
_PING_INTERVAL_S = 5.0
# A service that just started answers within this, even on a slow disk; longer is a hang.
_START_DEADLINE_S = 30.0
_START_POLL_S = 0.02
# Missed answers in a row before a service of our own that still runs is taken for hung and replaced.
_HUNG_AFTER = 3
# A service that keeps dying is restarted with growing delays, so it cannot keep a core busy.
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 15.0
_TERM_GRACE_S = 5.0


class PodmanLink:
    """Keeps the link up and knows its state. ``temporary``: a folder for what a podman of our own has for a while."""

    def __init__(self, podman: Podman, socket: Path, temporary: Path, *, run_service: bool) -> None:
        self._podman = podman
        self._socket = socket
        self._temporary = temporary
        self._run_service = run_service
        self.state = SourceState("podman", False, "not queried yet", datetime.now(UTC))
        self.podman_version = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. Started once podman answered, or once it is clear that it does not."""
        if self._run_service:
            await self._run_own(task_status.started)
        else:
            await self._watch_given(task_status.started)

    async def _watch_given(self, started: Callable[[], None]) -> None:
        first = True
        while True:
            await self._ping()
            if first:
                started()
                first = False
            await trio.sleep(_PING_INTERVAL_S)

    async def _run_own(self, started: Callable[[], None]) -> None:
        backoff = _BACKOFF_FIRST_S
        first = True
        while True:
            temporary = await trio.to_thread.run_sync(_emptied, self._temporary)
            process = _spawn(self._socket, temporary)
            try:
                if await self._answers_in_time(process):
                    backoff = _BACKOFF_FIRST_S
                if first:
                    started()
                    first = False
                if self.state.ok:
                    await self._until_gone(process)
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)
            self._set(False, f"`podman system service` ended with status {process.returncode}; starting it again")
            await trio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_MAX_S)

    async def _answers_in_time(self, process: subprocess.Popen[bytes]) -> bool:
        with trio.move_on_after(_START_DEADLINE_S):
            while process.poll() is None:
                if self._socket.exists() and await self._ping():
                    return True
                await trio.sleep(_START_POLL_S)
        return False

    async def _until_gone(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when the service has ended, or has not answered so often that it must be replaced."""
        async with trio.open_nursery() as nursery:

            async def watch_answers() -> None:
                missed = 0
                while missed < _HUNG_AFTER:
                    await trio.sleep(_PING_INTERVAL_S)
                    missed = 0 if await self._ping() else missed + 1
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch_answers)
            await pidfd.wait_exit(process.pid)
            nursery.cancel_scope.cancel()

    async def _ping(self) -> bool:
        try:
            self.podman_version = await self._podman.version()
        except McpdError as error:
            self._set(False, str(error))
            return False
        self._set(True, f"podman {self.podman_version} at {self._socket}")
        return True

    def _set(self, ok: bool, detail: str) -> None:
        if ok != self.state.ok or detail != self.state.detail:
            since = self.state.since if ok == self.state.ok else datetime.now(UTC)
            changed = ok != self.state.ok
            self.state = SourceState("podman", ok, detail, since)
            if changed:
                (log.info if ok else log.warning)("podman link " + ("up" if ok else "down"), detail=detail)


def local_environment() -> dict[str, str]:
    """mcpd's environment, without the variables that make podman a remote client (podman(1))."""
    return {name: value for name, value in os.environ.items() if name not in _REMOTE}


def _emptied(folder: Path) -> Path | None:
    """The folder, empty: a podman that was killed while it pulled has left layers there, as large as they are.

    None: the operator has set another (TMPDIR), which is not ours to empty, or it cannot be made. Nor is it ours where
    the operator has put a link to another in its place.
    """
    if "TMPDIR" in os.environ:
        return None
    if folder.is_symlink():
        return folder if folder.is_dir() else None
    try:
        if folder.exists():
            for each in folder.iterdir():
                if each.is_dir() and not each.is_symlink():
                    shutil.rmtree(each, ignore_errors=True)
                else:
                    each.unlink(missing_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        log.warning("podman gets no folder of its own for what it pulls", folder=str(folder), error=str(error))
        return None
    return folder


def _spawn(socket: Path, temporary: Path | None) -> subprocess.Popen[bytes]:
    """Starts the API service on ``socket``. It ends with mcpd, however mcpd ends; containers do not.

    Called in the main thread and not through `trio.lowlevel.open_process`: the kernel sends the parent-death signal
    when the *thread* that forked ends (PR_SET_PDEATHSIG(2const)), and Trio forks in a worker thread.
    """
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    argv = ["setpriv", "--pdeathsig", "TERM", "--", "podman", "system", "service", "--time=0", f"unix://{socket}"]
    environment = local_environment()
    if "CONTAINERS_CONF_OVERRIDE" not in environment:
        override = socket.with_name("containers.conf")
        override.write_text(_CONF)
        environment["CONTAINERS_CONF_OVERRIDE"] = str(override)
    if temporary:
        # podman puts layers there until it has them whole (containers.conf(5), image_copy_tmp_dir).
        environment["TMPDIR"] = str(temporary)
    # Its own process group: a Ctrl-C at the terminal is for mcpd, which ends podman when it is done with it.
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0, env=environment)


async def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        # The group: the first rootless podman after a boot serves in a child, which its own end would leave running.
        os.killpg(process.pid, number)
        with trio.move_on_after(_TERM_GRACE_S):
            await pidfd.wait_exit(process.pid)
    process.wait()
