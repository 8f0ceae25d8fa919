"""The alert policy: what our own operations, cooldowns and silences suppress."""

import pytest

from monitor.alerts.policy import Memory, Raised, Rules
from monitor.model import MISSING
from tests.support.watched_component import (
    ALWAYS,
    BY_HAND,
    CREATED,
    DIED,
    DRIFT,
    FLAP,
    OTHER_IMAGE,
    RECOVERED,
    UP,
    Component,
    wanted,
)

# Our own operations


def test_nothing_is_told_of_what_our_own_operation_does() -> None:
    component = Component(wanted())
    component.look(0, UP)
    for now, seen in enumerate([BY_HAND, MISSING, CREATED, OTHER_IMAGE], start=100):
        assert component.look(now, seen, busy=True)[1:] == ((), None, False)
    component.look(110, UP)
    assert component.raised == []


def test_the_grace_begins_when_our_operation_ends() -> None:
    component = Component(ALWAYS)
    component.look(95, DIED)
    component.look(100, DIED, busy=True)
    assert component.look(120, DIED).again_in == 10
    assert component.raised == []


def test_what_our_operation_left_broken_is_told_after_it() -> None:
    component = Component(wanted())
    component.look(100, DIED, busy=True)
    component.look(110, DIED)
    assert component.kinds == [DRIFT]


def test_what_our_operations_stop_is_no_fall() -> None:
    """Three deploys within ten minutes are a busy morning, and no crash loop."""
    component = Component(wanted())
    component.look(0, UP)
    for now in (100, 200, 300, 400):
        component.look(now, BY_HAND, busy=True)
        component.look(now + 1, UP, busy=True)
        component.look(now + 2, UP)
    assert component.raised == []


def test_an_alert_stays_open_during_our_operation_and_closes_after_it() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, UP, busy=True)
    assert component.kinds == [DRIFT]
    component.look(111, UP)
    assert component.kinds == [DRIFT, RECOVERED]


def test_a_fall_in_our_operation_is_none_of_the_time_after_it_and_one_after_it_counts() -> None:
    component = Component(wanted())
    component.look(0, UP)
    component.look(100, DIED, busy=True)
    component.look(101, DIED)
    assert [(each.kind, each.transitions) for each in component.raised] == [(DRIFT, 0)]
    component = Component(wanted())
    component.look(100, UP, busy=True)
    component.look(101, DIED)
    assert [(each.kind, each.transitions) for each in component.raised] == [(DRIFT, 1)]


# Suppressed


def test_a_second_drift_within_the_cooldown_is_suppressed_by_name() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 400)
    assert component.told == [DRIFT, RECOVERED]
    assert component.kinds == [DRIFT, RECOVERED, DRIFT, RECOVERED]
    assert component.raised[2].suppressed_by == "cooldown, last sent 5m ago"


def test_the_recovery_of_a_suppressed_alert_is_suppressed_too() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 400)
    assert component.raised[3].suppressed_by == "its alert was suppressed"


def test_the_cooldown_counts_from_what_was_told_last() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 900, 1001)
    assert [bool(each.suppressed_by) for each in component.raised if each.kind is DRIFT] == [False, True, False]


def test_every_kind_has_a_cooldown_of_its_own() -> None:
    component = Component(wanted())
    component.dies(100, 200, 300)
    assert component.told == [DRIFT, RECOVERED, FLAP]


def test_a_silence_suppresses_and_is_named() -> None:
    component = Component(wanted())
    component.look(100, DIED, silenced="silence 3 until 2026-03-01 13:00 UTC")
    component.look(110, UP)
    assert [each.suppressed_by for each in component.raised] == [
        "silence 3 until 2026-03-01 13:00 UTC",
        "its alert was suppressed",
    ]


def test_a_silenced_alert_starts_no_cooldown() -> None:
    component = Component(wanted())
    component.look(100, DIED, silenced="silence 3")
    component.look(110, UP)
    component.look(120, DIED)
    assert component.told == [DRIFT]


def test_a_silence_keeps_the_recovery_of_what_was_told_quiet() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, UP, silenced="silence 3")
    assert component.raised[-1] == Raised(RECOVERED, "drift is over", 0, "silence 3")


def test_a_recovery_is_told_when_any_of_what_it_closes_was_told() -> None:
    component = Component(wanted())
    component.memory = Memory(open=frozenset({DRIFT, FLAP}), muted=frozenset({FLAP}))
    component.look(100, UP)
    assert component.told == [RECOVERED]


def test_nothing_of_what_is_over_is_remembered() -> None:
    """A drift that another alert opens, that of a reboot, is not taken for the one that was suppressed before."""
    component = Component(wanted())
    component.look(100, DIED, silenced="silence 3")
    component.look(110, UP)
    assert (component.memory.open, component.memory.muted) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h0m"), (2 * 3600 + 61, "2h1m")]
)
def test_a_cooldown_says_how_long_ago_the_alert_was_sent(seconds: int, words: str) -> None:
    component = Component(wanted(), Rules(cooldown=10_000))
    component.dies(100)
    component.look(100 + seconds, DIED)
    assert component.raised[-1].suppressed_by == f"cooldown, last sent {words} ago"


# Told after all


def test_what_a_silence_kept_quiet_is_told_when_that_has_ended() -> None:
    component = Component(ALWAYS)
    component.look(100, DIED)
    assert component.look(110, DIED, silenced="silence 3").again_in == 30
    assert component.look(140, DIED, silenced="silence 3").again_in == 30
    assert (component.kinds, component.told) == ([DRIFT], [])
    assert component.look(170, DIED).again_in is None
    assert component.told == [DRIFT]


def test_what_a_cooldown_kept_quiet_is_told_when_that_has_ended() -> None:
    component = Component(wanted())
    component.dies(100)
    for now, again_in in [(400, 10), (405, 5), (410, 590), (999, 1), (999.5, 0.5)]:
        assert component.look(now, DIED).again_in == again_in
    assert component.kinds == [DRIFT, RECOVERED, DRIFT]
    assert component.told == [DRIFT, RECOVERED]
    component.look(1000, DIED)
    assert component.told == [DRIFT, RECOVERED, DRIFT]


def test_what_a_cooldown_keeps_quiet_after_the_grace_is_looked_at_when_it_ends() -> None:
    component = Component(ALWAYS, Rules(flap_threshold=9))
    component.look(100, DIED)
    component.look(110, DIED)
    component.look(120, UP)
    component.look(400, DIED)
    assert component.look(410, DIED).again_in == 600
    assert component.told == [DRIFT, RECOVERED]


def test_what_was_told_is_looked_at_again_at_the_end_of_the_grace_since_it_may_be_healed_then() -> None:
    assert Component(wanted()).look(100, DIED).again_in == 10
    component = Component(wanted())
    assert component.look(100, DIED, silenced="silence 3").again_in == 10


def test_a_flap_that_a_silence_kept_quiet_is_told_when_that_has_ended() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110)
    assert component.look(120, DIED, silenced="silence 3").again_in == 10
    assert component.raised[-1].suppressed_by == "silence 3"
    assert component.look(130, DIED, silenced="silence 3").again_in == 30
    assert component.told == []
    # Its falls are older than the window by then.
    component.look(1000, DIED)
    assert component.told == [FLAP]
    assert component.raised[-1].reason == "last: exited 137 (SIGKILL)"


def test_a_flap_that_a_cooldown_kept_quiet_is_told_when_that_has_ended() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110, 120)
    component.look(720, UP)
    component.dies(730, 740)
    assert component.look(750, DIED).again_in == 10
    assert component.raised[-1].suppressed_by == "cooldown, last sent 10m ago"
    assert component.look(760, DIED).again_in == 260
    component.look(1020, DIED)
    assert component.told == [FLAP, RECOVERED, FLAP]


def test_a_flap_after_the_grace_is_looked_at_when_its_cooldown_or_silence_ends() -> None:
    """What is down since before it flapped, and flaps by what its window still has."""
    falls = Memory(falls=(700.0, 710.0, 720.0), drifting_since=720.0, sent=((FLAP, 120.0),))
    component = Component(ALWAYS)
    component.memory = falls
    assert component.look(750, DIED).again_in == 270
    component.memory = falls
    assert component.look(750, DIED, silenced="silence 3").again_in == 30
    component.memory = Memory(falls=falls.falls, drifting_since=720.0)
    assert component.look(750, DIED).again_in is None
    component.memory = Memory(falls=falls.falls)
    assert component.look(750, DIED).again_in == 10
