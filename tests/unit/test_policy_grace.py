"""The alert policy: what is told at once, what after the grace, and the reason that an alert gives."""

import pytest

from monitor.alerts.policy import Rules
from monitor.model import MISSING, NOT_SEEN_YET, Observed, Seen, Wanted
from tests.support.builders import IMAGE
from tests.support.watched_component import (
    ALWAYS,
    BY_HAND,
    CREATED,
    DIED,
    DRIFT,
    ENDED_WELL,
    HEALED,
    IGNORED,
    OOM,
    OTHER_IMAGE,
    PAUSED,
    SICK,
    STOPPED,
    UNKNOWN,
    UP,
    Component,
    wanted,
)

# Grace


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (ALWAYS, DIED),
        (ALWAYS, ENDED_WELL),
        (wanted("unless-stopped"), DIED),
        (wanted("on-failure"), DIED),
        (HEALED, DIED),
        (wanted(), SICK),
        (wanted(), CREATED),
        (wanted(), UNKNOWN),
        (wanted(), NOT_SEEN_YET),
    ],
)
def test_what_something_may_mend_is_told_after_the_grace(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    component.look(0, UP)
    assert component.look(100, seen).again_in == 10
    assert component.look(109, seen).again_in == 1
    assert component.kinds == []
    component.look(110, seen)
    assert component.kinds == [DRIFT]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (wanted("no"), DIED),
        (wanted("on-failure"), ENDED_WELL),
        (ALWAYS, BY_HAND),
        (HEALED, BY_HAND),
        (ALWAYS, MISSING),
        (HEALED, MISSING),
        (wanted(), PAUSED),
        (wanted(), OTHER_IMAGE),
        (STOPPED, UP),
    ],
)
def test_what_nothing_will_mend_is_told_at_once(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    component.look(0, UP if wanted is not STOPPED else DIED)
    verdict = component.look(100, seen)
    assert [each.kind for each in verdict.raised] == [DRIFT]


def test_what_mended_itself_within_the_grace_is_never_told() -> None:
    component = Component(ALWAYS)
    component.dies(100)
    component.look(1000, UP)
    assert component.raised == []


def test_the_grace_begins_anew_after_a_mending() -> None:
    component = Component(ALWAYS)
    component.dies(100)
    assert component.look(108, DIED).again_in == 10
    component.look(112, DIED)
    assert component.raised == []


def test_a_drift_that_changes_its_reason_has_one_grace_and_one_alert() -> None:
    component = Component(ALWAYS)
    component.look(100, SICK)
    component.look(105, DIED)
    component.look(110, DIED)
    component.look(120, BY_HAND)
    component.look(130, MISSING)
    assert component.kinds == [DRIFT]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [(ALWAYS, UP), (ALWAYS, Seen(Observed.HEALTHY, IMAGE, "h1")), (STOPPED, DIED), (STOPPED, MISSING), (IGNORED, DIED)],
)
def test_what_is_as_wanted_is_never_told(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    verdicts = [component.look(now, seen) for now in (0, 100, 10_000)]
    assert component.raised == []
    assert {(each.again_in, each.heal) for each in verdicts} == {(None, False)}


# Reasons


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (DIED, "exited 137 (SIGKILL)"),
        (ENDED_WELL, "exited 0"),
        (OOM, "exited 137 (out of memory)"),
        (BY_HAND, "exited 0, stopped by hand"),
        (OTHER_IMAGE, "image v0 runs, v1 is wanted"),
        (SICK, "unhealthy: HTTP status 503"),
        (MISSING, "missing: no such container"),
        (PAUSED, "paused, should be running"),
        (CREATED, "created, never started"),
        (UNKNOWN, "unknown: not seen"),
    ],
)
def test_an_alert_says_why(seen: Seen, reason: str) -> None:
    component = Component(wanted())
    component.look(100, seen)
    component.look(110, seen)
    assert [each.reason for each in component.raised] == [reason]


def test_what_podman_should_restart_and_does_not_was_stopped_by_hand() -> None:
    component = Component(ALWAYS)
    component.look(100, DIED)
    component.look(110, DIED)
    assert [each.reason for each in component.raised] == [
        "exited 137 (SIGKILL), and podman did not restart it: stopped by hand"
    ]


def test_what_is_known_to_be_stopped_by_hand_is_said_to_be_so_once() -> None:
    component = Component(ALWAYS)
    component.look(100, BY_HAND)
    assert [each.reason for each in component.raised] == ["exited 0, stopped by hand"]


def test_an_alert_says_how_often_it_has_happened() -> None:
    component = Component(wanted(), Rules(flap_threshold=5, cooldown=0))
    component.dies(100, 200, 340, 350)
    reasons = [each.reason for each in component.raised if each.kind is DRIFT]
    assert reasons == [
        "exited 137 (SIGKILL)",
        "exited 137 (SIGKILL), 2nd time in 1m",
        "exited 137 (SIGKILL), 3rd time in 4m",
        "exited 137 (SIGKILL), 4th time in 4m",
    ]
    assert [each.transitions for each in component.raised if each.kind is DRIFT] == [1, 2, 3, 4]


def test_what_happened_before_the_window_is_not_counted() -> None:
    component = Component(wanted(), Rules(flap_threshold=5, cooldown=0))
    component.dies(100, 701)
    assert [each.reason for each in component.raised if each.kind is DRIFT] == [
        "exited 137 (SIGKILL)",
        "exited 137 (SIGKILL)",
    ]
