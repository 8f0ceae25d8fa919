"""A registry that is brought away, and put back: containers run on, and the node tells how the two compare."""

from __future__ import annotations

import signal
import sqlite3
import stat
from pathlib import Path

from tests.podman.node import Node, run, until

SOLO = 'name = "NAME"\nnode = "NODE"\n[[components]]\nname = "NAME"\nimage = "localhost/mcp-demo:v1"\n'


def deploy(node: Node, name: str) -> None:
    node.define(name, SOLO.replace("NAME", name))
    node.mcpctl("deploy", name)


def mcpd(node: Node, *words: str, status: int = 0) -> str:
    done = run(["mcpd", *words, "--config", str(node.folder / "mcpd.toml")], env=node.environment, status=status)
    return done.stdout + done.stderr


def test_a_snapshot_is_brought_here_and_put_back(node: Node, tmp_path: Path) -> None:
    deploy(node, "kept")
    file = tmp_path / "n1.db"
    brought = node.json("node", "snapshot", node.name, str(file))
    assert (brought["node"], brought["size"]) == (node.name, file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT name FROM services").fetchall() == [("kept",)]
    db.close()
    assert "exists" in node.mcpctl("node", "snapshot", node.name, str(file), status=2).stderr
    assert list(node.folder.glob(".snapshot-*")) == []

    deploy(node, "late")
    pids = node.pids()
    assert "is in use by mcpd" in mcpd(node, "restore", str(file), status=1)
    node.stop_daemon(signal.SIGTERM)
    assert "can be restored: 1 services" in mcpd(node, "restore", str(file), "--dry-run")
    words = mcpd(node, "restore", str(file))
    assert "before-restore-" in words
    node.up()
    assert node.pids() == pids
    until(lambda: "restored" in [each["kind"] for each in node.json("events")])
    (told,) = [each["message"] for each in node.json("events") if each["kind"] == "restored"]
    assert "1 of 1 components are as declared" in told
    assert "late/late" in told

    # Its labels say what it is: taking it back is one command.
    assert [each["result"] for each in node.json("adopt", "late")["outcomes"]] == ["adopted"]
    assert "unchanged" in node.mcpctl("deploy", "late").stdout
    assert node.pids() == pids


def test_the_timers_command_keeps_as_many_as_it_is_told(node: Node) -> None:
    deploy(node, "kept")
    for _ in range(4):
        mcpd(node, "snapshot", "--keep", "2", "--verify")
    found = sorted((node.folder / "snapshots").iterdir())
    assert len(found) == 2
    assert [stat.S_IMODE(each.stat().st_mode) for each in found] == [0o600, 0o600]
