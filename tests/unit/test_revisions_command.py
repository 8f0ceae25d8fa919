"""`mcpctl history` and `rollback`, against agents that answer as the test prepared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import AT, JSON, Node, Run
from tests.support.changes import a_change, a_plan, outcome, reports

TWO = '[[components]]\nname = "db"\nimage = "y:v1"\n'
UNCHANGED = a_plan(v1.ComponentPlan("api", "none", "unchanged"))


def a_revision(number: int, restores: int = 0, caller: str = "kyle", tag: str = "v1") -> v1.RevisionInfo:
    components = [v1.RevisionComponent("api", f"x:{tag}", tag)]
    return v1.RevisionInfo(number=number, at=AT, caller=caller, restores=restores, components=components)


def listed(node: Node, *revisions: v1.RevisionInfo) -> None:
    node.agent.prepared["ListRevisionsRequest"] = v1.ListRevisionsResponse(node.agent.node, list(revisions))


def kept(node: Node, *components: v1.ComponentSpec, active: bool = True, revision: int = 1) -> None:
    """What the revision says that is asked for."""
    spec = v1.ServiceSpec("web", "rift", active, list(components) or [v1.ComponentSpec("api", "x:v0")])
    node.agent.prepared["GetServiceSpecRequest"] = v1.GetServiceSpecResponse(spec, revision)


def asked_for(node: Node) -> int:
    (request,) = node.agent.asked(v1.GetServiceSpecRequest)
    assert request.service == "web"
    return int(request.revision)


def deployed(node: Node) -> v1.DeployRequest:
    (request,) = node.agent.asked(v1.DeployRequest)
    assert isinstance(request, v1.DeployRequest)
    return request


@pytest.fixture
def back(deploying: Node) -> Node:
    """A node where `web` can be rolled back: it ran v0, and then v1."""
    listed(deploying, a_revision(2), a_revision(1, tag="v0"))
    kept(deploying)
    deploying.agent.prepared["DeployRequest"] = reports(outcome(message="v1 -> v0"))
    deploying.agent.prepared["PlanRequest"] = UNCHANGED
    return deploying


@pytest.fixture
def file(back: Node, tmp_path: Path) -> Path:  # noqa: ARG001 - the definition is there with it
    return tmp_path / "services/web.toml"


def test_history_lists_what_ran_the_newest_first(run: Run, rift: Node) -> None:
    listed(rift, a_revision(3, restores=1), a_revision(2, tag="v2"), a_revision(1, caller=""))
    status, out, err = run("history", "web")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["NODE", "REVISION", "DEPLOYED", "BY", "COMPONENTS", "NOTE"]
    assert [line[1] for line in lines[1:]] == ["3", "2", "1"]
    assert out.splitlines()[1].endswith("kyle  api v1      current, rollback to 1")
    assert out.splitlines()[3].endswith("api v1      before revisions were kept")
    (request,) = rift.agent.requests
    assert (request.service, request.limit) == ("web", 20)
    assert "web/api: x:v2" in run("history", "web", "--output", "wide").out
    assert run("history", "web", "--quiet").out == "3\n2\n1\n"


def test_as_json_history_has_every_image(run: Run, rift: Node) -> None:
    listed(rift, a_revision(2), a_revision(1, tag="v0"))
    newest, first = json.loads(run("history", "web", *JSON).out)
    assert (newest["number"], newest["is_current"], first["is_current"]) == (2, True, False)
    assert first["components"] == [{"component": "api", "image": "x:v0", "version": "v0"}]


def test_where_nothing_was_deployed_history_says_so(run: Run, rift: Node) -> None:
    listed(rift)
    status, out, err = run("history", "web")
    assert (status, out, err) == (0, "", "mcpctl: no revisions of web found on rift and orion\n")
    assert "at least 1" in run("history", "web", "--limit", "0").err


def test_a_rollback_deploys_the_revision_before_and_brings_the_definition_in_line(
    run: Run, back: Node, file: Path
) -> None:
    file.write_text(f"# ours\n{file.read_text()}")
    status, out, err = run("rollback", "web")
    assert status == 0, err
    assert asked_for(back) == 1
    sent = deployed(back)
    assert (sent.restores, sent.service.components[0].image, sent.force) == (1, "x:v0", False)
    assert "v1 -> v0" in out
    assert "node rift: the rollback of web to revision 1 is operation 12" in err
    assert f"{file}: image = x:v0 for api" in err
    assert 'image = "x:v0"' in file.read_text()
    assert file.read_text().startswith("# ours\n")
    assert "still differs" not in err


@pytest.mark.parametrize(
    ("revisions", "to"),
    [
        ([a_revision(5), a_revision(4), a_revision(3)], 4),
        ([a_revision(4, restores=2), a_revision(3), a_revision(2), a_revision(1)], 1),
        ([a_revision(5, restores=1), a_revision(4), a_revision(1)], None),
        ([a_revision(1)], None),
        ([], None),
    ],
    ids=["the one before", "of a rollback", "of a rollback to the first", "of the first", "of none"],
)
def test_which_revision_comes_before(run: Run, back: Node, revisions: list[v1.RevisionInfo], to: int | None) -> None:
    listed(back, *revisions)
    kept(back, revision=to or 0)
    status, _, err = run("rollback", "web")
    if to:
        assert (status, asked_for(back)) == (0, to)
    else:
        assert status == 1
        assert "no revision of web" in err
        assert not back.agent.asked(v1.DeployRequest)


def test_a_revision_that_is_named_needs_no_list(run: Run, back: Node) -> None:
    kept(back, revision=7)
    assert run("rollback", "web", "--to", "7", "--wait", "--plan", "p1", "--accept-loss").status == 0
    assert asked_for(back) == 7
    sent = deployed(back)
    assert (sent.restores, sent.wait, sent.plan_id, sent.accept_losses) == (7, True, "p1", True)
    assert not back.agent.asked(v1.ListRevisionsRequest)


def test_one_that_is_not_kept_is_refused_in_the_nodes_words(run: Run, back: Node) -> None:
    back.agent.prepared["GetServiceSpecRequest"] = GRPCError(Status.NOT_FOUND, "web has no revision 9 here")
    status, _, err = run("rollback", "web", "--to", "9")
    assert status != 0
    assert "web has no revision 9 here" in err
    assert not back.agent.asked(v1.DeployRequest)


def test_what_is_stopped_stays_stopped(run: Run, back: Node, file: Path) -> None:
    file.write_text(file.read_text().replace('node = "rift"\n', 'node = "rift"\nactive = false\n') + "active = false\n")
    kept(back, v1.ComponentSpec("api", "x:v0"), v1.ComponentSpec("old", "z:v1"))
    assert run("rollback", "web").status == 0
    sent = deployed(back).service
    assert not sent.active
    assert [(each.name, each.active) for each in sent.components] == [("api", False), ("old", None)]


def test_a_dry_run_shows_the_plan_and_changes_nothing(run: Run, back: Node, file: Path) -> None:
    before = file.read_text()
    back.agent.prepared["PlanRequest"] = a_plan(v1.ComponentPlan("api", "replace", "image changed", [a_change()]))
    status, out, err = run("rollback", "web", "--dry-run")
    assert (status, err) == (0, "")
    assert "web/api: replace (image changed)" in out
    assert "plan p1: `mcpctl rollback web --to 1 --plan p1` applies exactly this" in out
    assert not back.agent.asked(v1.DeployRequest)
    assert file.read_text() == before
    assert "--dry-run cannot be given with --plan" in run("rollback", "web", "--dry-run", "--plan", "p1").err


def test_a_rollback_that_fails_leaves_the_definition_alone(run: Run, back: Node, file: Path) -> None:
    before = file.read_text()
    failed = GRPCError(Status.FAILED_PRECONDITION, "api failed at verify")
    back.agent.prepared["DeployRequest"] = reports(outcome(result=v1.Result.REVERTED), failed, completed=False)
    assert run("rollback", "web").status == 1
    assert file.read_text() == before


def test_what_the_definition_says_otherwise_is_shown(run: Run, back: Node, file: Path) -> None:
    change = v1.ComponentPlan("api", "replace", "the definition changed", [a_change("env.A", "(not shown)", "")])
    left = ("web/old is no longer defined and left as it is",)
    back.agent.prepared["PlanRequest"] = a_plan(change, v1.ComponentPlan("db", "none", "unchanged"), warnings=left)
    err = run("rollback", "web").err
    assert f"mcpctl: {file} still differs from revision 1; `mcpctl plan web` says:" in err
    assert "    web/api: replace (the definition changed)\n" in err
    assert "        - env.A: (not shown)" in err
    assert "    web/old is no longer defined and left as it is\n" in err
    assert "web/db" not in err


def test_components_that_only_one_of_them_has_are_left_alone_in_the_file(run: Run, back: Node, file: Path) -> None:
    file.write_text(file.read_text() + TWO)
    kept(back, v1.ComponentSpec("api", "x:v0"), v1.ComponentSpec("gone", "z:v1"))
    assert run("rollback", "web").status == 0
    assert 'image = "y:v1"' in file.read_text()
    assert "gone" not in file.read_text()


def test_without_a_definition_the_node_is_named(run: Run, back: Node, file: Path) -> None:
    file.unlink()
    status, _, err = run("rollback", "web")
    assert status == 2
    assert "a service without a definition needs --node NODE" in err
    assert run("rollback", "web", "--node", "rift").status == 0
    assert deployed(back).restores == 1
    assert not file.exists()


def test_an_older_mcpd_that_answers_with_what_runs_is_not_believed(run: Run, back: Node) -> None:
    kept(back, revision=0)
    status, _, err = run("rollback", "web", "--to", "7")
    assert status == 1
    assert "node rift: its mcpd keeps no revisions" in err
    assert not back.agent.asked(v1.DeployRequest)


@pytest.mark.usefixtures("back")
def test_a_negative_revision_is_none(run: Run) -> None:
    assert run("rollback", "web", "--to", "-1").status == 2
