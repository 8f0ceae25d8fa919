"""How a run ended, by what podman says of its container."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mcpd.changes.jobs.outcome import End, goes_on, how_it_ended, was_started
from mcpd.registry.jobs import Run, RunState
from mcpd.runtime.api_types import Inspected, InspectedConfig, InspectedState

AT = datetime(2027, 3, 28, 2, 30, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
BEFORE, BEFORE_END = AT - timedelta(days=1), AT - timedelta(hours=23)


def run(before: datetime | None = BEFORE, started_at: datetime | None = AT) -> Run:
    end = BEFORE_END if before else None
    return Run(1, "shop", "work", AT, 0, "mcpd", "c1", before, end, AT, started_at)


def seen(
    status: str = "exited",
    code: int = 0,
    started: datetime = AT,
    finished: datetime = LATER,
    timeout: int = 0,
    oom: bool = False,
) -> Inspected:
    state = InspectedState(status, exit_code=code, started_at=started, finished_at=finished, oom_killed=oom)
    return Inspected("c1", "shop-work", "job:v1", state, InspectedConfig(timeout=timeout))


def ended(it: Inspected, by: str = "", of: Run | None = None) -> End:
    return how_it_ended(of or run(), it, by, "now")


def test_whether_it_was_started_is_what_podman_says_by_another_start() -> None:
    assert not was_started(run(None, None), seen("created", started=NEVER, finished=NEVER))
    assert not was_started(run(started_at=None), seen(started=BEFORE, finished=BEFORE_END))
    assert was_started(run(None, None), seen("running"))
    assert was_started(run(started_at=None), seen("running"))
    # Also by a clock that was set back meanwhile.
    assert was_started(run(started_at=None), seen("running", started=BEFORE - timedelta(days=3)))


def test_it_goes_on_while_it_is_the_same_run() -> None:
    assert goes_on(run(), seen("running"))
    assert goes_on(run(), seen("paused"))
    assert goes_on(run(started_at=None), seen("running"))
    assert not goes_on(run(), seen("exited"))
    assert not goes_on(run(), seen("running", started=LATER))


@pytest.mark.parametrize(
    ("it", "by", "state", "words"),
    [
        (seen(), "", RunState.SUCCEEDED, ""),
        (seen(code=3), "", RunState.FAILED, "exited 3"),
        (seen(code=137, oom=True), "", RunState.FAILED, "out of memory"),
        (seen(code=-1, timeout=60), "", RunState.TIMED_OUT, "it ran for 60 s"),
        (seen(code=-1), "", RunState.FAILED, "timed out, and was killed"),
        (seen(code=143), "stop of shop by kyle", RunState.STOPPED, "ended by stop of shop by kyle"),
        (seen(), "deploy of shop by kyle", RunState.STOPPED, "ended by deploy"),
        # The machine went down: podman 4 says that it was only created, podman 5 that it has exited, as it last did.
        (seen("created", finished=BEFORE_END), "", RunState.FAILED, "nobody knows"),
        (seen("exited", finished=BEFORE_END), "", RunState.FAILED, "nobody knows"),
        (seen("created", finished=BEFORE_END), "stop of shop by kyle", RunState.STOPPED, "ended by"),
        # Somebody else has started the container since.
        (seen("running", started=LATER), "", RunState.STOPPED, "by somebody else"),
    ],
)
def test_how_it_ended(it: Inspected, by: str, state: RunState, words: str) -> None:
    end = ended(it, by)
    assert end.state is state
    assert words in end.message
    assert end.message.startswith("job failed at now: ") == state.is_failure


def test_the_first_run_of_a_container_that_nobody_saw_end() -> None:
    assert ended(seen("exited", finished=NEVER), of=run(None)).state is RunState.FAILED


def test_a_clock_that_was_set_back_while_it_ran_hides_no_end() -> None:
    assert ended(seen(finished=AT - timedelta(hours=1))).state is RunState.SUCCEEDED


def test_a_program_that_ends_at_once_does_not_end_before_it_has_started() -> None:
    assert ended(seen(finished=AT - timedelta(milliseconds=1))).at == AT
    assert ended(seen()).at == LATER
