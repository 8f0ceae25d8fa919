"""A month of schedules, with whatever befalls a node: every time that a job is due is accounted for once.

``MCP_JOB_HISTORIES`` is how many are played; ``MCP_JOB_SEED`` plays the one of that seed alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from mcpd.changes.jobs.due import MOST_COUNTED, next_due
from mcpd.registry import jobs as rows
from mcpd.registry.alerts import read_open_of_runs
from mcpd.registry.job_ledger import Key
from mcpd.registry.jobs import Run, RunState
from monitor.model import AlertKind

from .jobs import World, kept, played

HISTORIES = int(os.environ.get("MCP_JOB_HISTORIES", "12"))
SEED = os.environ.get("MCP_JOB_SEED")
# How late a run may be that nothing kept from its time, in seconds of a pretended podman.
_AT_ONCE = timedelta(seconds=2)


def due_times(world: World, key: Key, since: datetime, until: datetime) -> list[datetime]:
    component = world.components[key]
    found, last = [], since
    while (last := next_due(component.schedule or "", component.timezone or "", last)) <= until:
        found.append(last)
    return found


def each_due_time_is_accounted_for_once(world: World) -> None:
    accounts = {each.key: each for each in rows.read_accounts(world.registry._writer)}
    for key, runs in kept(world).items():
        assert not [each for each in runs if each.missed >= MOST_COUNTED], "more was missed than is counted"
        counted_from = world.start
        due = due_times(world, key, counted_from, world.ended_at)
        accounted = [each for each in runs if each.due_at]
        assert sum(1 + each.missed for each in accounted) == len(due), f"{key}: {len(due)} were due"
        at = [each.due_at for each in accounted]
        assert at == sorted(set(at)), f"{key}: not in their order, or twice"
        assert set(at) <= set(due), f"{key}: when it was not due"
        assert accounts[key].accounted_until == (due[-1] if due else accounts[key].accounted_until)


def what_began_is_what_is_known(world: World) -> None:
    """Each start of a container is one run, and it is known how it ended."""
    for key, runs in kept(world).items():
        began = world.made[key].runs
        known = [each for each in runs if each.started_at]
        assert [each.started_at for each in known] == [each.started_at for each in began]
        for truly, run in zip(began, known, strict=True):
            assert run.state is not RunState.RUNNING, f"{run} has ended"
            if run.state is not RunState.STOPPED:
                assert run.exit_status == truly.code
                assert (run.state is RunState.SUCCEEDED) == (truly.code == 0)
            else:
                assert truly.code == 143, f"{run} ended by itself"


def what_is_not_known_was_only_in_memory(world: World) -> None:
    """Each run that is known began, and mcpd has ended before it could write any other."""
    for key, runs in kept(world).items():
        began = {each.started_at: each for each in world.made[key].runs}
        known = [each.started_at for each in runs if each.started_at]
        assert known == [each for each in began if each in set(known)]
        for run in runs:
            assert run.state is not RunState.RUNNING, f"{run} has ended"
            if run.exit_status is not None and run.started_at:
                assert run.exit_status == began[run.started_at].code
        for lost in (each for started_at, each in began.items() if started_at not in known):
            blind = [until for since, until in world.unwritten if since <= lost.since <= until]
            assert any(lost.since <= end <= max(blind, default=0) for end in world.ends), f"{lost} is not known"


def no_two_run_at_a_time(world: World) -> None:
    for made in world.made.values():
        for before, after in zip(made.runs, made.runs[1:], strict=False):
            assert before.ended is not None
            assert before.ended <= after.since


def an_alert_is_open_of_what_is_in_trouble(world: World) -> None:
    accounts = rows.read_accounts(world.registry._writer)
    troubled = sorted(each.key for each in accounts if each.trouble)
    opened = sorted((each.service, each.component) for each, _ in read_open_of_runs(world.registry._writer, "rift"))
    assert opened == troubled
    for key, runs in kept(world).items():
        counted = [each for each in runs if each.state is not RunState.STOPPED]
        if counted and counted[-1] is runs[-1]:
            assert (key in troubled) == counted[-1].state.is_failure
    told = [each.id for each in world.told]
    assert len(told) == len(set(told)), "told twice"


INVARIANTS: tuple[Callable[[World], None], ...] = (
    each_due_time_is_accounted_for_once,
    what_began_is_what_is_known,
    no_two_run_at_a_time,
    an_alert_is_open_of_what_is_in_trouble,
)


FORGETFUL = (
    each_due_time_is_accounted_for_once,
    what_is_not_known_was_only_in_memory,
    no_two_run_at_a_time,
    an_alert_is_open_of_what_is_in_trouble,
)
# Months with a full disk: runs written out of order; one that went on without a row; ends in the last of its hours.
FULL = (4, 5, 7)


def chosen(share: float) -> range | list[int]:
    return [int(SEED)] if SEED else range(max(1, int(HISTORIES * share)))


def check(seed: int, invariants: tuple[Callable[[World], None], ...] = INVARIANTS, **how: bool) -> None:
    try:
        with played(seed, **how) as world:
            for holds in invariants:
                holds(world)
    except BaseException:
        print(f"MCP_JOB_SEED={seed} {how}")
        raise


def test_whatever_happens_each_due_time_is_accounted_for_once() -> None:
    for seed in chosen(0.7):
        check(seed)


def test_a_disk_that_is_full_now_and_then_stops_no_job() -> None:
    for seed in sorted({*chosen(0.1), *FULL}) if not SEED else chosen(0.1):
        check(seed, fills_up=True)


def test_what_a_full_disk_was_not_told_is_made_up_for_by_the_next_mcpd() -> None:
    for seed in chosen(0.1):
        check(seed, FORGETFUL, forgets=True)


def test_whoever_asks_before_mcpd_has_looked_at_what_goes_on_disturbs_nothing() -> None:
    for seed in chosen(0.2):
        check(seed, hasty=True)


def test_a_clock_that_is_set_by_days_runs_nothing_at_a_time_and_loses_no_end() -> None:
    for seed in chosen(0.1):
        check(seed, INVARIANTS[1:], steps_far=True)


def test_in_a_calm_month_every_due_time_has_its_run_and_at_once() -> None:
    for seed in chosen(0.1):
        check(seed, (*INVARIANTS, each_begins_at_once), calm=True)


def each_begins_at_once(world: World) -> None:
    for runs in kept(world).values():
        for before, run in zip([None, *runs], runs, strict=False):
            is_free = before is None or before.ended_at is None or run.due_at is None or before.ended_at < run.due_at
            assert not is_free or _lateness(run) < _AT_ONCE
    assert not [each for each in world.told if each.kind is AlertKind.JOB and "missed" in each.reason]


def _lateness(run: Run) -> timedelta:
    assert run.due_at
    return run.at - run.due_at


def test_a_history_is_the_same_when_it_is_played_again() -> None:
    with played(1) as first, played(1) as second:
        assert kept(first) == kept(second)


if __name__ == "__main__":
    pytest.main([__file__])
