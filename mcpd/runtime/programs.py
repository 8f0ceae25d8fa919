"""Programs in containers, beside their main one: podman's exec sessions, and what they are ended by."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from mcpd.errors import McpdError
from mcpd.runtime import api_types
from mcpd.runtime.api import QUICK_S, Api, NoSuchError
from mcpd.runtime.attached import Attached
from monitor.ports import Ran

# The end of what a program printed: nothing that helps an operator is longer, and one that prints without end must not
# fill memory.
_MAX_PRINTED_BYTES = 64 * 1024
# The interval of polling for the exit of a program that closed its output: it has ended, but podman may lag.
_ENDED_POLL_S = 0.01
_ENDED_POLL_MAX_S = 0.5
# The time to find and kill a process that hangs in a container, which podman may only be about to start: a busy node
# takes seconds for that. More would delay the caller.
_END_SESSION_S = 5.0
# From a hang-up to SIGKILL, for a program whose caller is gone.
_HANG_UP_S = 2.0
_HANG_UP_POLL_S = 0.05
_PROC = Path("/proc")
# podman's exit code of a session that it has started and could not attach to (libpod/define, ExecErrorCodeGeneric). It
# takes it for one that has ended; the program runs all the same.
_LOST = 125


class TerminalSize(NamedTuple):
    rows: int
    columns: int


class Program(msgspec.Struct, frozen=True):
    """What to run, and how; its arguments and environment are for nobody's log.

    ``size``: of its terminal; None: it has none. ``has_input``: whether its standard input is open.
    """

    command: tuple[str, ...]
    size: TerminalSize | None = None
    has_input: bool = False
    env: Mapping[str, str] = {}
    user: str = ""
    workdir: str = ""

    def __repr__(self) -> str:
        return f"Program({self.command[:1]}, ...)"


class Programs:
    """Raises NoSuchError, PodmanError, UnavailableError, as `Api` does."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        """Runs ``argv`` in a running container; see `monitor.ports.Executor`."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)}
        session = await self._api.ask("POST", f"/containers/{container}/exec", api_types.Id, json=body)
        how = {"Detach": False, "Tty": False}
        try:
            # Reads to the end, however much it prints: until then podman reports exit code 0.
            async with self._api.stream("POST", f"/exec/{session.id}/start", json=how, timeout=None) as response:
                output = await printed(response.aiter_raw())
            return Ran(await self.exit_code(session.id), output)
        except trio.Cancelled:
            # Whoever ran it waits no longer; one that hangs, asked again and again, would fill the container.
            with trio.move_on_after(_END_SESSION_S, shield=True), contextlib.suppress(McpdError, OSError):
                await self._kill_leader(session.id)
            raise

    async def prepare(self, container: str, program: Program) -> str:
        """A new exec session, by its id; nothing runs yet."""
        body: dict[str, Any] = {
            "AttachStdin": program.has_input,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": program.size is not None,
            "Cmd": list(program.command),
            "Env": [f"{name}={value}" for name, value in program.env.items()],
            # Input that happens to have podman's detach keys in it is input.
            "DetachKeys": "",
        }
        body |= {"User": program.user} if program.user else {}
        body |= {"WorkingDir": program.workdir} if program.workdir else {}
        return (await self._api.ask("POST", f"/containers/{container}/exec", api_types.Id, json=body)).id

    async def start(self, session: str, size: TerminalSize | None) -> Attached:
        """Starts what was prepared, attached to it."""
        body: dict[str, Any] = {"Detach": False, "Tty": size is not None}
        body |= {"h": size.rows, "w": size.columns} if size else {}
        return await self._api.attach(
            f"/exec/{session}/start", body=body, has_terminal=size is not None, timeout=QUICK_S
        )

    async def attach(self, container: str, *, has_terminal: bool, has_input: bool) -> Attached:
        """Attaches to the main program of a container, which need not have been started yet."""
        params = {"stream": "true", "stdout": "true", "stderr": "true", "stdin": "true" if has_input else "false"}
        return await self._api.attach(
            f"/containers/{container}/attach", params=params, has_terminal=has_terminal, timeout=QUICK_S
        )

    async def resize(self, what: str, size: TerminalSize) -> None:
        """``what``: ``exec/SESSION`` or ``containers/NAME``. One that has ended has no terminal to resize."""
        params = {"h": str(size.rows), "w": str(size.columns)}
        await self._api.do("POST", f"/{what}/resize", params=params)

    async def signal(self, session: str, number: int) -> None:
        """Sends a signal to a session's program and what runs in its process group, as a terminal would."""
        if leader := await self._leader(session, await self._session(session)):
            with contextlib.suppress(OSError):
                os.killpg(leader, number)

    async def kill(self, container: str, number: int) -> None:
        """Sends a signal to a container's main program."""
        await self._api.do("POST", f"/containers/{container}/kill", params={"signal": str(number)})

    async def exit_code(self, session: str) -> int:
        """Waits until the process ends: it may have closed its output long before."""

        async def look() -> int | None:
            found = await self._api.ask("GET", f"/exec/{session}/json", api_types.Session)
            return None if found.running else found.exit_code

        return await until_ended(look)

    async def hang_up(self, session: str) -> None:
        """Ends a session's program and all that it started, but for what made a session of its own (setsid(2)).

        SIGHUP first, as a terminal that goes away sends it; what is still there after two seconds is killed.
        """
        found = await self._session(session)
        while found and found.running and not found.pid:
            await trio.sleep(_ENDED_POLL_S)  # podman is only about to start it
            found = await self._session(session)
        leader = await self._leader(session, found)
        for number in (signal.SIGHUP, signal.SIGKILL) if leader else ():
            await trio.to_thread.run_sync(_signal_session, leader, number)
            with trio.move_on_after(_HANG_UP_S):
                await _session_gone(leader)
                return

    async def has_file(self, container: str, path: str) -> bool:
        """Whether a container has something at ``path``, also if it does not run."""
        try:
            await self._api.do("HEAD", f"/containers/{container}/archive", params={"path": path})
        except NoSuchError:
            return False
        return True

    async def _session(self, session: str) -> api_types.Session | None:
        try:
            return await self._api.ask("GET", f"/exec/{session}/json", api_types.Session)
        except NoSuchError:
            return None

    async def _leader(self, session: str, found: api_types.Session | None) -> int:
        """The process that podman started for a session, ``found`` as podman has it; 0 when there is none any more."""
        if found and found.running and found.pid:
            is_it = await trio.to_thread.run_sync(_is_of, found.pid, session, found.container)
            return found.pid if is_it else 0
        if found is None or found.exit_code != _LOST:
            return 0
        # conmon may only be about to start it.
        with trio.move_on_after(_END_SESSION_S):
            while not (lost := await trio.to_thread.run_sync(_lost_leader, session)):  # noqa: ASYNC110 (it is asked)
                await trio.sleep(_HANG_UP_POLL_S)
            return lost
        return 0

    async def _kill_leader(self, session: str) -> None:
        """Kills a session's process, which podman may only be about to start; what has ended is asked for in vain."""
        while True:
            found = await self._api.ask("GET", f"/exec/{session}/json", api_types.Session)
            if leader := await self._leader(session, found):
                os.kill(leader, signal.SIGKILL)
                return
            await trio.sleep(_ENDED_POLL_S)


async def until_ended(look: Callable[[], Awaitable[int | None]]) -> int:
    """Asks ever less often until there is an exit code."""
    pause = _ENDED_POLL_S
    while (code := await look()) is None:
        await trio.sleep(pause)
        pause = min(2 * pause, _ENDED_POLL_MAX_S)
    return code


async def printed(chunks: AsyncIterator[bytes]) -> str:
    """The last part of a process's output, in Docker's stream format; returns when the output ends."""
    frames, tail = api_types.Frames(), bytearray()
    async for chunk in chunks:
        for payload in frames.payloads(chunk):
            tail += payload
            del tail[:-_MAX_PRINTED_BYTES]
    return tail.decode(errors="replace")


def _stats() -> Iterator[tuple[int, str, int, int]]:
    """Every process: its number, state, parent and session (proc_pid_stat(5))."""
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (found := _stat(int(folder.name))):
            yield (int(folder.name), *found)


def _stat(process: int) -> tuple[str, int, int] | None:
    try:
        # The second field is the program's name, which may hold anything but ends with the last parenthesis.
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # it has just ended
    return fields[0], int(fields[1]), int(fields[3])


def _is_of(process: int, session: str, container: str) -> bool:
    """Whether a process is podman's for this session, by its conmon, or at least of this container, by its cgroup.

    A conmon that was killed tells podman no end: the number may be another process's by then.
    """
    found = _stat(process)
    if found and _is_conmon(found[1], session):
        return True
    try:
        return container in (_PROC / str(process) / "cgroup").read_text()
    except OSError:
        return False


def _is_conmon(process: int, session: str) -> bool:
    try:
        words = (_PROC / str(process) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return (b"-u", session.encode()) in itertools.pairwise(words)


def _lost_leader(session: str) -> int:
    """The process of a session that podman has lost: the child of its conmon; 0 when there is none."""
    for process, state, parent, its_session in _stats():
        # conmon has helpers, which are in its own session.
        if process == its_session and state not in "ZX" and _is_conmon(parent, session):
            return process
    return 0


def _in_session(leader: int) -> Iterator[int]:
    """The processes of a session, by its leader's number; zombies are none.

    OCI runtimes make a session of its own for each program that they start in a container.
    """
    for process, state, _, session in _stats():
        if session == leader and state not in "ZX":
            yield process


async def _session_gone(leader: int) -> None:
    while True:
        if not await trio.to_thread.run_sync(lambda: any(_in_session(leader))):
            return
        await trio.sleep(_HANG_UP_POLL_S)


def _signal_session(leader: int, number: int) -> None:
    for process in list(_in_session(leader)):
        with contextlib.suppress(OSError):
            os.kill(process, number)
