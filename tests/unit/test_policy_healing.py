"""The alert policy: what is healed, and when."""

import msgspec
import pytest

from monitor.alerts.policy import Memory
from monitor.model import MISSING, AlertKind, Desired, Seen, Wanted
from protos.parts import Heal
from tests.support.watched_component import (
    ALWAYS,
    BY_HAND,
    CREATED,
    DIED,
    DRIFT,
    ENDED_WELL,
    FLAP,
    HEALED,
    OTHER_IMAGE,
    PAUSED,
    RECOVERED,
    SICK,
    UNKNOWN,
    UP,
    Component,
    wanted,
)


@pytest.mark.parametrize(
    ("wanted", "seen", "heals"),
    [
        (HEALED, DIED, True),
        (HEALED, ENDED_WELL, True),
        (wanted("on-failure", Heal.RESTART), ENDED_WELL, True),
        (HEALED, BY_HAND, False),
        (HEALED, MISSING, False),
        (HEALED, UNKNOWN, False),
        (HEALED, PAUSED, False),
        (HEALED, SICK, False),
        (HEALED, OTHER_IMAGE, False),
        (HEALED, UP, False),
        (wanted(), DIED, False),
        (ALWAYS, DIED, False),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), DIED, False),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), UP, False),
        (wanted(heal=Heal.RESTART, desired=Desired.IGNORE), DIED, False),
    ],
)
def test_only_what_died_and_should_run_is_healed(wanted: Wanted, seen: Seen, heals: bool) -> None:
    assert Component(wanted).look(100, seen).heal is heals


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (HEALED, CREATED),
        (wanted("always", Heal.RESTART), DIED),
        (wanted("unless-stopped", Heal.RESTART), ENDED_WELL),
        (wanted("on-failure", Heal.RESTART), DIED),
    ],
)
@pytest.mark.parametrize("told", [frozenset(), frozenset({DRIFT}), frozenset({FLAP})])
def test_what_others_are_about_to_start_is_healed_after_the_grace(
    wanted: Wanted, seen: Seen, told: frozenset[AlertKind]
) -> None:
    component = Component(wanted)
    component.memory = Memory(open=told)
    verdict = component.look(100, seen)
    assert (verdict.heal, verdict.again_in) == (False, 10)
    assert component.look(110, seen).heal


@pytest.mark.parametrize("told", [frozenset(), frozenset({DRIFT}), frozenset({FLAP})])
def test_what_is_ill_is_healed_after_the_grace(told: frozenset[AlertKind]) -> None:
    """Its probe's next answer may be another; healing ends a process that may be at work."""
    component = Component(HEALED)
    component.memory = Memory(open=told)
    verdict = component.look(100, SICK)
    assert (verdict.heal, verdict.again_in) == (False, 10)
    assert component.look(110, SICK).heal
    assert component.look(500, SICK).heal


@pytest.mark.parametrize(
    ("wanted", "seen", "busy"),
    [
        (wanted(), SICK, False),
        (HEALED, SICK, True),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), SICK, False),
        (wanted(heal=Heal.RESTART, desired=Desired.IGNORE), SICK, False),
        (HEALED, msgspec.structs.replace(SICK, by_hand=True), False),
        (HEALED, PAUSED, False),
    ],
)
def test_what_is_ill_is_left_alone_where_that_is_nobodys_wish(wanted: Wanted, seen: Seen, busy: bool) -> None:
    component = Component(wanted)
    component.look(100, seen, busy=busy)
    assert not component.look(1000, seen, busy=busy).heal


def test_what_we_ended_ourselves_is_healed_on_and_podman_is_not_waited_for() -> None:
    ended = msgspec.structs.replace(DIED, by_us=True)
    assert Component(wanted("always", Heal.RESTART)).look(100, ended).heal


def test_what_its_probe_has_not_spoken_of_yet_has_not_recovered() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, msgspec.structs.replace(UP, awaits_probe=True))
    assert component.kinds == [DRIFT]
    component.look(120, UP)
    assert component.kinds == [DRIFT, RECOVERED]


def test_nothing_is_healed_during_our_own_operation() -> None:
    assert not Component(HEALED).look(100, DIED, busy=True).heal


def test_healing_goes_on_in_a_drift_that_was_told_and_in_a_flap() -> None:
    component = Component(HEALED)
    component.look(100, DIED)
    assert component.look(110, DIED).heal
    assert component.look(200, DIED).heal
    component.dies(300, 310, 320)
    assert component.look(330, DIED).heal
    assert FLAP in component.kinds


def test_what_begins_to_flap_is_healed_on() -> None:
    component = Component(HEALED)
    component.dies(100, 110)
    assert component.look(120, DIED).heal is True
    assert component.kinds == [FLAP]


def test_nothing_is_healed_that_is_up_again() -> None:
    component = Component(HEALED)
    component.dies(100, 110, 120)
    assert component.look(600, UP).heal is False
    assert component.look(700, msgspec.structs.replace(UP, awaits_probe=True)).heal is False
    assert component.look(800, UP).heal is False
    assert component.look(900, UP).heal is False
    assert component.kinds == [FLAP, RECOVERED]
