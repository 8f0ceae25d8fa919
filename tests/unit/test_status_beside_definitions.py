"""`mcpctl status` beside the definitions: what is not deployed, and what is deployed otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.config import load
from mcpctl.definitions import definition
from protos.fingerprint import definition_hash
from protos.mcp import v1
from tests.support.agent import WEB, Node, Run
from tests.support.live_agent import alive


def deployed(folder: Path, name: str, *, active: bool = True, hashes: bool = True) -> v1.ServiceInfo:
    """What a node has once it was told the definition as it is now."""
    found = definition.load(load(folder / "mcp.toml"), name).service
    components = [
        v1.ComponentInfo(
            service=name,
            component=each.name,
            desired=v1.DesiredState.RUNNING,
            observed=v1.ObservedState.RUNNING,
            definition_hash=definition_hash(each) if hashes else "",
        )
        for each in found.components
    ]
    return v1.ServiceInfo(name, found.node, active, components)


@pytest.fixture
def alone(rift: Node, tmp_path: Path) -> Node:
    """The configuration has one node."""
    text = (tmp_path / "mcp.toml").read_text()
    (tmp_path / "mcp.toml").write_text(text[: text.rindex("[[nodes]]")])
    return rift


@pytest.fixture
def define(tmp_path: Path, rift: Node) -> Callable[..., None]:  # noqa: ARG001
    def define(name: str, node: str = "rift", more: str = "") -> None:
        text = WEB.replace("web", name).replace("rift", node) + more
        (tmp_path / f"services/{name}.toml").write_text(text)

    return define


Define = Callable[..., None]


def answers(node: Node, *services: v1.ServiceInfo) -> None:
    node.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse(node.agent.node, list(services))


def test_what_is_as_defined_needs_no_word(run: Run, alone: Node, define: Define, tmp_path: Path) -> None:
    define("web")
    answers(alone, deployed(tmp_path, "web"))
    assert run("status").err == run("status", "web").err == ""


def test_what_is_defined_and_not_deployed_is_said_in_a_line(run: Run, alone: Node, define: Define) -> None:
    define("idle")
    answers(alone)
    status, out, err = run("status")
    assert (status, out) == (0, "")
    assert err == (
        "mcpctl: no services are deployed on rift\n"
        "mcpctl: defined but not deployed: idle; `mcpctl plan idle` shows what a deploy would change\n"
    )


@pytest.mark.parametrize(
    "more",
    [
        'env = { A = "1" }',
        'heal = "restart"',
        "active = false",
        '[components.health]\ntcp = "127.0.0.1:80"',
        '[[components]]\nname = "db"\nimage = "x:v1"',
    ],
)
def test_what_was_edited_since_is_said(run: Run, alone: Node, define: Define, tmp_path: Path, more: str) -> None:
    define("web")
    answers(alone, deployed(tmp_path, "web"))
    define("web", more=more + "\n")
    for words in (("status",), ("status", "web"), ("status", "--output", "wide")):
        status, _, err = run(*words)
        assert status == 0
        assert err == (
            "mcpctl: deployed but different from the definition: web; "
            "`mcpctl plan web` shows what a deploy would change\n"
        )


def test_a_service_that_is_to_stop_was_edited_too(run: Run, alone: Node, define: Define, tmp_path: Path) -> None:
    define("web")
    answers(alone, deployed(tmp_path, "web", active=False))
    assert "deployed but different from the definition: web" in run("status").err


def test_a_component_that_nobody_wanted_any_more_and_is_defined_again_is_said(
    run: Run, alone: Node, define: Define, tmp_path: Path
) -> None:
    define("web")
    there = deployed(tmp_path, "web")
    there.components[0].desired = v1.DesiredState.IGNORE
    answers(alone, there)
    assert "deployed but different from the definition: web" in run("status").err


def test_where_no_hash_is_told_nothing_is_said_of_edits(run: Run, alone: Node, define: Define, tmp_path: Path) -> None:
    """A viewer gets none, nor does anybody from an older mcpd."""
    define("web")
    answers(alone, deployed(tmp_path, "web", hashes=False))
    define("web", more='env = { A = "1" }\n')
    assert run("status").err == ""


def test_both_are_one_line_and_only_nodes_that_answered_are_compared(
    run: Run, rift: Node, orion: Node, define: Define, tmp_path: Path
) -> None:
    define("web")
    define("mail")
    define("away", "orion")
    answers(rift, deployed(tmp_path, "web"))
    define("web", more="active = false\n")
    orion.cut(for_good=True)
    (line,) = [each for each in run("status").err.splitlines() if "node orion" not in each]
    assert line == (
        "mcpctl: defined but not deployed: mail; deployed but different from the definition: web; "
        "`mcpctl plan` shows what a deploy would change"
    )
    assert len(rift.agent.requests) == 1
    assert run("status", "--node", "rift").err == line + "\n"


def test_what_was_undeployed_is_not_deployed(run: Run, alone: Node, define: Define) -> None:
    define("web")
    answers(alone, v1.ServiceInfo("web", "rift"))
    assert "defined but not deployed: web" in run("status").err


def test_many_are_still_a_line(run: Run, alone: Node, define: Define) -> None:  # noqa: ARG001
    for number in range(12):
        define(f"s{number:02}")
    assert "s07 and 4 more; `mcpctl plan`" in run("status").err


def test_a_broken_definition_is_a_note_and_breaks_nothing(
    run: Run, alone: Node, define: Define, tmp_path: Path
) -> None:
    define("web")
    answers(alone, deployed(tmp_path, "web"))
    (tmp_path / "services/bad.toml").write_text("name = ")
    assert run("status")[::2] == (
        0,
        "mcpctl: 1 definition is invalid and was not compared; `mcpctl service list` shows why\n",
    )
    # Of one service only its own definition is looked at.
    assert run("status", "web").err == ""
    (tmp_path / "services/other.toml").write_text(WEB)
    assert "2 definitions are invalid and were not compared" in run("status").err


def test_without_definitions_status_is_as_it_was(run: Run, alone: Node, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "services").rmdir()
    assert run("status")[::2] == (0, "mcpctl: no services are deployed on rift\n")


def test_programs_and_questions_about_the_past_get_no_such_line(run: Run, alone: Node, define: Define) -> None:
    define("idle")
    ran = run("status", "--output", "json")
    assert (json.loads(ran.out), ran.err) == ([], "")
    assert run("status", "--quiet").err == ""
    assert "not deployed" not in run("status", "--at", "2h").err
    assert len(alone.agent.requests) == 3


# -- a service that no node knows


@pytest.mark.parametrize("words", ["status idle", "ps idle", "list idle", "timeline idle", "logs idle"])
def test_a_defined_service_that_is_not_deployed_is_said_to_be_so(
    run: Run, alone: Node, define: Define, words: str
) -> None:
    define("idle")
    alive(alone)
    unknown = GRPCError(Status.NOT_FOUND, "no service idle is deployed on rift")
    for kind in ("GetStatus", "LiveCheck", "ListServices", "Logs"):
        alone.agent.prepared[f"{kind}Request"] = unknown
    status, out, err = run(*words.split())
    assert (status, out) == (1, "")
    assert err == "mcpctl: idle is defined for node rift but not deployed; `mcpctl deploy idle` deploys it\n"


def test_one_that_is_defined_for_another_node_or_wrongly_is_said_to_be_so(
    run: Run, rift: Node, orion: Node, define: Define, tmp_path: Path
) -> None:
    define("idle", "orion")
    for each in (rift, orion):
        each.agent.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "no service idle")
    assert run("status", "idle", "--node", "rift")[::2] == (
        2,
        "mcpctl: node rift: no service idle; its definition says node orion\n",
    )
    assert run("status", "idle").status == 1
    (tmp_path / "services/idle.toml").write_text("name = ")
    assert run("status", "idle")[::2] == (
        2,
        "mcpctl: node rift: no service idle; its definition is invalid: `mcpctl service show idle` shows why\n",
    )
