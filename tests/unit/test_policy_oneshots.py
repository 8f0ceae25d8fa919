"""The alert policy: what is wanted to run to its end."""

import msgspec
import pytest

from monitor.model import MISSING, Desired, Observed, Seen, Wanted
from protos.parts import Heal
from tests.support.builders import IMAGE
from tests.support.watched_component import (
    BY_HAND,
    CREATED,
    DIED,
    DRIFT,
    ENDED_WELL,
    FLAP,
    ONESHOT,
    OTHER_IMAGE,
    PAUSED,
    RECOVERED,
    SICK,
    UNCLEAR,
    UNKNOWN,
    UP,
    Component,
    wanted,
)

HEALED = wanted(heal=Heal.RESTART, desired=Desired.COMPLETED)
TRIED_AGAIN = wanted("on-failure", Heal.RESTART, Desired.COMPLETED)
EVERYTHING = [UP, DIED, ENDED_WELL, BY_HAND, SICK, UNCLEAR, CREATED, PAUSED, UNKNOWN, OTHER_IMAGE, MISSING]


@pytest.mark.parametrize("seen", EVERYTHING)
@pytest.mark.parametrize("wanted", [ONESHOT, HEALED, TRIED_AGAIN])
def test_nothing_of_it_is_ever_healed(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    assert not any(component.look(now, seen).heal for now in (0, 10, 1000))


@pytest.mark.parametrize("seen", [UP, ENDED_WELL, BY_HAND, SICK])
def test_what_is_at_it_or_has_completed_is_as_wanted(seen: Seen) -> None:
    component = Component(HEALED)
    assert [component.look(now, seen).again_in for now in (0, 100, 10_000)] == [None] * 3
    assert component.raised == []


@pytest.mark.parametrize("wanted", [ONESHOT, HEALED])
@pytest.mark.parametrize("seen", [DIED, PAUSED])
def test_what_nothing_mends_is_told_at_once(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    component.look(100, seen)
    assert component.kinds == [DRIFT]


def test_good_ends_are_no_flaps() -> None:
    component = Component(TRIED_AGAIN)
    component.dies(*range(100, 600, 10), seen=ENDED_WELL)
    assert component.raised == []
    # Nor do they count when it fails after all.
    component.look(600, DIED)
    component.look(610, DIED)
    (raised,) = component.raised
    assert (raised.kind, raised.transitions) == (DRIFT, 1)


def test_bad_ends_are_flaps_though_podman_starts_it_again_each_time() -> None:
    component = Component(TRIED_AGAIN)
    component.dies(100, 110, 120)
    assert component.kinds == [FLAP]
    assert component.raised[0].reason.startswith("3 times down within 20s; last: did not complete: exited 137")


def test_podman_is_waited_for_as_long_as_the_grace() -> None:
    component = Component(TRIED_AGAIN)
    assert component.look(100, DIED).again_in == 10
    component.look(110, DIED)
    reason = "did not complete: exited 137 (SIGKILL), and podman did not restart it: stopped by hand, or out of tries"
    assert [each.reason for each in component.raised] == [reason]


def test_a_status_that_nobody_knows_yet_is_waited_for_and_counts_when_it_is_known() -> None:
    component = Component(ONESHOT)
    for start in (100, 200, 300):
        component.look(start, UP)
        assert component.look(start + 5, UNCLEAR).again_in == 10
        component.look(start + 6, ENDED_WELL)
    assert component.raised == []
    assert component.memory.falls == ()
    component.look(400, UP)
    component.look(405, UNCLEAR)
    component.look(406, DIED)
    assert component.memory.falls == (406,)


@pytest.mark.parametrize("restart", ["no", "on-failure"])
def test_a_status_that_nobody_will_ever_know_is_told_after_the_grace(restart: str) -> None:
    component = Component(wanted(restart, desired=Desired.COMPLETED))
    component.look(100, UNCLEAR)
    component.look(110, UNCLEAR)
    assert [each.reason for each in component.raised] == ["did not complete: it exited, and its status is not known"]


def test_what_runs_again_has_not_recovered_until_it_has_completed() -> None:
    component = Component(ONESHOT)
    component.look(100, DIED)
    assert component.look(200, UP).again_in is None
    component.look(300, DIED)
    component.look(400, UP)
    assert component.kinds == [DRIFT]
    component.look(500, ENDED_WELL)
    assert component.kinds == [DRIFT, RECOVERED]


def test_our_own_operation_on_it_tells_nothing() -> None:
    component = Component(ONESHOT)
    for now, seen in enumerate((UP, DIED, UP, DIED, ENDED_WELL)):
        component.look(now, seen, busy=True)
    component.look(10, ENDED_WELL)
    assert component.raised == []


def test_of_what_should_be_stopped_no_end_matters() -> None:
    component = Component(ONESHOT)
    component.look(100, DIED)
    component.wanted = msgspec.structs.replace(ONESHOT, desired=Desired.STOPPED)
    component.look(110, DIED)
    assert component.kinds == [DRIFT, RECOVERED]


def test_what_is_out_of_memory_and_ends_well_all_the_same_has_completed() -> None:
    """A child of it was killed; whether that mattered, its own status says."""
    component = Component(ONESHOT)
    component.look(100, Seen(Observed.EXITED, IMAGE, "h1", 0, out_of_memory=True))
    assert component.raised == []
