"""A command of the operator's as our child: its pipes, its end, and its process group.

The child leads a session and a process group of its own. Whoever starts it ends the group before the child is reaped.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress

import trio
from trio.lowlevel import FdStream

from monitor.pidfd import wait_exit

# Where a command and what it calls are looked for: the PATH that systemd gives to a service, whatever ours is.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Between two looks at a process when no pidfd can be had.
_LOOK_S = 0.05


def pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    """A pipe, whose two ends ``readers`` and ``writers`` close."""
    reading, writing = os.pipe()
    readers.callback(os.close, reading)
    writers.callback(os.close, writing)
    return reading, writing


async def feed(stdin: FdStream, document: bytes) -> None:
    """Writes all, and closes it."""
    # A command that does not read, or closes its stdin, is free to.
    with suppress(trio.BrokenResourceError):
        async with stdin:
            await stdin.send_all(document)


async def drain(output: FdStream, kept: bytearray, dropped: slice, drained: trio.Event) -> None:
    """Reads all, so that the command never waits for us; of what is kept, ``dropped`` is what is past the limit."""
    with suppress(trio.BrokenResourceError):
        async for chunk in output:
            kept += chunk
            del kept[dropped]
    drained.set()


async def ended(pid: int) -> None:
    """Returns once our child ``pid`` has ended, which is not reaped."""
    try:
        await wait_exit(pid)
    except OSError:
        # No descriptor to be had (EMFILE, ENFILE): no reason to run a command forever, or twice.
        while not _has_ended(pid):  # noqa: ASYNC110 - the kernel's only other word for it
            await trio.sleep(_LOOK_S)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signals all that is left of the group of a child that is not reaped."""
    # ESRCH: nobody left. EPERM: only a process that has changed its user is, and that is out of our reach.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
