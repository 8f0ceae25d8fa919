"""Whether a container that was just started comes up and stays up, and if not, what it died of."""

from __future__ import annotations

import contextlib

import trio

from mcpd.changes.node import Node
from mcpd.errors import McpdError, RefusedError
from mcpd.runtime.answers import Inspected
from mcpd.runtime.podman import Podman
from monitor import pidfd, probes
from monitor.endings import exit_words
from monitor.model import Observed
from monitor.ports import OutsideError
from monitor.probes import Verdict
from protos.printed import PRINTED
from protos.spec import Health

# How long podman may need to say how a container ended: its clean-up process finds that out, in some 200 ms.
_POST_MORTEM_DEADLINE_S = 5.0
_POST_MORTEM_POLL_S = 0.02
_GATE_INTERVAL_S = 0.5
# Enough for the message of a program that cannot start, and for the end of a traceback.
_LAST_LINES = 10


async def comes_up(node: Node, name: str, health: Health | None, settle: float) -> None:
    """Returns when container ``name`` is healthy; without a probe, when it has run for ``settle`` seconds.

    Raises RefusedError: with the exit code and the last lines that it printed when it ended before, with the probe's
    words when it was still not healthy after its start period and all retries.
    """
    podman = node.podman
    seen = await podman.inspect(name)
    with contextlib.suppress(trio.WouldBlock):  # very many at once; the monitor's next list has it
        node.started.send_nowait(seen.sighting())
    if seen.observed is Observed.RUNNING:
        verdict: Verdict | None = None
        async with trio.open_nursery() as nursery:

            async def judge() -> None:
                nonlocal verdict
                verdict = await _judged(podman, name, health, settle)
                nursery.cancel_scope.cancel()

            nursery.start_soon(judge)
            await pidfd.wait_exit(seen.state.pid)
            nursery.cancel_scope.cancel()
        if verdict and verdict.healthy:
            return
        if verdict:
            raise RefusedError(f"it runs, but is not healthy: {verdict.words}{await _last_words(podman, name)}")
        seen = await _settled_end(podman, name)
    raise RefusedError(await _obituary(podman, name, seen))


async def _judged(podman: Podman, name: str, health: Health | None, settle: float) -> Verdict:
    """The first good verdict, or the last bad one when time is up."""
    if health is None:
        await trio.sleep(settle)
        return Verdict(True, "")
    patience = health.start_period + health.retries * health.interval
    verdict = Verdict(False, "not asked")
    with trio.move_on_after(patience.total_seconds()):
        while True:
            try:
                verdict = await probes.ask(health, name, podman)
            except OutsideError as error:
                verdict = Verdict(False, str(error))
            if verdict.healthy:
                break
            # More often than the interval, which is made for the years after: somebody waits for this one.
            await trio.sleep(min(health.interval.total_seconds(), _GATE_INTERVAL_S))
    return verdict


async def _settled_end(podman: Podman, name: str) -> Inspected:
    seen = await podman.inspect(name)
    with trio.move_on_after(_POST_MORTEM_DEADLINE_S):
        while seen.observed is not Observed.EXITED:
            await trio.sleep(_POST_MORTEM_POLL_S)
            seen = await podman.inspect(name)
    return seen


async def _obituary(podman: Podman, name: str, seen: Inspected) -> str:
    if seen.observed is Observed.EXITED:
        died = exit_words(seen.state.exit_code, out_of_memory=seen.state.oom_killed)
        cause = f"{died} right after its start"
    else:
        cause = f"is {seen.observed} right after its start"
    return cause + await _last_words(podman, name)


async def _last_words(podman: Podman, name: str) -> str:
    try:
        printed = (await podman.log_tail(name, _LAST_LINES)).strip()
    except McpdError as error:
        return f" (its log cannot be read: {error})"
    if not printed:
        return "; it printed nothing"
    return f"{PRINTED}\n" + "\n".join(f"    {line}" for line in printed.splitlines())
