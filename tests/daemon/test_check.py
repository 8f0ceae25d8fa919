"""`mcpd check` as a program: on a new node, beside a running daemon, and on nodes with something broken."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from mcpd.setup import pki
from tests.support.mcias_process import Mcias
from tests.support.waiting import free_port

from .conftest import HOST, NODE, Daemon, fill_registry, mcpd

# What is the machine's own matter, and nothing that `mcpd init` could make.
OF_THE_MACHINE = {
    "podman",
    "podman service",
    "OCI runtime",
    "files root",
    "subuid",
    "subgid",
    "newuidmap",
    "newgidmap",
    "linger",
    "runtime folder",
    "database space",
    "container space",
    "clock",
}


def check(daemon: Daemon) -> dict[str, str]:
    """Every finding's status by its name; the exit status has to agree."""
    done = daemon.mcpd("check", "--output", "json")
    found = json.loads(done.stdout)
    assert done.returncode == int(any(each["status"] == "FAILURE" for each in found)), done.stderr
    assert done.stderr == ""
    for each in found:
        assert set(each) == {"name", "status", "words", "remedy"}
        assert each["words"]
        assert "could not be checked" not in each["words"]
    return {each["name"]: each["status"] for each in found}


def test_a_node_that_init_made_fails_only_by_its_machine(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node", free_port())
    made = mcpd("init", str(daemon.folder), "--node", NODE, "--address", daemon.address)
    assert made.returncode == 0, made.stderr
    before = sorted(daemon.folder.rglob("*"))
    found = check(daemon)
    assert {name for name, status in found.items() if status == "FAILURE"} <= OF_THE_MACHINE
    for name in ("certificate", "certificate names", "private key", "address", "tokens", "database folder", "database"):
        assert found[name] == "OK", name
    assert found["alert command"] == "WARNING"
    assert sorted(daemon.folder.rglob("*")) == before


def test_the_table_says_the_same_without_colours_or_secrets(node: Daemon) -> None:
    done = node.mcpd("check")
    statuses = {"OK", "WARNING", "FAILURE"}
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[0] in statuses]
    assert [words[0] for words in rows] == list(check(node).values())
    assert "\033" not in done.stdout
    tokens = json.loads((node.folder / "tokens.json").read_text())["tokens"]
    for secret in (node.admin_token, *(each["sha256"] for each in tokens), "PRIVATE KEY"):
        assert secret not in done.stdout + done.stderr


def test_beside_a_running_daemon_it_disturbs_nothing(node: Daemon) -> None:
    node.start()
    found = check(node)
    assert (found["address"], found["database"]) == ("OK", "OK")
    assert node.mcpctl("list").returncode == 0
    assert node.terminate() == 0
    assert "Traceback" not in node.log


async def test_what_the_registry_declares_is_looked_for(node: Daemon) -> None:
    await fill_registry(node.folder)
    node.edit('root = "/srv"', f'root = "{node.folder}/srv"')
    assert check(node)["files root"] == "FAILURE"
    os.makedirs(node.folder / "srv/web")  # noqa: PTH103
    found = check(node)
    assert found["files root"] == "OK"
    assert found[f"{node.folder}/srv/web"] == "OK"


def test_a_port_that_is_taken_is_a_failure(node: Daemon) -> None:
    with socket.create_server((HOST, node.port)) as listener:
        listener.settimeout(0)
        assert check(node)["address"] == "FAILURE"


@pytest.mark.parametrize("harm", ["mode", "other", "database", "tokens"])
def test_what_is_broken_in_its_folder_is_a_failure(node: Daemon, harm: str) -> None:
    key = node.folder / "certs/key.pem"
    if harm == "mode":
        key.chmod(0o644)
        expected = {"private key"}
    elif harm == "other":
        key.write_bytes(pki.make_server(pki.make_authority(NODE), NODE, HOST).key)
        expected = {"certificate"}
    elif harm == "database":
        (node.folder / "mcp.db").write_bytes(b"garbage" * 5000)
        expected = {"database"}
    else:
        (node.folder / "tokens.json").write_text("garbage")
        expected = {"tokens"}
    found = check(node)
    assert {name for name, status in found.items() if status == "FAILURE"} - OF_THE_MACHINE == expected


def test_mcias_is_asked_over_tls(node: Daemon, tmp_path: Path) -> None:
    with Mcias(tmp_path / "mcias") as mcias:
        node.edit('mode = "tokens"', 'mode = "mcias" ')
        node.edit("[database]", f'[mcias]\nserver_url = "{mcias.url}"\nca_cert = "{mcias.ca}"\n[database]')
        assert check(node)["mcias"] == "OK"
        node.edit(str(mcias.ca), str(node.ca))  # whom it does not have its certificate from
        assert check(node)["mcias"] == "FAILURE"
        node.edit(str(node.ca), str(mcias.ca))
    assert check(node)["mcias"] == "FAILURE"


@pytest.mark.parametrize("text", [None, "no toml", '[node]\nname = "N 1"\n'])
def test_without_a_usable_configuration_it_ends_with_2(node: Daemon, text: str | None) -> None:
    if text is None:
        node.config.unlink()
    else:
        node.config.write_text(text)
    done = node.mcpd("check")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("mcpd: ")
    assert "Traceback" not in done.stderr
