"""The alert policy: what our own operations, cooldowns and silences suppress."""

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
