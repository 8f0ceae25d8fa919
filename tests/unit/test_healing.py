"""Healing: at once, then with ever longer pauses, and at once again for what has proved itself."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.healing import FIRST_PAUSE_S, MAX_PAUSE_S, PROVEN_AFTER_S, Healing


def pauses(deaths: int) -> list[float]:
    """How long each attempt has to wait, when a component dies at once after every one of them."""
    healing, now, found = Healing(), 1000.0, []
    for _ in range(deaths):
        found.append(healing.wait(now))
        now += found[-1]
        healing = healing.attempted(now)
    return found


def test_the_first_death_is_healed_at_once() -> None:
    assert Healing().wait(0.0) == 0.0
    assert Healing().wait(1e9) == 0.0


def test_pauses_double_up_to_the_cap() -> None:
    assert pauses(12) == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert pauses(30)[-1] == MAX_PAUSE_S


def test_a_pause_counts_from_the_last_attempt() -> None:
    healing = Healing().attempted(100.0)
    assert healing.wait(100.0) == FIRST_PAUSE_S
    assert healing.wait(100.75) == 0.25
    assert healing.wait(101.0) == 0.0


def test_a_component_that_ran_long_enough_is_healed_at_once_again() -> None:
    healing = Healing().attempted(0.0).attempted(1.0).attempted(3.0)
    assert healing.wait(3.0 + PROVEN_AFTER_S / 2) == 0.0
    later = healing.attempted(3.0 + PROVEN_AFTER_S + 1.0)
    assert later.wait(3.0 + PROVEN_AFTER_S + 1.0) == FIRST_PAUSE_S


def test_a_component_that_ran_shortly_is_not_forgiven() -> None:
    healing = Healing().attempted(0.0).attempted(1.0).attempted(PROVEN_AFTER_S / 2)
    assert healing.wait(PROVEN_AFTER_S / 2) == 4 * FIRST_PAUSE_S


def test_what_has_waited_long_must_run_for_more_than_twice_that_time() -> None:
    waited = Healing(not_before=100.0, pause=100.0, tried_at=0.0)
    assert waited.attempted(200.0).pause == 200.0
    assert waited.attempted(201.0).pause == 2 * FIRST_PAUSE_S
    assert msgspec.structs.replace(waited, not_before=300.0).wait(200.5) == 0.0


def test_a_long_pause_alone_proves_nothing() -> None:
    """A component that dies at once after each attempt stays at the cap: the waiting itself is no good conduct."""
    assert pauses(100)[20:] == [MAX_PAUSE_S] * 80


def test_time_in_which_nobody_could_know_that_it_was_ill_proves_nothing() -> None:
    """A probe that needs 95 s to call it unhealthy: each restart looks like a life of that length."""
    healing, now, pauses = Healing(), 1000.0, []
    for _ in range(12):
        healing = healing.attempted(now, 95)
        found = now + 95
        now = found + healing.wait(found, 95)
        pauses.append(now - found)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 200
    assert healing.wait(now + 2 * 300 + 95 + 1, 95) == 0


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_attempts_are_never_nearer_than_the_first_pause(lives: list[float]) -> None:
    healing, now, attempts = Healing(), 0.0, []
    for life in lives:
        now += life
        now += healing.wait(now)
        healing = healing.attempted(now)
        attempts.append(now)
        assert FIRST_PAUSE_S * 0.999 <= healing.wait(now) <= MAX_PAUSE_S * 1.001
    assert all(later - earlier >= FIRST_PAUSE_S * 0.999 for earlier, later in pairwise(attempts))
