"""Whether a container that was just started stays up, and if not, what it died of."""

from __future__ import annotations

import trio

from mcpd.errors import McpdError, RefusedError
from mcpd.runtime.podman import Inspected, Podman
from monitor import pidfd
from monitor.model import Observed

# How long podman may need to say how a container ended: its clean-up process finds that out, in some 200 ms.
_POST_MORTEM_DEADLINE_S = 5.0
_POST_MORTEM_POLL_S = 0.02
# Enough for the message of a program that cannot start, and for the end of a traceback.
_LAST_LINES = 10


async def stays_up(podman: Podman, name: str, settle: float) -> None:
    """Returns when container ``name`` has run for ``settle`` seconds without its main process ending.

    Raises RefusedError with the exit code and the last lines that it printed.
    """
    seen = await podman.inspect(name)
    if seen.observed is Observed.RUNNING:
        with trio.move_on_after(settle) as window:
            await pidfd.wait_exit(seen.state.pid)
        if window.cancelled_caught:
            return
        seen = await _settled_end(podman, name)
    raise RefusedError(await _obituary(podman, name, seen))


async def _settled_end(podman: Podman, name: str) -> Inspected:
    seen = await podman.inspect(name)
    with trio.move_on_after(_POST_MORTEM_DEADLINE_S):
        while seen.observed is not Observed.EXITED:
            await trio.sleep(_POST_MORTEM_POLL_S)
            seen = await podman.inspect(name)
    return seen


async def _obituary(podman: Podman, name: str, seen: Inspected) -> str:
    if seen.observed is Observed.EXITED:
        cause = f"exited {seen.state.exit_code} right after its start"
    else:
        cause = f"is {seen.observed} right after its start"
    if seen.state.oom_killed:
        cause += ", killed because it passed its memory limit"
    try:
        printed = (await podman.log_tail(name, _LAST_LINES)).strip()
    except McpdError as error:
        return f"{cause} (its log cannot be read: {error})"
    if not printed:
        return f"{cause} and printed nothing"
    return f"{cause}; it printed last:\n" + "\n".join(f"    {line}" for line in printed.splitlines())
