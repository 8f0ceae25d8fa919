"""`mcpctl deploy`: what is sent, what is said of it, and what to do when it is not followed to its end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import JSON, WEB, Launch, Node, Run, of_a_shell
from tests.support.changes import ANNOUNCED, outcome, reports, step
from tests.support.waiting import DEADLINE_S, until

DB = '[[components]]\nname = "db"\nimage = "y:v1"\n'


@pytest.mark.usefixtures("deploying")
def test_a_deploy_says_its_steps_and_lists_its_outcomes(run: Run) -> None:
    status, out, err = run("deploy", "web")
    assert status == 0
    assert out == "COMPONENT  RESULT    DETAIL\napi        replaced  v1 -> v2\n"
    assert err == f"{ANNOUNCED}\napi              pull     pulling x:v1\n"


@pytest.mark.usefixtures("deploying")
def test_as_json_each_report_of_a_deploy_is_a_line(run: Run) -> None:
    status, out, err = run("deploy", "web", *JSON)
    assert (status, err) == (0, "")
    progress = {"component": "api", "step": "pull", "message": "pulling x:v1", "at": "2026-03-01T12:00:00Z"}
    assert [json.loads(line) for line in out.splitlines()] == [
        {"operation": "12", "progress": progress},
        {"operation": "12", "outcome": {"component": "api", "result": "replaced", "message": "v1 -> v2"}},
    ]


def test_a_deploy_sends_what_was_asked_for(run: Run, deploying: Node) -> None:
    assert run("deploy", "web/api", "--plan", "p1", "--force", "--wait").status == 0
    (request,) = deploying.agent.requests
    assert (request.component, request.plan_id, request.force, request.wait) == ("api", "p1", True, True)
    assert not request.accept_losses
    assert run("deploy", "web/api", "--plan", "p1", "--accept-loss").status == 0
    assert deploying.agent.requests[-1].accept_losses


def test_a_plan_that_holds_no_longer_is_a_failure_in_the_agents_words(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = GRPCError(Status.ABORTED, "plan p1 holds no longer: make another")
    status, out, err = run("deploy", "web", "--plan", "p1")
    assert (status, out) == (1, "")
    assert err == "mcpctl: node rift: plan p1 holds no longer: make another\n"


def test_outcomes_of_a_deploy_that_fails_are_listed(run: Run, deploying: Node) -> None:
    failed = GRPCError(Status.FAILED_PRECONDITION, "api failed at verify")
    deploying.agent.prepared["DeployRequest"] = reports(outcome(result=v1.Result.REVERTED), failed, completed=False)
    status, out, err = run("deploy", "web")
    assert status == 1
    assert "reverted" in out
    assert err == f"{ANNOUNCED}\nmcpctl: node rift: api failed at verify\n"


# -- deploy --image


@pytest.mark.parametrize("target", ["web", "web/api"])
def test_another_image_is_sent_and_what_the_file_says_is_said(
    run: Run, deploying: Node, web: Path, target: str
) -> None:
    status, _, err = run("deploy", target, "--image", "x:v2")
    assert status == 0
    assert err.splitlines()[0] == (
        f"mcpctl: web/api: deploying x:v2; {web} still says x:v1, and the next deploy goes back to it unless you edit "
        "the file"
    )
    assert [each.image for each in deploying.agent.requests[0].service.components] == ["x:v2"]
    assert web.read_text() == WEB


def test_only_the_components_image_is_another(run: Run, deploying: Node, web: Path) -> None:
    web.write_text(WEB + DB)
    assert run("deploy", "web/db", "--image", "y:v2").status == 0
    assert [each.image for each in deploying.agent.requests[0].service.components] == ["x:v1", "y:v2"]


@pytest.mark.usefixtures("deploying")
def test_an_image_that_the_file_says_too_is_no_reason_to_warn(run: Run) -> None:
    assert "says" not in run("deploy", "web/api", "--image", "x:v1").err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("web/api", "--image", "X Y"), "--image: 'X Y' is not an image reference"),
        (("web", "--image", "x:v2"), "web has api, db: give web/COMPONENT"),
        (("web/nobody", "--image", "x:v2"), "no component 'nobody'"),
    ],
)
def test_an_image_that_cannot_be_used_is_not_sent(
    run: Run, deploying: Node, web: Path, words: tuple[str, ...], part: str
) -> None:
    web.write_text(WEB + DB)
    status, out, err = run("deploy", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert deploying.agent.requests == []


# -- a deploy that is not followed to its end


def test_a_stream_that_ends_early_says_how_to_follow_on(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), completed=False)
    status, _, err = run("deploy", "web")
    assert status == 1
    assert err.splitlines()[2:] == [
        "mcpctl: node rift: the connection closed before the deploy of web ended",
        "operation 12 continues on the node until it completes or rolls back: "
        "`mcpctl attach 12 --node rift` follows it",
    ]


def test_with_one_node_it_needs_no_name(run: Run, alone: Node, web: Path) -> None:
    alone.agent.prepared["DeployRequest"] = reports(step(), completed=False)
    assert "`mcpctl attach 12` follows it" in run("deploy", "web").err
    assert web.exists()


def test_a_refusal_has_nothing_to_follow(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    assert run("deploy", "web").err == "mcpctl: node rift: podman does not answer\n"


def test_a_connection_that_breaks_says_how_to_follow_on(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = launch("deploy", "web")
    until(lambda: "pulling" in program.err, "it deploys")
    deploying.cut()
    assert program.end() == (1, [])
    assert "the connection to" in program.err
    assert "`mcpctl attach 12 --node rift` follows it" in program.err


def test_ctrl_c_leaves_the_operation_and_says_how_to_follow_it(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = launch("deploy", "web")
    until(lambda: "pulling" in program.err, "it deploys")
    assert program.interrupt() == (130, [])
    assert program.err.splitlines()[2:] == [
        "mcpctl: interrupted; operation 12 continues on rift: `mcpctl attach 12 --node rift` follows it again, "
        "`mcpctl cancel 12 --node rift` rolls it back"
    ]


def test_ctrl_c_before_anything_is_known_says_what_is(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(...)
    program = launch("deploy", "web")
    until(lambda: deploying.agent.requests, "it is sent")
    assert program.interrupt() == (130, [])
    assert program.err == "mcpctl: interrupted; an operation that a node has begun continues there\n"


def test_a_reader_that_has_enough_is_not_taken_for_a_node_that_broke(deploying: Node, tmp_path: Path) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(*[step("x" * 1000)] * 500)
    command = [sys.executable, "-m", "mcpctl", "deploy", "web", *JSON]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=of_a_shell(tmp_path), stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""
