"""Runs the alert command once: an argv array, no shell, and nothing of it outlives its timeout.

Audit finding S1. What a container is called, or says of itself, reaches the command as data only: in the ``MCP_*``
variables of execve(2) and in a JSON document on stdin.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio
from trio.lowlevel import FdStream

from monitor import child
from monitor.model import Alert, Execution

# Of our own environment: without HOME curl, ssh and msmtp find no configuration; without LANG non-ASCII text breaks.
_INHERITED = ("HOME", "LANG")
# The output that is kept with the attempt: the last screen of an error message. All of it is read.
_KEPT_BYTES = 4096
# Of one value in the environment; stdin has all of it. execve(2) refuses a string of more than 128 KiB, and all of them
# together past a limit that is never below 128 KiB: six texts, with 4 bytes to a character, stay below that.
_VALUE_CHARACTERS = 4000
# Between SIGTERM and SIGKILL: enough to close a connection. It delays nothing but the next attempt.
_TERM_GRACE_S = 5.0
# How long after SIGKILL we look for the end. Only a process stuck in the kernel (a dead NFS server) takes longer.
_KILL_GRACE_S = 5.0
# What is left of the group, once the command itself has ended, has this long to print the rest.
_LEFTOVER_GRACE_S = 0.25

# What UTF-8 cannot carry: surrogates that stand for no byte. PEP 383's, which do, are left alone.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


async def execute(argv: tuple[str, ...], alert: Alert, timeout: float) -> Execution:
    """Runs ``argv`` for ``alert``, for ``timeout`` seconds at most, and says how that went. ``argv`` is not empty.

    The command gets a session and process group of its own; PATH, HOME, LANG and the ``MCP_*`` variables; the same
    facts as one JSON object on stdin (keys as the variables, in lower case, without ``MCP_``); and one pipe for stdout
    and stderr, of which the last 4 KiB are kept. In the environment NUL becomes U+FFFD, a text longer than 4,000
    characters is cut, and bytes that came in as surrogates (PEP 383) go out as those bytes. In the JSON, which is
    UTF-8, such bytes become U+FFFD.

    Past the timeout the whole group gets SIGTERM, then SIGKILL, and ``status`` is not zero whatever the command makes
    of SIGTERM: it may have told nobody. The command has ended when its main process has. What that leaves behind in
    the group is killed when it closes the pipe, or a quarter of a second later: the attempt's verdict must not wait for
    it, and a child per alert that nobody waits for would fill the node. A command that has work left to do must
    wait for it, or start it elsewhere (``systemd-run``); what called setsid(2) is out of our reach.

    Nothing about the command raises: one that cannot be run is an Execution without a status. Cancelled, it kills the
    group and passes the cancellation on; at the end of the scope nothing is left, neither zombie nor descriptor.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    facts = _facts(alert)
    try:
        started = await trio.to_thread.run_sync(_start, argv, _environment(facts))
    # ValueError: NUL in argv, or what no encoding of this system can carry.
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Execution(None, f"{argv[0]} could not be started: {_why(argv[0], error)}; see alert_command")
    process, stdin, output = started
    tail, drained = bytearray(), trio.Event()
    try:
        async with stdin, output, trio.open_nursery() as nursery:
            nursery.start_soon(child.feed, stdin, _document(facts))
            nursery.start_soon(child.drain, output, tail, slice(None, -_KEPT_BYTES), drained)
            forced = await _end(process.pid, timeout)
            with trio.move_on_after(_LEFTOVER_GRACE_S):
                await drained.wait()
            nursery.cancel_scope.cancel()
    finally:
        # Before the main process is reaped: until then the kernel gives the number of its group to nobody else.
        child.signal_group(process.pid, signal.SIGKILL)
        with trio.move_on_after(_KILL_GRACE_S, shield=True):
            await child.ended(process.pid)
        process.poll()
    return _execution(process.returncode, forced, timeout, tail.decode("utf-8", "replace"))


class _Started(NamedTuple):
    process: subprocess.Popen[bytes]
    stdin: FdStream
    output: FdStream


def _start(argv: tuple[str, ...], environment: dict[str, bytes]) -> _Started:
    """Starts the command, in a worker thread. Raises OSError, ValueError or SubprocessError, and leaves nothing open.

    vfork(2) holds up its thread until the command has a core and has begun. That is nothing on an idle node, and 50 ms
    for each of them on one where forty processes want every core, as they do when all containers have died at once.
    Measured there, for 120 commands, 16 at a time: 1.8 s, and 6.6 s when it is the event loop that is held up.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        stdin, our_stdin = child.pipe(theirs, ours)
        our_output, output = child.pipe(ours, theirs)
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        ours.pop_all()
    return _Started(process, FdStream(our_stdin), FdStream(our_output))


async def _end(pid: int, timeout: float) -> signal.Signals | None:
    """Waits for the main process's end, and returns the signal that was needed for it: None when it came by itself."""
    with trio.move_on_after(timeout):
        await child.ended(pid)
        return None
    child.signal_group(pid, signal.SIGTERM)
    with trio.move_on_after(_TERM_GRACE_S):
        await child.ended(pid)
        return signal.SIGTERM
    child.signal_group(pid, signal.SIGKILL)
    with trio.move_on_after(_KILL_GRACE_S):
        await child.ended(pid)
    return signal.SIGKILL


def _execution(status: int | None, forced: signal.Signals | None, timeout: float, output: str) -> Execution:
    # 1. It ended by itself, well or not.
    if forced is None and status is not None:
        return Execution(status, f"exited {status}" if status >= 0 else f"killed by {_name(-status)}", output)
    # 2. It had to be ended: never a success, even if it exits 0 on SIGTERM.
    needed = forced or signal.SIGKILL
    words = f"did not end within {timeout:g} s, ended by {needed.name}"
    # 3. Not even SIGKILL ended it, so far.
    if status is None:
        words = f"did not end within {timeout:g} s, and not on SIGKILL either"
    return Execution(status or -needed, words, output)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _why(program: str, error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.ENOENT and "/" in program and Path(program).exists():
        return "the interpreter that its first line names does not exist"
    return error.strerror or str(error)


def _facts(alert: Alert) -> dict[str, str | int]:
    """What the command is told, in the order of the documentation."""
    return {
        "alert_id": alert.id if alert.is_kept else 0,
        "node": alert.node,
        "service": alert.service,
        "component": alert.component,
        "kind": alert.kind.value,
        "desired": alert.desired,
        "observed": alert.observed,
        "reason": alert.reason,
        "since": alert.since.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "transitions": alert.transitions,
    }


def _environment(facts: dict[str, str | int]) -> dict[str, bytes]:
    environment = {"PATH": child.PATH.encode()}
    environment |= {name: os.environb[key] for name in _INHERITED if (key := name.encode()) in os.environb}
    environment |= {f"MCP_{name.upper()}": _value(str(fact)) for name, fact in facts.items()}
    return environment


def _value(text: str) -> bytes:
    if len(text) > _VALUE_CHARACTERS:
        text = text[:_VALUE_CHARACTERS] + "..."
    # UTF-8 whatever the daemon's locale is: it is what container names and labels are written in.
    return _LONE.sub(_REPLACEMENT, text.replace("\0", _REPLACEMENT)).encode("utf-8", "surrogateescape")


def _document(facts: dict[str, str | int]) -> bytes:
    return msgspec.json.encode({name: _utf8(fact) if isinstance(fact, str) else fact for name, fact in facts.items()})


def _utf8(text: str) -> str:
    return _LONE.sub(_REPLACEMENT, text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
