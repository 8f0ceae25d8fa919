"""What a deploy leaves on a terminal: each thing once, and why it failed whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from grpclib import GRPCError, Status

from protos.mcp import v1
from tests.support.agent import WEB, Node
from tests.support.live_agent import LiveAgent, alive
from tests.terminal.screen import terminal

WHY = "api failed at verify: exited 137 (SIGKILL) right after its start"
PRINTED = "; it printed last:\n    cannot open /etc/web.conf\n    giving up"


@pytest.fixture
def live(alone: Node, tmp_path: Path) -> LiveAgent:
    (tmp_path / "services" / "web.toml").write_text(WEB)
    agent = alive(alone)
    agent.component("api")
    return agent


BEGUN = "mcpctl: node rift: the deploy of web is operation 12"


def reported(*last: v1.ComponentOutcome) -> list[v1.DeployResponse]:
    now = datetime.now(UTC)
    return [
        v1.DeployResponse("12", progress=v1.Progress("", "plan", "inspecting the node", now)),
        v1.DeployResponse("12", progress=v1.Progress("api", "verify", "checking that it comes up", now)),
        *(v1.DeployResponse("12", outcome=each) for each in last),
    ]


def test_a_deploy_that_went_well_is_told_once_with_a_tick_for_each_step(live: LiveAgent, tmp_path: Path) -> None:
    done = v1.ComponentOutcome("api", v1.Result.REPLACED, "v1 -> v2")
    live.prepared["DeployRequest"] = [*reported(done), v1.DeployResponse("12", completed=v1.Completed())]
    with terminal(tmp_path, "deploy", "web") as screen:
        assert screen.end() == 0
        screen.is_clean()
        begun, plan, api, prompt = screen.lines
        assert begun == BEGUN
        assert plan.split()[:3] == ["✓", "-", "plan"]
        assert api.split()[:6] == ["✓", "api", "replaced", "v1", "->", "v2"]
        assert prompt == "$"


def test_a_deploy_that_failed_says_why_once_and_the_containers_lines_are_below(live: LiveAgent, tmp_path: Path) -> None:
    failed = v1.ComponentOutcome("api", v1.Result.REVERTED, WHY + PRINTED)
    words = f"deploy of web: {WHY}; the service was rolled back{PRINTED}"
    live.prepared["DeployRequest"] = [*reported(failed), GRPCError(Status.FAILED_PRECONDITION, words)]
    with terminal(tmp_path, "deploy", "web", columns=80) as screen:
        assert screen.end() == 1
        screen.is_clean()
        begun, plan, api, *error, one, two, _ = screen.lines
        assert begun == BEGUN
        assert plan.split()[:3] == ["✓", "-", "plan"]
        assert api.split()[:3] == ["✗", "api", "reverted"]
        assert (one, two) == ("    cannot open /etc/web.conf", "    giving up")
        assert "the service was rolled back; it printed last:" in " ".join(error)
        assert screen.text.count("cannot open") == 1
        assert "RESULT" not in screen.text
