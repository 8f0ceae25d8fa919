"""What is wrong with one node is the problem of that node: the others answer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpd.setup import pki
from tests.support.agent import HOST, WEB, Node, Run, stripped
from tests.support.nodes import READS, third


def write_config(folder: Path, both: tuple[Node, Node], orion: str) -> None:
    """``orion``: the further keys of that node."""
    tables = [f'[[nodes]]\nname = "{each.agent.node}"\naddress = "{HOST}:{each.port}"\n' for each in both]
    (folder / "mcp.toml").write_text("".join(tables) + orion)


def no_token(folder: Path) -> str:  # noqa: ARG001
    return 'token_path = "orion.token"\n'


def open_token(folder: Path) -> str:
    (folder / "orion.token").write_text("secret")
    (folder / "orion.token").chmod(0o644)
    return 'token_path = "orion.token"\n'


def no_ca(folder: Path) -> str:  # noqa: ARG001
    return 'ca_cert = "own.pem"\n'


def broken_ca(folder: Path) -> str:
    (folder / "own.pem").write_text("not a certificate")
    return 'ca_cert = "own.pem"\n'


def other_ca(folder: Path) -> str:
    (folder / "own.pem").write_bytes(pki.make_authority("else").pem.certificate)
    return 'ca_cert = "own.pem"\n'


PROBLEMS = {
    no_token: "orion.token does not exist",
    open_token: "orion.token can be read by others",
    no_ca: "own.pem does not exist",
    broken_ca: "own.pem is not a CA certificate",
    other_ca: "own.pem did not sign its certificate",
}


@pytest.mark.parametrize("words", [*READS, "sync", "purge", "recover"])
def test_a_node_without_a_token_hides_no_other_node(
    run: Run, both: tuple[Node, Node], tmp_path: Path, words: str
) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    status, _, err = run(*words.split())
    assert status == 4
    assert err.count("node orion") == 1
    assert "orion.token does not exist" in err
    assert len(both[0].agent.requests) >= 1
    assert both[1].agent.requests == []


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_with_one_node_is_in_its_row_and_its_own_error(
    run: Run, both: tuple[Node, Node], tmp_path: Path, problem: Callable[[Path], str]
) -> None:
    write_config(tmp_path, both, problem(tmp_path))
    status, out, err = run("node", "list")
    assert (status, err) == (4, "")
    _, rift, orion = out.splitlines()
    assert stripped(rift)[:3] == ["rift", "active", "yes"]
    assert stripped(orion)[0] == "orion"
    assert PROBLEMS[problem] in orion
    # Asked alone, it is the command's own error.
    alone = run("ps", "--node", "orion")
    assert alone.status == (4 if problem is other_ca else 2)
    assert PROBLEMS[problem] in alone.err


def test_a_row_of_a_node_that_could_not_be_asked_says_so(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, no_ca(tmp_path))
    row = run("node", "list").out.splitlines()[2]
    assert stripped(row)[:3] == ["orion", "active", "not asked"]
    assert json.loads(run("node", "list", "--output", "json").out)[1]["reachable"] is None


def test_a_refusal_and_what_could_not_be_asked_are_both_said(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    both[0].agent.prepared["LiveCheckRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for strangers")
    status, _, err = run("ps")
    assert status == 1
    assert [line.partition(":")[2].split(":")[0].strip() for line in err.splitlines()] == [
        "no token for node orion",
        "node rift",
    ]


def test_a_request_that_one_node_finds_wrong_hides_no_answer(run: Run, both: tuple[Node, Node]) -> None:
    both[1].agent.prepared["LiveCheckRequest"] = GRPCError(Status.INVALID_ARGUMENT, "what is that?")
    assert run("ps")[::2] == (
        4,
        "mcpctl: node orion: what is that?\nmcpctl: no managed containers found on rift\n",
    )
    assert run("ps", "--node", "orion").status == 2


def test_a_plan_for_two_nodes_shows_the_one_that_can_be_asked(
    run: Run, both: tuple[Node, Node], tmp_path: Path
) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    for name, node in (("web", "rift"), ("mail", "orion"), ("wiki", "orion")):
        (tmp_path / f"services/{name}.toml").write_text(WEB.replace("web", name).replace("rift", node))
    status, out, err = run("plan")
    assert status == 4
    assert "mcpctl deploy web --plan" in out
    assert err.count("orion.token does not exist") == 1


def test_adopting_where_no_node_can_be_reached_says_so(run: Run, both: tuple[Node, Node]) -> None:
    for each in both:
        each.cut(for_good=True)
    status, out, err = run("adopt", "web")
    assert (status, out) == (1, "")
    assert [name in err for name in ("node rift", "node orion", "a bug")] == [True, True, False]


def test_a_name_that_no_host_can_have_is_that_nodes_problem(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, f'[[nodes]]\nname = "vault"\naddress = "{"v" * 70}.example:1"\n')
    status, _, err = run("ps")
    assert status == 4
    assert "not a valid host name" in err
    assert "Traceback" not in err


def test_two_entries_with_one_address_are_said(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    third(tmp_path, both[1].port)
    line = f"mcpctl: nodes orion, vault have the same address, {HOST}:{both[1].port}"
    assert run("ps").err.splitlines()[0] == f"{line}; mcpctl contacts each of them"
    assert run("node", "list").err == run("node", "list", "--offline").err == f"{line}; is one of them a mistake?\n"
