"""Whether a container that was just started comes up and stays up; if not, what it died of."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import trio

from mcpd.changes.node import Node
from mcpd.errors import McpdError, RefusedError
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.podman import Podman
from monitor import pidfd, probes
from monitor.exit_status import exit_words
from monitor.model import Observed
from monitor.ports import OutsideError
from monitor.probes import Verdict
from protos import grammar, program_output
from protos.parts import Health
from protos.spec import Component

# How long a container without a probe must stay up to count as started, where its component does not say. A program
# that cannot start (bad argument, missing file) ends within milliseconds; a predecessor to go back to is worth a
# longer look.
SETTLE_NEW_S = 0.02
SETTLE_REPLACED_S = 0.5
# What ends later than this did not fail to start; when it ended helps to find out why.
_AT_ONCE_S = 1.0
# How long podman may need to say how a container ended: its clean-up process finds that out, in some 200 ms.
_POST_MORTEM_DEADLINE_S = 5.0
_POST_MORTEM_POLL_S = 0.02
_GATE_INTERVAL_S = 0.5
# Enough for the message of a program that cannot start, and for the end of a traceback.
_LAST_LINES = 10


async def comes_up(node: Node, name: str, component: Component, *, is_new: bool = False) -> None:
    """Returns when container ``name``, just started, is healthy, if it has a probe, and has run as long as it must.

    That of a oneshot must have exited with status 0, however long that takes.

    ``is_new``: there was none before that could be gone back to. Raises RefusedError: with the exit code and the last
    lines that it printed when it ended before, with the probe's words when it was still not healthy after its start
    period and all retries.
    """
    podman = node.podman
    seen = await podman.inspect(name)
    with contextlib.suppress(trio.WouldBlock):  # very many at once; the monitor's next list has it
        node.started.send_nowait(seen.sighting())
    if component.oneshot:
        await _completes(podman, name, component, seen)
        return
    if seen.observed is Observed.RUNNING:
        health = seen.probe(component)
        grace = health.start_period if health else timedelta(0)
        verdict = await _judged(podman, name, seen, health, grace, settle_s(component, health, is_new=is_new))
        if verdict and verdict.healthy:
            return
        if verdict:
            raise RefusedError(f"it runs, but is not healthy: {verdict.words}{await _last_words(podman, name)}")
        before, seen = seen, await _settled_end(podman, name)
    else:
        before = seen
    raise RefusedError(await _obituary(podman, name, before, seen))


async def _completes(podman: Podman, name: str, component: Component, seen: Inspected) -> None:
    """Returns when a oneshot's container has exited with status 0.

    One that podman restarts after a failure has failed when podman does so no more.
    """
    while True:
        before = seen
        if seen.observed is Observed.RUNNING:
            await pidfd.wait_exit(seen.state.pid)
        seen = await _settled_end(podman, name)
        if seen.observed is Observed.EXITED and seen.state.exit_code == 0:
            return
        seen = await _restarted(podman, name, component, seen)
        if seen.observed is not Observed.RUNNING:
            raise RefusedError(await _obituary(podman, name, before, seen))


async def _restarted(podman: Podman, name: str, component: Component, seen: Inspected) -> Inspected:
    """A container that has failed, as it is once podman has had the time to restart it, if its policy says so."""
    if grammar.restart(component.restart).policy == "no":
        return seen
    with trio.move_on_after(_POST_MORTEM_DEADLINE_S):
        while seen.observed is Observed.EXITED:
            await trio.sleep(_POST_MORTEM_POLL_S)
            seen = await podman.inspect(name)
    return seen


async def satisfies(node: Node, name: str, health: Health) -> None:
    """Returns when a probe that container ``name`` did not have when it was started finds it healthy.

    Raises RefusedError with the probe's words, when it still does not after all retries, and what is left of the start
    period; or when it ends meanwhile, or does not run.
    """
    podman = node.podman
    seen = await podman.inspect(name)
    if seen.observed is not Observed.RUNNING:
        raise RefusedError(f"it is {seen.observed}, so its changed probe cannot run")
    started_at = seen.state.started_at or datetime.now(UTC)
    # Never longer than the whole period: the wall clock may have been set back since the start.
    left = min(health.start_period, max(timedelta(0), started_at + health.start_period - datetime.now(UTC)))
    verdict = await _judged(podman, name, seen, health, left, 0.0)
    if verdict is None:
        raise RefusedError("it exited while its changed probe ran" + await _last_words(podman, name))
    if not verdict.healthy:
        raise RefusedError(f"its changed probe reports it as unhealthy: {verdict.words}")


def settle_s(component: Component, health: Health | None, *, is_new: bool = False) -> float:
    """How many seconds it must stay up to count as started, with the probe ``health``."""
    if component.settle is not None:
        return component.settle.total_seconds()
    if health is not None:
        return 0.0
    return SETTLE_NEW_S if is_new else SETTLE_REPLACED_S


async def _judged(
    podman: Podman, name: str, seen: Inspected, health: Health | None, grace: timedelta, settle: float
) -> Verdict | None:
    """The probe's verdict, at the earliest after ``settle`` seconds; None when the container ended before."""
    verdict: Verdict | None = None
    async with trio.open_nursery() as nursery:

        async def judge() -> None:
            nonlocal verdict
            settled = trio.current_time() + settle
            found = await _asked(podman, name, health, grace) if health else Verdict(True, "")
            if found.healthy:
                await trio.sleep_until(settled)
            verdict = found
            nursery.cancel_scope.cancel()

        nursery.start_soon(judge)
        await pidfd.wait_exit(seen.state.pid)
        nursery.cancel_scope.cancel()
    return verdict


async def _asked(podman: Podman, name: str, health: Health, grace: timedelta) -> Verdict:
    """The first good verdict, or the last bad one when time is up: after the grace and all retries."""
    # Once at least, however short its interval is.
    patience = max(grace + health.retries * health.interval, health.timeout)
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


async def _obituary(podman: Podman, name: str, before: Inspected, seen: Inspected) -> str:
    if seen.observed is Observed.EXITED:
        died = exit_words(seen.state.exit_code, out_of_memory=seen.state.oom_killed)
        cause = f"{died} {_when(before, seen)}"
    elif seen.state.started_at != before.state.started_at:
        cause = "ended right after its start, and podman started it again"
    else:
        cause = f"is {seen.observed} right after its start"
    return cause + await _last_words(podman, name)


def _when(before: Inspected, seen: Inspected) -> str:
    """How long after its start it ended."""
    start, end = before.state.started_at, seen.state.finished_at
    seconds = (end - start).total_seconds() if start and end else 0.0
    return "right after its start" if seconds < _AT_ONCE_S else f"{seconds:.1f} s after its start"


async def _last_words(podman: Podman, name: str) -> str:
    try:
        text = (await podman.log_tail(name, _LAST_LINES)).strip()
    except McpdError as error:
        return f" (its log cannot be read: {error})"
    return program_output.printed_last(text) if text else "; it printed nothing"
