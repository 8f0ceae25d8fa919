"""`mcpctl plan`, and `deploy --dry-run`: what would change, against agents that answer as the test prepared."""

import json
import re
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import JSON, Node, Run
from tests.support.changes import REPLACED, a_plan, define

PLANNED = a_plan(REPLACED, v1.ComponentPlan("db", "none", "as declared"), warnings=("web/old is left as it is",))
PRINTED = """\
web/api: replace (image changed)
    image: x:v1 -> x:v2   (definition)
    + user: 0:0   (definition)
    - heal: restart   (node)
web/db: unchanged (as declared)
1 to replace, 1 unchanged
plan p1: `mcpctl deploy web --plan p1` applies exactly this
"""


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_a_plan_has_each_component_and_each_changed_field(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    rift.agent.prepared["PlanRequest"] = PLANNED
    status, out, err = run(*words)
    assert (status, out) == (0, PRINTED)
    assert err == "mcpctl: node rift: web/old is left as it is\n"
    (request,) = rift.agent.requests
    assert (request.service.name, request.component, request.force) == ("web", "", False)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_a_plan_lists_what_adopted_containers_would_lose(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    losses = ["web/api: --cap-add CAP_NET_ADMIN", "web/api: --label a"]
    rift.agent.prepared["PlanRequest"] = v1.PlanResponse("p1", [REPLACED], losses=losses)
    lines = run(*words).out.splitlines()
    assert [line.strip() for line in lines[-3:-1]] == losses
    assert lines[-1] == "plan p1: `mcpctl deploy web --accept-loss --plan p1` applies exactly this"
    (document,) = json.loads(run(*words, *JSON).out)
    assert document["losses"] == losses


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_as_json_a_plan_is_a_list_of_documents(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    rift.agent.prepared["PlanRequest"] = PLANNED
    (document,) = json.loads(run(*words, *JSON).out)
    components = document.pop("components")
    assert document == {
        "node": "rift",
        "service": "web",
        "plan_id": "p1",
        "warnings": ["web/old is left as it is"],
        "losses": [],
    }
    assert components[0]["changes"][0] == {
        "field": "image",
        "before": "x:v1",
        "after": "x:v2",
        "source": "definition",
    }
    assert components[1] == {"component": "db", "action": "none", "reason": "as declared", "changes": []}


@pytest.mark.usefixtures("web")
def test_on_a_terminal_actions_have_colours(run: Run, rift: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "colourful", lambda: True)
    actions = {"create": 32, "replace": 33, "rename": 33, "update": 33, "stop": 31, "none": 90}
    rift.agent.prepared["PlanRequest"] = a_plan(*(v1.ComponentPlan("api", each, "") for each in actions))
    lines = run("plan", "web").out.splitlines()
    words = {"none": "unchanged"}
    assert lines[: len(actions)] == [
        f"web/api: \x1b[{code}m{words.get(each, each)}\x1b[0m" for each, code in actions.items()
    ]


@pytest.mark.usefixtures("web")
def test_the_command_that_a_plan_names_does_what_was_planned(run: Run, rift: Node) -> None:
    words = ("web/api", "--image", "x:v9", "--force")
    rift.agent.prepared["PlanRequest"] = a_plan()
    rift.agent.prepared["PlanRequest"].plan_id = "p2"
    out = run("deploy", *words, "--dry-run").out
    assert (
        out.splitlines()[-1] == "plan p2: `mcpctl deploy web/api --image x:v9 --force --plan p2` applies exactly this"
    )
    (request,) = rift.agent.requests
    assert (request.component, request.force) == ("api", True)
    assert request.service.components[0].image == "x:v9"


@pytest.mark.usefixtures("web")
def test_a_plan_without_an_id_names_no_command(run: Run, rift: Node) -> None:
    """As a viewer's is, which compares less than a deploy does."""
    rift.agent.prepared["PlanRequest"] = v1.PlanResponse(warnings=["web: values are not compared"])
    status, out, err = run("plan", "web")
    assert (status, out) == (0, "nothing to do\n")
    assert err == "mcpctl: node rift: web: values are not compared\n"


@pytest.mark.usefixtures("web")
def test_a_plan_is_bound_to_nothing(run: Run, rift: Node) -> None:
    status, _, err = run("deploy", "web", "--dry-run", "--plan", "p1")
    assert status == 2
    assert "--dry-run" in err
    assert rift.agent.requests == []


def test_without_a_service_each_one_is_planned(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    status, out, err = run("plan")
    assert (status, err) == (0, "")
    assert re.findall(r"mcpctl deploy (\w+) ", out) == ["mail", "web"]
    asked = rift.agent.asked(v1.PlanRequest) + orion.agent.asked(v1.PlanRequest)
    assert [each.service.name for each in asked] == ["web", "mail"]
    assert [each["service"] for each in json.loads(run("plan", *JSON).out)] == ["mail", "web"]


def test_a_service_on_a_node_that_is_not_active_is_skipped_and_said(run: Run, alone: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    status, out, err = run("plan", *JSON)
    assert status == 0
    assert [each["service"] for each in json.loads(out)] == ["web"]
    assert err == "mcpctl: mail: node orion is down: skipped\n"
    assert len(alone.agent.requests) == 1


def test_what_is_no_definition_is_said_and_the_rest_is_planned(run: Run, rift: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail").write_text("immage")
    status, out, err = run("plan")
    assert status == 1
    assert "deploy web" in out
    assert str(tmp_path / "services/mail.toml") in err
    assert len(rift.agent.requests) == 1


def test_plans_of_the_nodes_that_answer_are_shown_with_status_4(
    run: Run, rift: Node, orion: Node, tmp_path: Path
) -> None:
    for name, node in (("a", "orion"), ("b", "orion"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.cut(for_good=True)
    status, out, err = run("plan")
    assert status == 4
    assert re.findall(r"mcpctl deploy (\w+) ", out) == ["web"]
    assert err.count("node orion") == 1
    assert len(rift.agent.asked(v1.PlanRequest)) == 1


@pytest.mark.parametrize("words", [("plan",), ("plan", "web")], ids=" ".join)
def test_when_no_node_answers_the_error_is_the_answer(run: Run, rift: Node, web: Path, words: tuple[str, ...]) -> None:
    rift.cut(for_good=True)
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "node rift" in err
    assert web.exists()


def test_a_plan_that_is_refused_is_a_failure_beside_others(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    orion.agent.prepared["PlanRequest"] = GRPCError(Status.FAILED_PRECONDITION, "the port is taken")
    status, out, err = run("plan")
    assert status == 1
    assert "deploy web" in out
    assert err == "mcpctl: node orion: the port is taken\n"
    assert rift.agent.requests != []


def test_a_node_that_does_not_answer_is_asked_once(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name, node in (("a", "orion"), ("b", "orion"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.agent.prepared["PlanRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    assert run("plan").status == 4
    assert [len(each.agent.asked(v1.PlanRequest)) for each in (rift, orion)] == [1, 1]


def test_a_refusal_weighs_more_than_a_node_that_is_away(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name, node in (("a", "orion"), ("b", "rift"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.cut(for_good=True)
    rift.agent.refusals = [GRPCError(Status.FAILED_PRECONDITION, "the port is taken")]
    status, out, _ = run("plan")
    assert status == 1
    assert "deploy web" in out


@pytest.mark.usefixtures("rift")
def test_without_a_definition_there_is_nothing_to_plan(run: Run, tmp_path: Path) -> None:
    status, out, err = run("plan")
    assert (status, out) == (2, "")
    assert str(tmp_path / "services") in err
