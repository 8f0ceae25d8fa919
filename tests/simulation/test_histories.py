"""Thousands of random histories of a node: what the monitor knows, tells and closes is what truly happened.

``MCP_SIMULATION_HISTORIES`` is how many are played; ``MCP_SIMULATION_SEED`` plays the one of that seed alone.
"""

from __future__ import annotations

import os
import random

from tests.support.examples import HISTORIES

from .clocks import WallClock
from .history import play
from .invariants import INVARIANTS
from .life import random_life

SEED = os.environ.get("MCP_SIMULATION_SEED")
# A part of them a second time, with a wall clock that jumps.
JUMPING = max(1, HISTORIES // 5)


def chosen(number: int) -> range | list[int]:
    return [int(SEED)] if SEED else range(number)


def stepped_clock(seed: int) -> WallClock:
    """Steps by hours, to and fro, every now and then."""

    def offset(now: float) -> float:
        return random.Random(f"{seed}/{int(now / 37)}").choice([0, 0, 3600, -3600, 7 * 3600, -5 * 3600])

    return WallClock(offset)


def test_whatever_happens_the_end_is_as_it_should_be() -> None:
    for seed in chosen(HISTORIES):
        try:
            played = play(seed, random_life)
            for holds in INVARIANTS:
                holds(played)
        except BaseException:
            print(f"MCP_SIMULATION_SEED={seed}")
            raise


def test_a_wall_clock_that_is_stepped_neither_fires_an_alert_nor_hides_one() -> None:
    for seed in chosen(JUMPING):
        try:
            steady, stepped = play(seed, random_life), play(seed, random_life, clock=stepped_clock(seed))
            assert stepped.told == steady.told
        except BaseException:
            print(f"MCP_SIMULATION_SEED={seed}")
            raise


def test_a_history_is_the_same_when_it_is_played_again() -> None:
    for seed in chosen(3):
        first, second = play(seed, random_life), play(seed, random_life)
        assert first.told == second.told
        assert first.raised_at == second.raised_at
