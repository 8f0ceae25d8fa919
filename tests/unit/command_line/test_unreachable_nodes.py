"""Nodes that cannot be asked: the exit status, and which ones are named."""

import tomllib
from pathlib import Path

import pytest

from tests.support.agent import WEB, Run

LOOKING = [("ps",), ("list",), ("status",), ("events",), ("ps", "--all"), ("node", "show", "rift")]
LOOKING += [("status", "--at", "2h"), ("events", "--follow"), ("timeline",), ("alerts", "list")]
LOOKING += [("whoami",), ("audit",), ("audit", "--follow"), ("sync",), ("purge",), ("recover",), ("operations",)]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_without_a_node_that_answers_it_exits_with_4_and_says_which(run: Run, words: tuple[str, ...]) -> None:
    status, _, err = run(*words)
    assert status == 4
    assert "node rift: 127.0.0.1:1 cannot be reached: " in err
    assert ("node orion: 127.0.0.2:1 cannot be reached: " in err) == ("show" not in words)


def test_only_the_nodes_that_were_named_are_asked(run: Run) -> None:
    status, _, err = run("ps", "--node", "orion", "--node", "orion")
    assert status == 4
    assert err.count("node orion") == 1
    assert "rift" not in err


def test_nodes_that_are_not_active_are_skipped_and_said(run: Run) -> None:
    run("node", "set-state", "rift", "inactive")
    status, _, err = run("ps")
    assert status == 4
    assert "node rift is inactive in mcp.toml: skipped" in err
    run("node", "set-state", "orion", "down")
    status, _, err = run("ps")
    assert status == 2
    assert "has no active node" in err


def test_json_stays_json_when_nobody_answers(run: Run) -> None:
    status, out, err = run("ps", "--output", "json")
    assert (status, out.strip()) == (4, "[]")
    assert "node rift" in err


def test_a_stop_that_cannot_reach_the_node_still_changes_the_definition(run: Run, folder: Path) -> None:
    path = folder / "services/web.toml"
    path.write_text(WEB)
    status, _, err = run("stop", "web")
    assert status == 1
    assert tomllib.loads(path.read_text())["active"] is False
    assert f"{path} now says active = false; when the node is back, `mcpctl sync` applies it" in err


@pytest.mark.parametrize("command", ["plan", "deploy", "start", "stop", "restart", "undeploy"])
def test_a_change_on_a_node_that_is_not_active_is_refused_and_changes_nothing(
    run: Run, folder: Path, command: str
) -> None:
    (folder / "services/web.toml").write_text(WEB)
    run("node", "set-state", "rift", "down")
    status, out, err = run(command, "web")
    assert (status, out) == (1, "")
    assert "mcpctl node set-state rift active" in err
    assert (folder / "services/web.toml").read_text() == WEB


@pytest.mark.parametrize("command", ["plan", "deploy", "start", "stop", "restart"])
def test_a_change_of_a_component_that_is_not_defined_is_refused(run: Run, folder: Path, command: str) -> None:
    (folder / "services/web.toml").write_text(WEB)
    status, _, err = run(command, "web/nobody")
    assert status == 2
    assert "web has no component 'nobody'" in err
    assert (folder / "services/web.toml").read_text() == WEB
