"""`mcpctl node list` and `mcpctl node add`, with nodes that answer."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpd.setup import pki
from protos.mcp import v1
from tests.support.agent import AT, HOST, Node, Run, stripped
from tests.support.nodes import a_status
from tests.support.waiting import free_port


@pytest.mark.usefixtures("both")
def test_a_listed_node_says_how_it_is(run: Run) -> None:
    status, out, err = run("node", "list")
    assert (status, err) == (0, "")
    header, rift, orion = out.splitlines()
    assert stripped(header)[:3] == ["NODE", "STATE", "ANSWERS"]
    facts = ["active", "yes", "0.1.0", "5.4.2", "0.50/4", "1.0 GiB of 2.0 GiB", "in 30d1h"]
    assert stripped(rift) == ["rift", *facts]
    assert stripped(orion) == ["orion", *facts]


def test_a_node_that_is_away_is_a_row_that_says_why_and_how_long_it_was_waited_for(
    run: Run, both: tuple[Node, Node]
) -> None:
    both[1].cut(for_good=True)
    status, out, err = run("node", "list")
    assert (status, err) == (4, "")
    row = stripped(out.splitlines()[2])
    assert row[:3] == ["orion", "active", "unreachable"]
    assert re.search(r"Connection refused; is mcpd running there\? \(waited [0-9.]+ m?s\)$", row[-1])
    rows = json.loads(run("node", "list", "--output", "json").out)
    assert [(each["name"], each["reachable"]) for each in rows] == [("rift", True), ("orion", False)]
    assert rows[1]["waited_s"] > 0


def test_a_node_that_refuses_is_reachable_and_says_why(run: Run, both: tuple[Node, Node]) -> None:
    both[1].agent.prepared["NodeStatusRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for strangers")
    status, out, _ = run("node", "list")
    assert status == 4
    assert stripped(out.splitlines()[2]) == ["orion", "active", "refused", "not for strangers"]


def test_what_is_wrong_on_a_node_is_in_its_row(run: Run, both: tuple[Node, Node]) -> None:
    links = [v1.LinkState("podman", False, "it does not answer", AT)]
    over = datetime.now(UTC) - timedelta(days=1)
    answer = a_status("rift", links=links, certificate_expires_at=over)
    both[0].agent.prepared["NodeStatusRequest"] = answer
    row = stripped(run("node", "list").out.splitlines()[1])
    assert row[-2:] == ["expired", "podman: it does not answer"]


def test_a_node_that_is_not_active_is_listed_and_not_asked(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write('state = "down"\n')
    status, out, err = run("node", "list")
    assert (status, err) == (0, "")
    assert stripped(out.splitlines()[2]) == ["orion", "down", "not asked"]
    assert both[1].agent.requests == []


def test_offline_no_node_is_asked(run: Run, both: tuple[Node, Node]) -> None:
    status, out, _ = run("node", "list", "--offline")
    assert status == 0
    assert [stripped(line)[0] for line in out.splitlines()] == ["NODE", "rift", "orion"]
    assert both[0].agent.requests + both[1].agent.requests == []


def test_who_cannot_ask_is_told_of_offline(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "token").unlink()
    status, out, err = run("node", "list")
    assert (status, out) == (2, "")
    assert "mcpctl node list --offline" in err
    assert run("node", "list", "--offline").status == 0


# -- node add


def test_a_node_is_asked_who_it_is_before_it_is_added(
    run: Run, both: tuple[Node, Node], tmp_path: Path, authority: pki.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").unlink()
    (tmp_path / "orion.token").write_text("other")
    (tmp_path / "orion.token").chmod(0o600)
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "orion.pem").write_bytes(authority.pem.certificate)
    (tmp_path / "mcp.toml").write_text('[services]\ndir = "services"\n')
    address = f"{HOST}:{both[1].port}"
    options = ("--ca-cert", "orion.pem", "--token-path", str(tmp_path / "orion.token"))
    status, out, err = run("node", "add", "orion", address, *options)
    assert (status, out) == (0, "")
    assert err == (
        f"mcpctl: added node orion ({address}) to {tmp_path / 'mcp.toml'}; "
        "mcpd 0.1.0, podman 5.4.2; you are kyle (admin) there\n"
    )
    assert (tmp_path / "mcp.toml").read_text() == (
        '[services]\ndir = "services"\n\n[[nodes]]\nname = "orion"\n'
        f'address = "{address}"\nca_cert = "orion.pem"\ntoken_path = "orion.token"\n'
    )
    assert set(both[1].agent.seen_tokens) == {"other"}
    assert run("node", "show", "orion").status == 0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("vault", "is called orion"), ("rifts", "cannot be reached"), ("safe", "safe.token does not exist")],
)
def test_a_node_that_is_not_what_was_said_is_not_added(
    run: Run, both: tuple[Node, Node], tmp_path: Path, name: str, wrong: str
) -> None:
    port = {"vault": both[1].port, "rifts": free_port(), "safe": both[1].port}[name]
    options = ["--token-path", str(tmp_path / "safe.token")] if name == "safe" else []
    before = (tmp_path / "mcp.toml").read_text()
    status, _, err = run("node", "add", name, f"{HOST}:{port}", *options)
    assert status in (1, 2)
    assert wrong in err
    assert "nothing was written; `--no-check` adds the node anyway" in err
    assert (tmp_path / "mcp.toml").read_text() == before
    assert run("node", "add", name, f"{HOST}:{port}", "--no-check", *options).status == 0
    assert f'name = "{name}"' in (tmp_path / "mcp.toml").read_text()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_node_is_added_behind_everything_with_a_blank_line_before_it(run: Run, tmp_path: Path, newline: str) -> None:
    before = newline.join(
        ["[[nodes]]", 'name = "a"', 'address = "a:1"', "", "# whom to trust", "[tls]", 'ca_cert = "c"']
    )
    (tmp_path / "mcp.toml").write_bytes(before.encode())
    assert run("node", "add", "b", "b:2", "--no-check").status == 0
    after = newline.join([before, "", "[[nodes]]", 'name = "b"', 'address = "b:2"', ""])
    assert (tmp_path / "mcp.toml").read_bytes() == after.encode()


def test_nodes_in_an_inline_array_are_left_to_their_author(run: Run, tmp_path: Path) -> None:
    before = 'nodes = [{ name = "a", address = "a:1" }]\n'
    (tmp_path / "mcp.toml").write_text(before)
    status, _, err = run("node", "add", "b", "b:2", "--no-check")
    assert status == 1
    assert "could not be edited safely" in err
    assert (tmp_path / "mcp.toml").read_text() == before
