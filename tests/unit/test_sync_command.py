"""`mcpctl sync`; and what `sync`, `purge` and `recover` do when not every node can be asked."""

import json
from pathlib import Path

import pytest

from protos.mcp import v1
from tests.support.agent import JSON, WEB, Node, Run, stripped
from tests.support.changes import HEADERS, REPLACED, define, outcome, purged, recovered, service, synced


def test_each_node_is_told_all_of_its_own_definitions(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name in ("web", "mail"):
        define(tmp_path, name)
    status, _, err = run("sync")
    assert (status, err) == (0, "mcpctl: nothing to do\n")
    assert [[each.name for each in request.services] for request in rift.agent.requests] == [["mail", "web"]]
    assert orion.agent.asked(v1.SyncRequest) == [v1.SyncRequest()]
    assert run("sync", "--dry-run", "--node", "rift").status == 0
    assert [each.dry_run for each in rift.agent.requests] == [False, True]
    assert len(orion.agent.asked(v1.SyncRequest)) == 1


@pytest.mark.usefixtures("web")
def test_sync_lists_outcomes_and_what_a_deploy_would_change(run: Run, rift: Node) -> None:
    stopped = outcome(result=v1.Result.STOPPED, message="declared so")
    synced(rift, service("web", stopped, pending=(REPLACED,)), service("mail", outcome("db")))
    status, out, _ = run("sync")
    assert status == 0
    header, first, second, *rest = out.splitlines()
    assert stripped(header) == HEADERS
    assert stripped(first) == ["rift", "web", "api", "stopped", "declared so"]
    assert stripped(second) == ["rift", "mail", "db", "replaced", "v1 -> v2"]
    assert rest == [
        "",
        "these components still need a deploy:",
        "  web/api: replace (image changed)",
        "run `mcpctl deploy web`",
    ]


@pytest.mark.usefixtures("web")
def test_as_json_sync_is_a_list_of_services(run: Run, rift: Node) -> None:
    synced(rift, service("web", outcome(), pending=(v1.ComponentPlan("db", "create", "new"),), error="why"))
    status, out, _ = run("sync", *JSON)
    assert status == 1
    assert json.loads(out) == [
        {
            "node": "rift",
            "service": "web",
            "outcomes": [{"component": "api", "result": "replaced", "message": "v1 -> v2"}],
            "pending": [{"component": "db", "action": "create", "reason": "new", "changes": []}],
            "error": "why",
        }
    ]


@pytest.mark.usefixtures("web")
def test_a_service_that_could_not_be_synced_is_a_failure(run: Run, rift: Node) -> None:
    synced(rift, service(error="held by operation 3"))
    status, out, _ = run("sync")
    assert status == 1
    assert out.splitlines()[1].split() == ["rift", "web", "failed", "held", "by", "operation", "3"]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("result", [v1.Result.FAILED, v1.Result.REVERTED])
def test_a_component_that_could_not_be_synced_is_a_failure(run: Run, rift: Node, result: v1.Result) -> None:
    synced(rift, service("web", outcome(result=result)))
    assert run("sync").status == 1


def test_one_bad_definition_and_nothing_is_sent(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    for name in ("bad", "worse"):
        define(tmp_path, name).write_text("nonsense = 1\n")
    status, out, err = run("sync")
    assert (status, out) == (2, "")
    assert str(tmp_path / "services/bad.toml") in err
    assert str(tmp_path / "services/worse.toml") in err
    assert "nothing was sent" in err
    assert rift.agent.requests + orion.agent.requests == []


def test_definitions_that_disagree_are_not_sent(run: Run, rift: Node, tmp_path: Path) -> None:
    define(tmp_path, "a").write_text(WEB.replace("web", "a").replace("api", "b-c"))
    define(tmp_path, "a-b").write_text(WEB.replace("web", "a-b").replace("api", "c"))
    status, _, err = run("sync")
    assert status == 2
    assert err.count("its container name a-b-c is also that of") == 2
    assert rift.agent.requests == []


@pytest.mark.parametrize("command", ["sync", "purge"])
def test_without_the_folder_of_definitions_nothing_is_taken_for_undeclared(
    run: Run, rift: Node, tmp_path: Path, command: str
) -> None:
    (tmp_path / "services").rmdir()
    status, _, err = run(command)
    assert status == 2
    assert f"{tmp_path / 'services'} does not exist" in err
    assert rift.agent.requests == []


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("command", ["sync", "purge", "recover"])
def test_nodes_that_are_not_active_are_skipped_and_said(run: Run, alone: Node, orion: Node, command: str) -> None:
    alone.agent.prepared["RecoverRequest"] = [v1.RecoverResponse(completed=v1.Completed())]
    status, _, err = run(command)
    assert status == 0
    assert "node orion is down in mcp.toml: skipped" in err
    status, out, err = run(command, "--node", "orion")
    assert (status, out) == (1, "")
    assert "mcpctl node set-state orion active" in err
    assert (len(alone.agent.requests), orion.agent.requests) == (1, [])


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("command", ["sync", "purge", "recover"])
def test_the_nodes_that_answer_are_enough_for_status_4(run: Run, rift: Node, orion: Node, command: str) -> None:
    recovered(rift, outcome())
    synced(rift, service("web", outcome()))
    purged(rift, service("web", outcome()))
    orion.cut(for_good=True)
    status, out, err = run(command)
    assert status == 4
    assert "replaced" in out
    assert "node orion" in err
