"""The demonstration and its nodes: whole, side by side, and leaving nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from mcpd.identity.mcias import CACHE_S
from tests.podman.node import DEMO, Node, is_alive, run, running
from tests.support.demo_service import answer
from tests.support.mcias_process import Mcias
from tests.support.waiting import free_port, until

# What a few calls more than the last good one take.
WATCH_S = 10.0
SOLO = 'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "localhost/mcp-demo:v1"\n'


def traces(folder: Path) -> list[str]:
    """Whatever on this machine still names ``folder``: processes, links and mounts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(process.name) != os.getpid():
            found.append(f"{process.name}: {line}")
    found += [str(link) for link in Path("/run").glob("mcp-*") if str(folder) in str(link.readlink())]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if str(folder) in line]


def test_the_whole_demonstration_ends_well(tmp_path: Path) -> None:
    done = run([str(DEMO)], env=os.environ | {"TMPDIR": str(tmp_path)})
    for shown in ("mcpctl deploy demo", "mcpctl ps", "mcpctl status", "mcpctl stop demo", "v1 -> v2"):
        assert shown in done.stdout
    assert traces(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_two_nodes_run_side_by_side_and_one_goes_without_the_other(tmp_path: Path) -> None:
    first, second = Node(tmp_path / "a", "a"), Node(tmp_path / "b", "b")
    ports = free_port(), free_port()
    with running(first):
        with running(second):
            for node, port in zip((first, second), ports, strict=True):
                node.define("solo", SOLO + f'ports = ["127.0.0.1:{port}:8080"]\n')
                node.mcpctl("deploy", "solo")
            assert [answer(port) for port in ports] == ["v1", "v1"]
            assert [node.json("ps")[0]["node"] for node in (first, second)] == ["a", "b"]
            (second.folder / "services/solo.toml").unlink()
        assert answer(ports[0]) == "v1"
        assert not second.folder.exists()
        (first.folder / "services/solo.toml").unlink()
    assert traces(tmp_path) == []
    assert not first.folder.exists()


def test_up_on_a_node_that_exists_starts_what_is_missing_and_changes_nothing_else(node: Node) -> None:
    node.define("solo", SOLO)
    node.mcpctl("deploy", "solo")
    settings = {path: path.read_bytes() for path in node.folder.glob("*.toml")}
    before, daemon = node.pids(), node.mcpd_pid
    node.up()
    assert (node.pids(), node.mcpd_pid) == (before, daemon)
    assert {path: path.read_bytes() for path in node.folder.glob("*.toml")} == settings


def test_with_mcias_its_tokens_let_people_in_and_the_server_lives_and_ends_with_the_node(tmp_path: Path) -> None:
    node = Node(tmp_path / "n", "n1")
    mcias = Mcias(node.folder / "mcias")
    folder = node.folder
    try:
        run([str(DEMO), "up", str(folder), "--mcias"], env=dict(os.environ))
        assert not (folder / "token").exists()
        assert stat.S_IMODE((folder / "mcias/password").stat().st_mode) == 0o600
        settings = tomllib.loads((folder / "mcp.toml").read_text())
        assert settings["auth"]["password_file"] == str(folder / "mcias/password")
        mcias.port = int(settings["mcias"]["server_url"].rpartition(":")[2])
        pid = int((folder / "mcias.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        until(lambda: not is_alive(pid))
        node.up()  # an existing folder needs no --mcias, and the server is started again
        daemon = node.mcpd_pid
        node.environment["MCP_TOKEN"] = "stranger"
        assert "mcpctl login" in node.mcpctl("list", status=1).stderr
        node.environment["MCP_TOKEN"] = mcias.token("operator", (folder / "mcias/password").read_text().strip())
        assert node.json("list") == []
        del node.environment["MCP_TOKEN"]
        # The password file is all that it needs: it logs in by itself, once, and keeps the token.
        (me,) = node.json("whoami")
        assert (me["name"], me["role"]) == ("operator", "admin")
        logins = mcias.requests("/v1/auth/login")
        assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
        node.mcpctl("ps")
        assert mcias.requests("/v1/auth/login") == logins
        assert "ListServices" in node.mcpctl("audit").stdout
        assert seconds_until_a_revoked_token_is_refused(node, mcias) <= CACHE_S + WATCH_S
        pid = int((folder / "mcias.pid").read_text())
    finally:
        node.down()
    assert not is_alive(pid)
    assert not is_alive(daemon)
    assert traces(tmp_path) == []
    assert not folder.exists()


def seconds_until_a_revoked_token_is_refused(node: Node, mcias: Mcias) -> float:
    """Measured and printed: a good answer of MCIAS is believed for so long, and no longer."""
    token = (node.folder / "token").read_text().strip()
    node.environment["MCP_TOKEN"] = token
    node.mcpctl("list")
    mcias.logout(token)
    start = time.monotonic()
    until(lambda: node.mcpctl("list", status=None).returncode != 0, "the token is refused", CACHE_S + WATCH_S)
    took = time.monotonic() - start
    assert "mcpctl login" in node.mcpctl("list", status=1).stderr
    print(f"a revoked token was refused after {took:.1f} s; the cache time is {CACHE_S:.0f} s")
    return took


def test_the_daemons_command_line_names_its_configuration(node: Node) -> None:
    words = Path(f"/proc/{node.mcpd_pid}/cmdline").read_bytes().decode().split("\0")
    assert words[-4:-1] == ["serve", "--config", str(node.folder / "mcpd.toml")]


def test_the_alert_command_appends_the_variables_as_one_line(node: Node) -> None:
    argv = tomllib.loads((node.folder / "mcpd.toml").read_text())["monitor"]["alert_command"]
    ledger = node.folder / "alerts.jsonl"
    subprocess.run(argv, env={"MCP_KIND": "drift", "MCP_REASON": 'a "b"\nc', "OTHER": "x"}, check=True, input=b"{}")
    last = ledger.read_text().splitlines()[-1]
    assert json.loads(last) == {"MCP_KIND": "drift", "MCP_REASON": 'a "b"\nc'}


@pytest.mark.parametrize("words", [["up"], ["down"], ["sideways"], ["up", "/nowhere", "--bogus"]])
def test_wrong_words_are_told_the_right_ones(words: list[str]) -> None:
    refused = run([str(DEMO), *words], env=dict(os.environ), status=2)
    assert refused.stderr.startswith("demo: ")


def test_a_folder_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    run([str(DEMO), "up", str(tmp_path)], env=dict(os.environ), status=2)
    run([str(DEMO), "down", str(tmp_path)], env=dict(os.environ), status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
