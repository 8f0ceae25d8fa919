"""How a run ended: a pure function of what podman says of its container."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from mcpd.registry.jobs import Run, RunState
from mcpd.runtime.api_types import Inspected, ever
from monitor.exit_status import TIMED_OUT, exit_words
from monitor.model import Observed


class End(NamedTuple):
    """``at``, podman's: None: it does not say. ``exit_status`` None: nobody knows it."""

    state: RunState
    message: str
    at: datetime | None = None
    exit_status: int | None = None


def was_started(run: Run, seen: Inspected) -> bool:
    """Whether its container was started since the run was kept. No clock is asked: podman's two answers differ."""
    return ever(seen.state.started_at) != run.before


def goes_on(run: Run, seen: Inspected) -> bool:
    """Whether it is still the run that began: somebody may have started its container again."""
    has_process = seen.observed in (Observed.RUNNING, Observed.PAUSED)
    return has_process and run.started_at in (None, ever(seen.state.started_at))


def how_it_ended(run: Run, seen: Inspected, stopped_by: str, when: str) -> End:
    """``stopped_by``: the operation that was about to end it. ``when``: now, in words."""
    state = seen.state
    ended = ever(state.finished_at)
    if run.started_at not in (None, ever(state.started_at)):
        return End(RunState.STOPPED, "its container was started again, by somebody else")
    if seen.observed is not Observed.EXITED or ended == run.before_end:
        if stopped_by:
            return End(RunState.STOPPED, f"ended by {stopped_by}")
        words = "nobody knows how it ended: podman has not seen it, as when the machine goes down"
        return End(RunState.FAILED, f"job failed at {when}: {words}")
    # podman notes a start when it has heard of it, and a program that ends at once may have ended before.
    ended = max(ended, run.started_at) if ended and run.started_at else ended
    code = state.exit_code
    if stopped_by:
        return End(RunState.STOPPED, f"ended by {stopped_by}", ended, code)
    if code == 0:
        return End(RunState.SUCCEEDED, "", ended, code)
    if code == TIMED_OUT and seen.config.timeout:
        words = f"timed out: it ran for {seen.config.timeout} s, and was killed"
        return End(RunState.TIMED_OUT, f"job failed at {when}: {words}", ended)
    words = exit_words(code, out_of_memory=state.oom_killed)
    return End(RunState.FAILED, f"job failed at {when}: {words}", ended, code)


def not_started(why: str, when: str) -> End:
    return End(RunState.NOT_STARTED, f"job failed at {when}: it could not be started: {why}")
