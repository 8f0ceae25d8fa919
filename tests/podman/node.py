"""A real node for tests: `contrib/demo up` in a folder of its own, and the commands to speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.forked_mcpctl import FORKS
from tests.support.waiting import until

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "contrib/demo"

# Far longer than anything here takes on the slowest machine: what passes it hangs.
COMMAND_DEADLINE_S = 240.0


class Node:
    """A running node below ``folder``, with a ``proxy`` (its kind) of its own if one is named."""

    def __init__(self, folder: Path, name: str, *, proxy: str = "", **environment: str) -> None:
        self.folder = folder
        self.name = name
        self._proxy = proxy
        self._given = environment
        self.environment: dict[str, str] = {}

    def up(self) -> None:
        options = ["--proxy", self._proxy] if self._proxy else []
        run([str(DEMO), "up", str(self.folder), "--node", self.name, *options], env=os.environ | self._given)
        self.environment = _sourced(self.folder / "env")

    def down(self) -> None:
        run([str(DEMO), "down", str(self.folder)], env=dict(os.environ))

    # -- commands

    def mcpctl(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs mcpctl; fails the test when its exit status is not ``status`` (None: any)."""
        return _checked(FORKS.run(list(words), self.environment, COMMAND_DEADLINE_S), status)

    def json(self, *words: str) -> Any:
        return json.loads(self.mcpctl(*words, "--output", "json").stdout)

    def podman(self, *words: str, status: int | None = 0, stdin: bytes | None = None) -> str:
        return run(["podman", *words], env=self.environment, status=status, stdin=stdin).stdout

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.podman("container", "inspect", container))[0]
        return found

    def pids(self) -> dict[str, int]:
        """The main process of every running container, by name."""
        lines = self.podman("ps", "--format", "{{.Names}} {{.Pid}}").split("\n")
        return {name: int(pid) for name, pid in (line.split() for line in lines if line)}

    def containers(self) -> set[str]:
        return set(self.podman("ps", "--all", "--format", "{{.Names}}").split())

    # -- definitions

    def define(self, name: str, text: str) -> Path:
        """Writes a definition; NODE in it stands for the node's name."""
        path = self.folder / "services" / f"{name}.toml"
        path.write_text(text.replace("NODE", self.name))
        return path

    def clear(self) -> None:
        """Removes every definition and container, whoever made it."""
        for row in self.json("list"):
            self.mcpctl("undeploy", row["name"], "--node", self.name)
        for path in (self.folder / "services").iterdir():
            path.unlink()
        self.podman("rm", "--all", "--force", "--time", "0")

    # -- the daemon

    @property
    def mcpd_pid(self) -> int:
        return int((self.folder / "mcpd.pid").read_text())

    @property
    def log(self) -> str:
        return (self.folder / "mcpd.log").read_text()

    @contextlib.contextmanager
    def podman_alone(self) -> Iterator[None]:
        """podman without the daemon's API service, on the node's storage."""
        remote = self.environment.pop("CONTAINER_HOST")
        try:
            yield
        finally:
            self.environment["CONTAINER_HOST"] = remote

    def stop_daemon(self, number: signal.Signals) -> None:
        """Sends a signal to mcpd and waits for its end."""
        pid = self.mcpd_pid
        os.kill(pid, number)
        until(lambda: not is_alive(pid))


def run(
    argv: list[str], *, env: dict[str, str], status: int | None = 0, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program with a deadline; fails with everything that it printed when it ends otherwise."""
    done = subprocess.run(
        argv,
        env=env,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    return _checked(
        subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode(), done.stderr.decode()), status
    )


def _checked(done: subprocess.CompletedProcess[str], status: int | None) -> subprocess.CompletedProcess[str]:
    if status is not None and done.returncode != status:
        raise AssertionError(
            f"{shlex.join(done.args)} ended with {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
        )
    return done


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.contextmanager
def running(node: Node) -> Iterator[Node]:
    try:
        node.up()
        yield node
    finally:
        node.down()


def _sourced(path: Path) -> dict[str, str]:
    """The environment after sourcing ``path``, as a person's shell would have it."""
    script = f"set -a; source {shlex.quote(str(path))}; env -0"
    done = run(["bash", "-c", script], env=dict(os.environ))
    pairs = (entry.partition("=") for entry in done.stdout.split("\0") if re.match(r"\w+=", entry))
    return {name: value for name, _, value in pairs}


def told(node: Node, name: str) -> list[dict[str, Any]]:
    """The alerts that the operator's command was run for."""
    path = node.folder / "alerts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [each for each in map(json.loads, lines) if each["MCP_SERVICE"] == name]


def kinds(node: Node, name: str) -> list[str]:
    """The kinds of the alerts that the operator's command was run for."""
    return [each["MCP_KIND"] for each in told(node, name)]


def until_recorded(node: Node, name: str, wanted: list[str]) -> None:
    """Waits until these kinds of alert were told, and mcpd has recorded it: killed before that, it tells them again."""
    until(lambda: kinds(node, name) == wanted, f"{wanted} told of {name}")
    until(lambda: "pending" not in _deliveries(node, name), f"the alerts of {name} are recorded as sent")


def _deliveries(node: Node, name: str) -> set[str]:
    return {row["delivery"] for row in node.json("alerts", "list", name, "--all")["alerts"]}
