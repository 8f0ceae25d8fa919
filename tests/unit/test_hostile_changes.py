"""What a hostile node says of a change cannot move the cursor."""

from pathlib import Path

import pytest

from protos.mcp import v1
from tests.support.agent import HOSTILE, Node, Run
from tests.support.changes import a_change, an_operation, listed, outcome, purged, reports, step, synced, watched


@pytest.mark.parametrize(
    "words", [("plan", "web"), ("deploy", "web"), ("sync",), ("purge",), ("recover",), ("operations",), ("attach", "1")]
)
def test_what_a_node_says_cannot_move_the_cursor(run: Run, alone: Node, web: Path, words: tuple[str, ...]) -> None:
    planned = v1.ComponentPlan(HOSTILE, HOSTILE, HOSTILE, [a_change(*[HOSTILE] * 4)])
    told = [step(HOSTILE, HOSTILE, HOSTILE), outcome(HOSTILE, message=HOSTILE)]
    found = v1.ServiceOutcome(HOSTILE, [told[1]], [planned], HOSTILE)
    alone.agent.prepared["PlanRequest"] = v1.PlanResponse(HOSTILE, [planned], [HOSTILE], [HOSTILE])
    alone.agent.prepared["DeployRequest"] = reports(*told)
    synced(alone, found)
    purged(alone, found)
    alone.agent.prepared["RecoverRequest"] = [
        v1.RecoverResponse(HOSTILE, HOSTILE, progress=told[0]),
        v1.RecoverResponse(HOSTILE, HOSTILE, outcome=told[1]),
        v1.RecoverResponse(completed=v1.Completed()),
    ]
    fields = ("service", "component", "kind", "caller", "state", "step", "message")
    hostile = an_operation(**dict.fromkeys(fields, HOSTILE))
    listed(alone, hostile)
    watched(alone, *told)
    alone.agent.prepared["WatchOperationRequest"][0] = v1.WatchOperationResponse(operation=hostile)
    _, out, err = run(*words)
    assert "one" in out + err
    assert (out + err).replace("\n", "").isprintable()
    assert web.exists()
