"""What a hostile node says when it is asked cannot move the cursor."""

import pytest

from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Run
from tests.support.answers import ago, an_alert, an_api, an_event, prepare_alerts, prepare_status

COMMANDS = [
    ("alerts", "list"),
    ("alerts", "ack", "7"),
    ("alerts", "silence", "web", "--for", "1h", "--reason", HOSTILE, "--node", "rift"),
    ("status", "--at", "1h"),
    ("timeline",),
    ("events", "--since", "1000d"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_what_a_node_says_cannot_move_the_cursor(run: Run, alone: Node, words: tuple[str, ...]) -> None:
    names = {"service": HOSTILE, "component": HOSTILE}
    hostile = an_alert(**names, kind=HOSTILE, reason=HOSTILE, delivery=HOSTILE, acked_by=HOSTILE, ack_note=HOSTILE)
    prepare_alerts(alone, hostile, silences=(v1.SilenceInfo(1, HOSTILE, HOSTILE, AT, HOSTILE, HOSTILE),))
    alone.agent.prepared["AckAlertRequest"] = v1.AckAlertResponse(hostile)
    prepare_status(alone, an_api(**names, drift=HOSTILE))
    alone.agent.prepared["GetStatusRequest"].warning = HOSTILE
    alone.append(an_event(1, HOSTILE, ago(3), **names, message=HOSTILE, caller=HOSTILE))
    status, out, err = run(*words)
    assert status == 0
    assert (out + err).replace("\n", "").isprintable()
