"""`mcpctl operations` and `mcpctl attach`: what nodes do, and did; and one operation, followed to its end."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, JSON, Node, Run, stripped
from tests.support.changes import an_operation, listed, outcome, step, watched
from tests.support.terminal import Open, seen


def test_operations_are_a_row_each(run: Run, alone: Node) -> None:
    ended = {"state": "reverted", "ended_at": AT + timedelta(seconds=65), "message": "no image"}
    started = datetime.now(UTC) - timedelta(hours=2, seconds=30)
    listed(alone, an_operation(11, **ended, component=""), an_operation(12, started_at=started))
    status, out, _ = run("operations")
    assert status == 0
    header, first, second = map(stripped, out.splitlines())
    assert header == ["NODE", "ID", "OPERATION", "TARGET", "BY", "STARTED", "TOOK", "STATE", "STEP/DETAIL"]
    assert first == ["rift", "11", "deploy", "web", "kyle", render.moment(AT), "1m5s", "reverted", "no image"]
    assert second == ["rift", "12", "deploy", "web/api", "kyle", render.moment(started), "2h", "running", "pull"]


def test_operations_of_several_nodes_come_oldest_first(run: Run, rift: Node, orion: Node) -> None:
    listed(rift, an_operation(1), an_operation(2, started_at=AT + timedelta(hours=2)))
    listed(orion, an_operation(9, started_at=AT + timedelta(hours=1)))
    shown = json.loads(run("operations", *JSON).out)
    assert [(each["node"], each["id"]) for each in shown] == [("rift", 1), ("orion", 9), ("rift", 2)]
    assert shown[0] == {
        "node": "rift",
        "id": 1,
        "service": "web",
        "component": "api",
        "kind": "deploy",
        "caller": "kyle",
        "started_at": "2026-03-01T12:00:00Z",
        "ended_at": None,
        "state": "running",
        "step": "pull",
        "message": "",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v1.ListOperationsRequest(limit=20)),
        (("web", "--running", "--limit", "3"), v1.ListOperationsRequest("web", True, 3)),
    ],
)
def test_a_node_is_asked_for_the_operations_that_are_wanted(
    run: Run, alone: Node, words: tuple[str, ...], expected: v1.ListOperationsRequest
) -> None:
    assert run("operations", *words).status == 0
    assert alone.agent.requests == [expected]


# -- attach


def test_an_operation_is_followed_to_its_end(run: Run, alone: Node) -> None:
    watched(alone, step(), outcome())
    status, out, err = run("attach", "12")
    assert status == 0
    assert out == "COMPONENT  RESULT    DETAIL\napi        replaced  v1 -> v2\n"
    assert err.splitlines() == [
        f"mcpctl: node rift: operation 12: deploy web/api by kyle; running, since {render.moment(AT)}",
        "api              pull     pulling x:v1",
    ]
    assert alone.agent.requests == [v1.WatchOperationRequest(12)]


def test_as_json_the_first_line_is_the_operation(run: Run, alone: Node) -> None:
    watched(alone, step())
    first, second = map(json.loads, run("attach", "12", *JSON).out.splitlines())
    assert first["operation"] == second["operation"] == "12"
    assert (first["info"]["id"], first["info"]["kind"], first["info"]["node"]) == (12, "deploy", "rift")
    assert second["progress"]["step"] == "pull"


def test_an_operation_that_fails_is_a_failure(run: Run, alone: Node) -> None:
    watched(alone, GRPCError(Status.FAILED_PRECONDITION, "api failed at pull"), completed=False)
    status, _, err = run("attach", "12")
    assert status == 1
    assert err.splitlines()[-1] == "mcpctl: node rift: api failed at pull"


def test_an_attach_that_is_cut_off_says_how_to_do_it_again(run: Run, alone: Node) -> None:
    watched(alone, completed=False)
    status, _, err = run("attach", "12")
    assert status == 1
    assert "the connection closed before operation 12 ended" in err
    assert "`mcpctl attach 12` follows it" in err


def test_with_several_nodes_attach_says_that_it_needs_one(run: Run, rift: Node, orion: Node) -> None:
    status, out, err = run("attach", "12")
    assert (status, out) == (2, "")
    assert "each node numbers its own operations, and 2 nodes are active (rift, orion); give --node NAME" in err
    watched(orion)
    assert run("attach", "12", "--node", "orion").status == 0
    assert (rift.agent.requests, len(orion.agent.requests)) == ([], 1)


@pytest.mark.parametrize("number", ["0", "99999999999999999999"])
def test_what_is_no_id_of_an_operation_is_not_sent(run: Run, alone: Node, number: str) -> None:
    status, _, err = run("attach", number)
    assert status == 2
    assert f"{number} is not a valid operation ID" in err
    assert alone.agent.requests == []


def test_an_operation_is_drawn_as_a_deploy_is(on_terminal: Open, alone: Node) -> None:
    watched(alone, step(), outcome())
    program = on_terminal("attach", "12")
    assert program.end() == 0
    lines = seen(program.shown)
    assert lines[-1].startswith("✓ api  replaced   v1 -> v2 ")
    assert lines[0].startswith("mcpctl: node rift: operation 12: deploy web/api by kyle")
