"""`mcpctl logout` and `mcpctl whoami`."""

import json
from pathlib import Path

import pytest

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, Node, Run, stripped
from tests.support.mcias_process import Mcias
from tests.support.tokens import EXPIRED, LOGOUT, keep


def test_a_logout_makes_the_token_worthless_and_removes_it(run: Run, folder: Path, mcias: Mcias) -> None:
    token = keep(folder, mcias.token("kyle"))
    status, out, err = run("logout")
    assert (status, out, err) == (0, f"logged out; deleted {folder / 'token'}\n", "")
    assert not (folder / "token").exists()
    assert mcias.post("/v1/token/validate", {"token": token})[1] == {"valid": False}


def test_a_logout_that_mcias_does_not_hear_of_says_so(run: Run, folder: Path, mcias: Mcias) -> None:
    keep(folder, mcias.token("kyle"))
    mcias.mood("500")
    status, out, err = run("logout", "--output", "json")
    assert (status, json.loads(out)) == (0, {"revoked": False})
    assert "the token was not revoked: MCIAS at" in err
    assert not (folder / "token").exists()


def test_a_logout_with_a_token_that_has_ended_is_a_logout(run: Run, folder: Path, mcias: Mcias) -> None:
    keep(folder, EXPIRED)
    assert run("logout") == (0, f"logged out; deleted {folder / 'token'}\n", "")
    assert mcias.requests(LOGOUT) == 1


@pytest.mark.usefixtures("folder")
def test_a_logout_of_nobody_is_no_error(run: Run, mcias: Mcias) -> None:
    status, out, err = run("logout")
    assert (status, out) == (0, "")
    assert "not logged in" in err
    assert mcias.requests(LOGOUT) == 0


def test_a_token_that_others_could_read_is_removed(run: Run, folder: Path) -> None:
    keep(folder, "leaked")
    (folder / "token").chmod(0o644)
    status, _, err = run("logout")
    assert status == 0
    assert "can be read by others" in err
    assert not (folder / "token").exists()


# -- whoami


def test_whoami_is_a_row_per_node(run: Run, nodes: tuple[Node, Node]) -> None:
    nodes[1].agent.prepared["WhoAmIRequest"] = v1.WhoAmIResponse("orion", "eve", "viewer", AT)
    status, out, err = run("whoami")
    assert (status, err) == (0, "")
    header, rift, orion = out.splitlines()
    assert header.split() == ["NODE", "NAME", "ROLE", "EXPIRES"]
    assert stripped(rift) == ["rift", "kyle", "admin", "never"]
    assert stripped(orion) == ["orion", "eve", "viewer", render.moment(AT)]


def test_whoami_as_json(run: Run, orion: Node) -> None:
    orion.agent.prepared["WhoAmIRequest"] = v1.WhoAmIResponse("orion", "eve", "viewer", AT)
    expected = {"node": "orion", "name": "eve", "role": "viewer", "expires_at": "2026-03-01T12:00:00Z"}
    assert json.loads(run("whoami", "--node", "orion", "--output", "json").out) == [expected]


def test_whoami_of_the_nodes_that_answer_has_status_4(run: Run, orion: Node) -> None:
    orion.cut(for_good=True)
    status, out, err = run("whoami")
    assert (status, len(out.splitlines())) == (4, 2)
    assert "node orion" in err


@pytest.mark.usefixtures("nodes")
def test_whoami_with_a_token_that_is_not_known_is_an_error(run: Run, nodes: tuple[Node, Node]) -> None:
    for each in nodes:
        each.agent.good_tokens = ()
    status, out, err = run("whoami")
    assert (status, out, err) == (1, "", "mcpctl: node rift: the token is not known here\n")
