"""`mcpctl cancel`: a deploy is taken back, and how it ended is said."""

from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import AT, Node, Run
from tests.support.changes import define, reports, step


def an_operation(state: str, message: str) -> v1.CancelOperationResponse:
    return v1.CancelOperationResponse(
        v1.OperationInfo(
            id=12, service="web", kind="deploy", caller="kyle", state=state, message=message, started_at=AT
        )
    )


@pytest.mark.parametrize(("state", "status"), [("reverted", 0), ("failed", 1)])
def test_a_deploy_is_cancelled_and_how_it_ended_is_said(run: Run, alone: Node, state: str, status: int) -> None:
    alone.agent.prepared["CancelOperationRequest"] = an_operation(state, "deploy of web: cancelled by kyle")
    found = run("cancel", "12")
    assert found == (status, f"node rift: operation 12 is {state}: deploy of web: cancelled by kyle\n", "")
    assert alone.agent.asked(v1.CancelOperationRequest) == [v1.CancelOperationRequest(id=12)]


def test_what_cannot_be_cancelled_is_a_failure_in_the_nodes_words(run: Run, alone: Node) -> None:
    words = "operation 12 cannot be cancelled: it is past its commit point"
    alone.agent.prepared["CancelOperationRequest"] = GRPCError(Status.FAILED_PRECONDITION, words)
    status, out, err = run("cancel", "12")
    assert (status, out, err) == (1, "", f"mcpctl: node rift: {words}\n")


def test_whoever_watches_a_cancelled_deploy_is_told_by_whom(run: Run, alone: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    ended: Any = GRPCError(Status.FAILED_PRECONDITION, "deploy of web: cancelled by kyle; everything is as it was")
    alone.agent.prepared["DeployRequest"] = reports(step(), ended, completed=False)
    status, _, err = run("deploy", "web")
    assert status == 1
    assert "cancelled by kyle" in err
