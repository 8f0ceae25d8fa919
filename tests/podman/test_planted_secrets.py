"""Secrets are planted wherever an operator may have one; nothing that a full run writes or prints shows any of them."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import socketserver
import sqlite3
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

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


BY_STDIN, BY_FILE, ROTATED, ENDED = "planted-by-stdin-7", "planted-by-file-8", "planted-rotated-9", "planted-ended-10"
SET = """\
name = "keeper"
node = "NODE"
[[components]]
name = "keeper"
image = "localhost/mcp-demo:v1"
secrets = ["keeper-file", { name = "keeper-env", env = "KEEPER" }]
"""


class Tap(socketserver.ThreadingTCPServer):
    """Stands between mcpctl and mcpd at ``to``, and keeps every byte that passes."""

    daemon_threads = True

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.to = to
        self.passed = bytearray()
        self.address = f"127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.BaseRequestHandler):
    server: Tap

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self.server.to) as behind:
            other = {self.request: behind, behind: self.request}
            while True:
                for each in select.select([*other], [], [])[0]:
                    if not (data := each.recv(65536)):
                        return
                    self.server.passed += data
                    other[each].sendall(data)


@pytest.fixture
def tap(node: Node) -> Iterator[Tap]:
    """All that mcpctl says goes through it."""
    config = node.folder / "mcp.toml"
    text = config.read_text()
    (address,) = re.findall(r'address = "([^"]+)"', text)
    host, _, port = address.rpartition(":")
    with Tap((host, int(port))) as tap:
        threading.Thread(target=tap.serve_forever, daemon=True).start()
        config.write_text(text.replace(address, tap.address))
        try:
            yield tap
        finally:
            config.write_text(text)
            tap.shutdown()


def test_a_value_that_is_set_is_nowhere_but_with_podman(node: Node, tap: Tap, tmp_path: Path) -> None:
    said: list[str] = []
    processes: dict[str, bytes] = {}
    (node.folder / "alerts.jsonl").unlink(missing_ok=True)
    file = tmp_path / "value"
    file.write_text(BY_FILE)

    def mcpctl(*words: str, status: int | None = 0) -> None:
        for output in ("wide", "json"):
            done = node.mcpctl(*words, "--output", output, status=status)
            said.append(done.stdout + done.stderr)

    said.append(from_stdin(node, "keeper-file", BY_STDIN, processes))
    said.append(node.mcpctl("secret", "set", "keeper-env", "--file", str(file)).stdout)
    node.define("keeper", SET)
    node.mcpctl("deploy", "keeper")
    assert node.podman("exec", "keeper", "sh", "-c", "cat /run/secrets/keeper-file; echo $KEEPER") == (
        f"{BY_STDIN}{BY_FILE}\n"
    )
    os.kill(node.pids()["keeper"], signal.SIGKILL)
    until(lambda: told(node, "keeper"))
    said.append(from_stdin(node, "keeper-file", ROTATED, processes))
    file.write_text(ENDED)
    said.append(node.mcpctl("secret", "set", "keeper-env", "--file", str(file), "--output", "json").stdout)
    file.unlink()
    for words in (("plan", "keeper"), ("secret", "list"), ("service", "show", "keeper"), ("history", "keeper")):
        mcpctl(*words)
    mcpctl("secret", "remove", "keeper-file", status=1)
    mcpctl("secret", "set", "keeper-file", BY_STDIN, status=2)
    said.append(node.mcpctl("deploy", "keeper").stdout)
    assert node.podman("exec", "keeper", "cat", "/run/secrets/keeper-file") == ROTATED
    for words in (
        ("status", "keeper"),
        ("events",),
        ("operations",),
        ("alerts", "list"),
        ("ps",),
        ("list",),
        ("image", "list"),
        ("audit",),
    ):
        mcpctl(*words)
    node.mcpctl("node", "snapshot", node.name, str(tmp_path / "copy.db"))
    texts = {
        "what mcpctl printed": "".join(said).encode(),
        "the wire": bytes(tap.passed),
        "the alert command's input": (node.folder / "alerts.jsonl").read_bytes(),
        "a snapshot": (tmp_path / "copy.db").read_bytes(),
        **processes,
        **{path: content for path, content in files(node.folder).items() if not is_podmans(path)},
    }
    assert any(path.endswith("mcp.db-wal") for path in texts)
    assert b"secret keeper-file" in texts[str(node.folder / "mcpd.log")], "the log names the secret"
    assert len(tap.passed) > 10_000
    assert found_in(texts) == []
    # It looks where they are, too.
    with_podman = {path: content for path, content in files(node.folder).items() if is_podmans(path)}
    assert {secret for _, secret in found_in(with_podman)} >= {ROTATED, ENDED}
    node.mcpctl("undeploy", "keeper")
    for name in ("keeper-file", "keeper-env"):
        node.mcpctl("secret", "remove", name)
    assert found_in(files(node.folder)) == [], "what is removed is gone"


def from_stdin(node: Node, name: str, value: str, processes: dict[str, bytes]) -> str:
    """Sets a secret, and looks at every process on the machine while mcpctl has its value and waits for the end."""
    command = ["mcpctl", "secret", "set", name]
    with subprocess.Popen(command, env=node.environment, stdin=subprocess.PIPE, stdout=-1, stderr=-1) as process:
        assert process.stdin
        process.stdin.write(value.encode())
        process.stdin.flush()
        until(lambda: not pending(process.stdin), "mcpctl has read it")
        for pid in (process.pid, node.mcpd_pid):
            for part in ("cmdline", "environ"):
                processes[f"{part} of {pid} for {value[:9]} {name}"] = Path(f"/proc/{pid}/{part}").read_bytes()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    for part in ("cmdline", "environ"):
        processes[f"{part} of mcpd after {name}"] = Path(f"/proc/{node.mcpd_pid}/{part}").read_bytes()
    return (out + err).decode()


def pending(pipe: IO[bytes]) -> int:
    """The bytes in a pipe that nobody has read."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file below ``folder``, but for images and what containers see of them."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if "/graph/overlay/" in str(path) or not path.is_file() or path.is_symlink():
            continue
        with contextlib.suppress(OSError):  # it is gone by now
            found[str(path)] = path.read_bytes()
    return found


def is_podmans(path: str) -> bool:
    """Its secret store; and a container's own copies, which podman makes."""
    return "/graph/secrets/filedriver/" in path or re.search(r"/overlay-containers/\w+/userdata/", path) is not None


def found_in(texts: dict[str, bytes]) -> list[tuple[str, str]]:
    """Where values are, as they are or as podman writes them."""
    values = {each: (each.encode(), base64.b64encode(each.encode())) for each in (BY_STDIN, BY_FILE, ROTATED, ENDED)}
    return [
        (where, value)
        for where, text in texts.items()
        for value, forms in values.items()
        if any(it in text for it in forms)
    ]
