"""Random histories of a node: every operation with everything that may befall it, in any order.

``MCP_MODEL_STEPS`` is how many steps are taken, 40 in a history; ``MCP_MODEL_SEED`` plays the history of that seed
alone. One that fails is cut down to the steps that matter, and printed as a call of `play`, which replays it.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

from .histories import LENGTH, history, shortest
from .machine import play
from .steps import Step

STEPS = int(os.environ.get("MCP_MODEL_STEPS", "400"))
SEED = os.environ.get("MCP_MODEL_SEED")


def fails(steps: Sequence[Step]) -> bool:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            play(*steps)
        except Exception:
            return True
    return False


def test_whatever_is_done_in_whatever_order_status_alerts_and_containers_are_as_they_should_be() -> None:
    for seed in [int(SEED)] if SEED else range(max(1, STEPS // LENGTH)):
        steps = history(seed)
        if fails(steps):
            steps = shortest(steps, fails)
            print(f"MCP_MODEL_SEED={seed}")
            print("play(", *(f"    {each}," for each in steps), ")", sep="\n")
            play(*steps)
