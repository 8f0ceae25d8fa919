"""The alert policy: flaps and recoveries."""

import pytest

from monitor.alerts.policy import Memory, Rules
from tests.support.watched_component import (
    ALWAYS,
    BY_HAND,
    DIED,
    DRIFT,
    FLAP,
    IGNORED,
    RECOVERED,
    RULES,
    SICK,
    STOPPED,
    UP,
    Component,
    wanted,
)

# Flaps


def test_the_third_fall_within_the_window_is_a_flap() -> None:
    component = Component(ALWAYS)
    component.dies(100, 200)
    assert component.raised == []
    component.look(320, DIED)
    assert [(each.kind, each.reason, each.transitions) for each in component.raised] == [
        (FLAP, "3 times down within 3m; last: exited 137 (SIGKILL)", 3)
    ]


def test_the_third_fall_after_the_window_is_none() -> None:
    component = Component(ALWAYS)
    component.dies(100, 200, 701)
    assert component.raised == []


def test_a_flap_is_one_alert_and_no_drift_is_told_meanwhile() -> None:
    component = Component(wanted())
    component.dies(*range(100, 400, 10), seen=BY_HAND)
    component.look(5000, BY_HAND)
    component.look(9000, BY_HAND)
    assert component.kinds.count(FLAP) == 1
    assert DRIFT not in component.kinds[component.kinds.index(FLAP) :]


def test_a_flap_is_over_when_it_has_been_up_for_a_whole_window() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110, 120)
    component.look(600, UP)
    assert component.kinds == [FLAP]
    again_in = component.look(700, UP).again_in
    assert again_in == pytest.approx(20, abs=0.01)
    component.look(700 + again_in, UP)
    assert component.kinds == [FLAP, RECOVERED]
    assert component.raised[-1].reason == "flap is over"


def test_a_look_that_is_asked_for_is_never_asked_for_at_once() -> None:
    """Else who follows it looks again and again in the same instant: a sum of floats may round to either side."""
    for number in range(200):
        component = Component(ALWAYS)
        fall = 1000 + number / 7
        component.dies(fall - 3, fall - 1.5, fall)
        again_in = component.look(fall + RULES.flap_window, UP).again_in
        assert again_in is None or again_in > 0


def test_what_stays_down_after_a_flap_has_not_recovered() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110)
    component.look(120, DIED)
    component.look(10_000, DIED)
    assert component.kinds == [FLAP]
    component.look(10_001, UP)
    assert component.kinds == [FLAP, RECOVERED]


def test_a_flap_that_grew_out_of_a_drift_closes_with_it_in_one_recovery() -> None:
    component = Component(wanted(), Rules(flap_threshold=1))
    component.memory = Memory(open=frozenset({DRIFT}))
    component.look(100, UP)
    component.memory = Memory(was_up=True, open=frozenset({DRIFT}))
    component.look(101, DIED)
    component.look(102, UP)
    component.look(800, UP)
    assert component.kinds[-2:] == [FLAP, RECOVERED]
    assert component.raised[-1].reason == "drift and flap is over"
    assert component.memory.open == frozenset()


def test_sicknesses_make_a_flap_as_deaths_do() -> None:
    component = Component(wanted())
    component.dies(100, 110, 120, seen=SICK)
    assert component.kinds == [FLAP]


def test_what_nobody_declared_does_not_flap() -> None:
    component = Component(IGNORED)
    component.dies(100, 110, 120, 130)
    assert component.raised == []


# Recoveries


def test_a_recovery_is_told_once() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    for now in (200, 200, 201, 5000):
        component.look(now, UP)
    assert component.kinds == [DRIFT, RECOVERED]
    assert component.raised[-1].reason == "drift is over"
    assert component.memory.open == frozenset()


def test_a_recovery_has_no_cooldown_of_its_own() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.look(100, DIED)
    component.look(110, UP)
    component.look(2000, DIED)
    component.look(2010, UP)
    assert component.told == [DRIFT, RECOVERED, DRIFT, RECOVERED]


def test_a_drift_ends_when_it_is_not_wanted_to_run_any_more() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.wanted = STOPPED
    component.look(110, DIED)
    assert component.kinds == [DRIFT, RECOVERED]
