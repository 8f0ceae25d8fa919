"""A proxy that is driven by a command: it gets the whole table as JSON on stdin, and says by its exit status what came.

How mcpd drives what it does not know, as an MC-Proxy (docs/examples/mc-proxy-routes). No shell; nothing of the command
outlives its deadline. The document, version 1:

    {"version": 1, "action": "apply" or "check",
     "listeners": [{"port", "address", "tls"}],
     "routes": [{"listen", "host", "path", "mode", "backend", "certificate",
                 "servers": [{"name", "host", "port", "draining"}]}]}

``certificate`` is the path of a PEM file with a certificate for the host, its chain and its key; null where TLS does
not end at the proxy, or no certificate is for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio
from trio.lowlevel import FdStream

from mcpd.errors import ConfigError
from mcpd.routing.claims import certificate_for
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Listener, Server, Table
from monitor import child
from protos.parts import Mode

# What a command gets that has to ask a proxy, and perhaps another machine.
DEADLINE_S = 30.0

_VERSION = 1
_AS_WANTED, _DIFFERS = 0, 1
_INHERITED = ("HOME", "LANG")
# Of each of its outputs; it may print more, which is read and dropped.
_KEPT_BYTES = 64 * 1024
_MOST_DIFFERENCES = 100
_LONGEST_LINE = 500
# Between SIGTERM and SIGKILL, and how long we look for the end after that.
_GRACE_S = 2.0
# What the command leaves behind with its outputs open has this long to print the rest.
_LEFTOVER_GRACE_S = 0.25


class _Route(msgspec.Struct, frozen=True):
    listen: int
    host: str
    path: str
    mode: Mode
    backend: str
    certificate: str | None
    servers: tuple[Server, ...]


class _Document(msgspec.Struct, frozen=True):
    version: int
    action: str
    listeners: tuple[Listener, ...]
    routes: tuple[_Route, ...]


class CommandProxy:
    """A proxy behind ``argv``, of which the first is a program's absolute path. ``deadline``: seconds, for each run.

    Raises ConfigError.
    """

    def __init__(self, argv: tuple[str, ...], deadline: float = DEADLINE_S) -> None:
        if not argv or not Path(argv[0]).is_absolute():
            raise ConfigError("proxy.command: its first word must be the absolute path of a program")
        self._argv = argv
        self._deadline = deadline
        # A filesystem that hangs holds up one thread of ours, and no second one.
        self._starting = trio.CapacityLimiter(1)

    async def differences(self, table: Table) -> tuple[str, ...]:
        """As `Proxy.differences`: the lines that the command prints, when it exits with 1."""
        status, output, errors = await self._run("check", table)
        if status == _AS_WANTED:
            return ()
        if status != _DIFFERS:
            raise self._failure(status, errors)
        lines = [line[:_LONGEST_LINE] for each in output.splitlines() if (line := _printable(each))]
        return tuple(lines[:_MOST_DIFFERENCES]) or (f"{self._argv[0]} says that something differs, and not what",)

    async def apply(self, table: Table) -> None:
        """As `Proxy.apply`: the command says with its exit status 0 that the proxy has the table."""
        status, _, errors = await self._run("apply", table)
        if status != _AS_WANTED:
            raise self._failure(status, errors)

    def _failure(self, status: int, errors: str) -> ProxyError:
        ended = f"exited {status}" if status >= 0 else f"was killed by signal {-status}"
        lines = [line for each in errors.splitlines() if (line := _printable(each))]
        words = lines[-1][:_LONGEST_LINE] if lines else "it printed nothing on stderr"
        return ProxyError(f"the proxy's command {self._argv[0]} {ended}: {words}")

    async def _start(self) -> _Started:
        """Raises ProxyError."""
        starting = _Starting(self._argv)
        try:
            with trio.fail_after(self._deadline):
                return await trio.to_thread.run_sync(starting.run, abandon_on_cancel=True, limiter=self._starting)
        except trio.Cancelled:
            starting.abandon()
            raise
        except trio.TooSlowError:
            starting.abandon()
            raise ProxyError(
                f"the proxy's command {self._argv[0]} could not be started within {self._deadline:g} s: its filesystem "
                "hangs"
            ) from None
        # ValueError: NUL in an argument.
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ProxyError(
                f"the proxy's command {self._argv[0]} could not be started: {why}; see proxy.command"
            ) from None

    async def _run(self, action: str, table: Table) -> tuple[int, str, str]:
        """Its exit status, stdout and stderr. Raises ProxyError; leaves nothing of its process group behind."""
        try:
            content = document(action, table)
        except UnicodeEncodeError:
            raise ProxyError(
                f"the proxy's command {self._argv[0]} cannot be told: the path of a certificate is not UTF-8"
            ) from None
        started = await self._start()
        stdin, stdout, stderr = (FdStream(each) for each in started.pipes)
        pid, output, errors = started.process.pid, bytearray(), bytearray()
        drained = (trio.Event(), trio.Event())
        try:
            async with stdin, stdout, stderr, trio.open_nursery() as nursery:
                nursery.start_soon(child.feed, stdin, content)
                nursery.start_soon(child.drain, stdout, output, slice(_KEPT_BYTES, None), drained[0])
                nursery.start_soon(child.drain, stderr, errors, slice(None, -_KEPT_BYTES), drained[1])
                in_time = await _end(pid, self._deadline)
                with trio.move_on_after(_LEFTOVER_GRACE_S):
                    for each in drained:
                        await each.wait()
                nursery.cancel_scope.cancel()
        finally:
            # Before the main process is reaped: until then the kernel gives the number of its group to nobody else.
            child.signal_group(pid, signal.SIGKILL)
            with trio.move_on_after(_GRACE_S, shield=True):
                await child.ended(pid)
            status = started.process.poll()
        if not in_time or status is None:
            raise ProxyError(f"the proxy's command {self._argv[0]} did not end within {self._deadline:g} s")
        return status, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


class _Started(NamedTuple):
    """``pipes``: our ends of its stdin, stdout and stderr."""

    process: subprocess.Popen[bytes]
    pipes: tuple[int, int, int]

    def end(self) -> None:
        """Kills what was started, and closes what is open. In a thread."""
        child.signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for each in self.pipes:
            os.close(each)


class _Starting:
    """A start in a worker thread that may hang: what comes of it when nobody waits any more is ended."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._started: _Started | None = None

    def run(self) -> _Started:
        """In the thread. Raises OSError, ValueError or SubprocessError."""
        started = _start(self._argv)
        with self._lock:
            self._started = started
            is_abandoned = self._is_abandoned
        if is_abandoned:
            started.end()
        return started

    def abandon(self) -> None:
        """Nobody waits for the start any more."""
        with self._lock:
            self._is_abandoned = True
            started = self._started
        if started:
            started.end()


def document(action: str, table: Table) -> bytes:
    """What the command reads. ``action``: apply or check."""
    backends = {each.name: each for each in table.backends}
    tls = {each.port for each in table.listeners if each.tls}
    routes = []
    for entry in table.entries:
        backend = backends[entry.backend]
        ends_tls = entry.listen in tls and backend.mode is not Mode.TLS
        certificate = certificate_for(entry.host, table.certificates) if ends_tls else None
        path = str(certificate.path) if certificate else None
        routes.append(_Route(entry.listen, entry.host, entry.path, backend.mode, backend.name, path, backend.servers))
    return msgspec.json.encode(_Document(_VERSION, action, table.listeners, tuple(routes)))


def _start(argv: tuple[str, ...]) -> _Started:
    """Starts it, in a worker thread. Raises OSError, ValueError or SubprocessError, and then leaves nothing open."""
    with ExitStack() as theirs, ExitStack() as ours:
        stdin, our_stdin = child.pipe(theirs, ours)
        our_stdout, stdout = child.pipe(ours, theirs)
        our_stderr, stderr = child.pipe(ours, theirs)
        environment = {"PATH": child.PATH} | {name: os.environ[name] for name in _INHERITED if name in os.environ}
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
        )
        ours.pop_all()
    return _Started(process, (our_stdin, our_stdout, our_stderr))


async def _end(pid: int, deadline: float) -> bool:
    """Waits for the main process's end, which it brings about past the deadline; returns whether it came by itself."""
    with trio.move_on_after(deadline):
        await child.ended(pid)
        return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        child.signal_group(pid, number)
        with trio.move_on_after(_GRACE_S):
            await child.ended(pid)
            break
    return False


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else " " for each in line).strip()
