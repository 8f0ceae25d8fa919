"""Secrets are planted wherever an operator may have one; nothing that a full run writes or prints shows any of them."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.podman.node import Node, run, told, until

ENV, OTHER_ENV, SECRET, BAD_TOKEN = "planted-env-1", "planted-env-2", "planted-secret-3", "mcp_planted-token-4"
FILE_ENV, OTHER_FILE_ENV = "planted-file-5", "planted-file-6"
DEFINITION = """\
name = "planted"
node = "NODE"
[[components]]
name = "planted"
image = "localhost/mcp-demo:v1"
env = { API_KEY = "ENVIRONMENT" }
secrets = ["unseal", { name = "unseal", env = "UNSEAL" }]
env_file = ["planted.env"]
configs = [{ target = "/etc/planted", content = "CONFIG" }]
"""
# What is told and kept of what happened. The specs in the registry have env values: that is for its owner alone.
TABLES = ("events", "audit", "steps", "alerts", "silences", "containers")


def test_nothing_that_is_written_or_printed_shows_a_secret(node: Node) -> None:
    (node.folder / "alerts.jsonl").unlink(missing_ok=True)
    node.podman("secret", "create", "unseal", "-", stdin=SECRET.encode())
    printed = "".join(exercise(node))
    node.podman("secret", "rm", "unseal")
    token = (node.folder / "admin.token").read_text().strip()
    texts = {
        "what mcpctl printed": printed,
        "the daemon's log": node.log,
        "the alert command's input": (node.folder / "alerts.jsonl").read_text(),
        **kept(node.folder / "mcp.db"),
    }
    assert "API_KEY" in printed, "the plan names the variable"
    assert "Deploy" in texts["the table audit"]
    for where, text in texts.items():
        for secret in (ENV, OTHER_ENV, SECRET, BAD_TOKEN, FILE_ENV, OTHER_FILE_ENV, token):
            assert secret not in text, where
    assert (node.folder / "mcp.db").stat().st_mode & 0o077 == 0


WATCHED = """\
name = "watched"
node = "NODE"
[[components]]
name = "watched"
image = "localhost/mcp-demo:v1"
env = { API_KEY = "ENVIRONMENT" }
health = { cmd = ["/bin/sh", "-c", "echo planted-secret-3; test -e /tmp/well"], interval = "1s", retries = 1 }
"""


def test_a_viewer_sees_nothing_that_a_probe_prints_and_learns_nothing_by_guessing(node: Node) -> None:
    node.define("watched", WATCHED.replace("ENVIRONMENT", ENV))
    node.mcpctl("deploy", "watched", status=1)
    node.define("watched", WATCHED.replace("ENVIRONMENT", ENV).replace("test -e /tmp/well", "test ! -e /tmp/ill"))
    node.mcpctl("deploy", "watched")
    node.podman("exec", "watched", "touch", "/tmp/ill")
    until(lambda: SECRET in node.mcpctl("status", "watched").stdout)
    until(lambda: SECRET in node.mcpctl("alerts", "list").stdout)
    config = str(node.folder / "mcpd.toml")
    viewer = run(["mcpd", "token", "add", "looker", "--config", config], env=node.environment).stdout.strip()
    node.environment["MCP_TOKEN"] = viewer
    try:
        looks = (("status", "watched"), ("events",), ("operations",), ("alerts", "list"), ("ps",), ("list",))
        seen = "".join(node.mcpctl(*words, "--output", out).stdout for words in looks for out in ("table", "json"))
        plans = []
        for guess in (ENV, OTHER_ENV):
            node.define("watched", WATCHED.replace("ENVIRONMENT", guess))
            plans.append(node.mcpctl("plan", "watched", "--output", "json").stdout)
    finally:
        del node.environment["MCP_TOKEN"]
        run(["mcpd", "token", "revoke", "looker", "--config", config], env=node.environment)
    assert "exited 1 (what it printed is for admins)" in seen
    assert SECRET not in seen
    assert "health.cmd" in plans[0]
    assert plans[0] == plans[1]


def exercise(node: Node) -> list[str]:
    """Everything that an operator does to a service, with its mistakes; returns all that was printed."""
    said: list[str] = []

    def mcpctl(*words: str, status: int | None = 0) -> None:
        for output in ("table", "json"):
            done = node.mcpctl(*words, "--output", output, status=status)
            said.append(done.stdout + done.stderr)

    variables = node.folder / "services/planted.env"
    variables.write_text(f"FROM_FILE='{FILE_ENV}'\n")
    node.define("planted", DEFINITION.replace("ENVIRONMENT", ENV))
    mcpctl("deploy", "planted")
    assert node.podman("exec", "planted", "sh", "-c", "echo $UNSEAL $FROM_FILE").split() == [SECRET, FILE_ENV]
    variables.write_text(f"FROM_FILE='{OTHER_FILE_ENV}'\n")
    node.define("planted", DEFINITION.replace("ENVIRONMENT", OTHER_ENV))
    mcpctl("plan", "planted")
    mcpctl("sync")
    node.define("planted", DEFINITION.replace("ENVIRONMENT", OTHER_ENV).replace("mcp-demo:v1", "mcp-demo:broken"))
    mcpctl("deploy", "planted", status=1)
    node.define("planted", DEFINITION.replace("ENVIRONMENT", OTHER_ENV).replace("mcp-demo:v1", "mcp-demo:none"))
    mcpctl("deploy", "planted", status=1)
    node.define("planted", DEFINITION.replace('"ENVIRONMENT"', f'["{ENV}"]'))
    mcpctl("deploy", "planted", status=2)
    node.define("planted", DEFINITION.replace("ENVIRONMENT", OTHER_ENV))
    node.environment["MCP_TOKEN"] = BAD_TOKEN
    try:
        mcpctl("status", status=1)
    finally:
        del node.environment["MCP_TOKEN"]
    os.kill(node.pids()["planted"], signal.SIGKILL)
    until(lambda: told(node, "planted"))
    for words in (("status", "planted"), ("events",), ("operations",), ("alerts", "list"), ("ps",), ("list",)):
        mcpctl(*words)
    mcpctl("restart", "planted")
    mcpctl("undeploy", "planted", status=None)  # the second time there is nothing left
    variables.unlink()
    return said


def kept(database: Path) -> dict[str, str]:
    """What the registry's tables hold, as text."""
    with closing(sqlite3.connect(database)) as db:
        return {f"the table {name}": repr(db.execute(f"SELECT * FROM {name}").fetchall()) for name in TABLES}
