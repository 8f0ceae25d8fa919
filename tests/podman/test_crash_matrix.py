"""SIGKILL of mcpd at every boundary of every operation, on real podman: nothing half done is left, and nothing doubled.

Each case is played once without a kill, which counts its boundaries; then once for every boundary, or for a share of
them (MCP_CRASH_STRIDE: every so many-th, 1 for all). The number of points is printed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.podman.node import Node, running
from tests.support.waiting import until

STRIDE = int(os.environ.get("MCP_CRASH_STRIDE", "13"))
# How an operation may have ended for a client: cut off, or refused after it was reverted.
ANY = None

PAIR = """
name = "pair"
node = "NODE"
[[components]]
name = "db"
image = "localhost/mcp-demo:{db}"
network = "pairnet"
[[components]]
name = "web"
image = "localhost/mcp-demo:{web}"
network = "pairnet"
depends_on = ["db"]
configs = [{{ target = "/etc/which", content = "{web}" }}]
"""
SETUP = """
[[components]]
name = "setup"
image = "localhost/mcp-demo:v1"
oneshot = true
cmd = ["true"]
depends_on = ["db"]
"""

OTHER = """
name = "other"
node = "NODE"
active = false
[[components]]
name = "other"
image = "localhost/mcp-demo:v1"
"""


class Mortal:
    """A node whose daemon can be told to kill itself at the n-th boundary from now on."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.fuse = node.folder / "fuse"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the daemon, and waits until it answers and has put right what it found."""
        environment = {name: text for name, text in self.node.environment.items() if name != "CONTAINER_HOST"}
        argv = [sys.executable, "-m", "tests.crash.mortal", "serve", "--config", str(self.node.folder / "mcpd.toml")]
        with (self.node.folder / "mcpd.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                env=environment | {"FUSE": str(self.fuse)},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        (self.node.folder / "mcpd.pid").write_text(f"{self._process.pid}\n")
        until(self._answers, "mcpd answers, and no operation is open")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "mcpd has ended by itself"
        return self.operations("--running") == []

    def end(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)

    def revive(self) -> None:
        """After a test that failed in the middle."""
        self.fuse.unlink(missing_ok=True)
        if self._process and self._process.poll() is not None:
            self.start()

    def arm(self, boundaries: int) -> None:
        self.fuse.write_text(str(boundaries))

    def await_death(self) -> None:
        assert self._process
        until(lambda: self._process and self._process.poll() is not None, "mcpd kills itself")
        assert self._process.returncode == -signal.SIGKILL

    def passed(self) -> list[str]:
        """The boundaries since the last time that this was asked."""
        file = Path(f"{self.fuse}.passed")
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    # -- what mcpctl says

    def operations(self, *options: str) -> list[dict[str, Any]] | None:
        """None: the daemon does not answer."""
        done = self.node.mcpctl("operations", *options, "--output", "json", status=ANY)
        found: list[dict[str, Any]] | None = json.loads(done.stdout) if done.returncode == 0 else None
        return found

    def recorded(self) -> dict[str, dict[str, Any]]:
        """The components of the service, as the registry has them."""
        services = self.node.json("list")
        return {each["component"]: each for it in services if it["name"] == "pair" for each in it["components"]}

    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.node.podman("ps", "--all", "--format", "json"))
        return found


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with running(Node(tmp_path_factory.mktemp("mortal") / "node", "n1")) as node:
        node.stop_daemon(signal.SIGTERM)
        found = Mortal(node)
        found.start()
        try:
            yield found
        finally:
            found.end()


# ------------------------------------------------------------------------------------------------- what is played


def define(node: Node, db: str, web: str, more: str = "") -> None:
    node.define("pair", PAIR.format(db=db, web=web) + more)


def nothing(mortal: Mortal) -> None:
    """No container, and nothing in the registry."""
    if mortal.recorded():
        mortal.node.mcpctl("undeploy", "pair", "--node", mortal.node.name)
    (mortal.node.folder / "services/other.toml").unlink(missing_ok=True)
    assert mortal.containers() == []
    define(mortal.node, "v1", "v1")


def first_version(mortal: Mortal) -> None:
    """Both run, in v1, and the registry says so."""
    define(mortal.node, "v1", "v1")
    mortal.node.mcpctl("deploy", "pair")


def set_up(mortal: Mortal) -> None:
    """As `first_version`, with a oneshot that has run."""
    define(mortal.node, "v1", "v1", SETUP)
    mortal.node.mcpctl("deploy", "pair")


def stopped(mortal: Mortal) -> None:
    first_version(mortal)
    mortal.node.mcpctl("stop", "pair")


def lost(mortal: Mortal) -> None:
    first_version(mortal)
    mortal.node.podman("rm", "--force", "--time", "0", "pair-db", "pair-web")


def deploy(db: str, web: str, more: str = "") -> Callable[[Mortal], None]:
    def play(mortal: Mortal) -> None:
        define(mortal.node, db, web, more)
        mortal.node.mcpctl("deploy", "pair", status=ANY)

    return play


def command(*words: str) -> Callable[[Mortal], None]:
    return lambda mortal: mortal.node.mcpctl(*words, status=ANY) and None


def sync(mortal: Mortal) -> None:
    """The service is inactive now, with other images."""
    path = mortal.node.folder / "services/pair.toml"
    path.write_text("active = false\n" + path.read_text().replace("mcp-demo:v1", "mcp-demo:v2"))
    mortal.node.mcpctl("sync", status=ANY)


def undeclared(mortal: Mortal) -> None:
    """In the registry, but nothing runs, and nobody declares it; which the registry has heard."""
    stopped(mortal)
    mortal.node.podman("rm", "pair-db", "pair-web")
    (mortal.node.folder / "services/pair.toml").unlink()
    mortal.node.define("other", OTHER)
    mortal.node.mcpctl("sync")


# -------------------------------------------------------------------------------------------------- what must hold


class State(NamedTuple):
    """Of each component: its image's tag, and whether it runs; None: there is no container."""

    db: tuple[str, bool] | None
    web: tuple[str, bool] | None


def state(mortal: Mortal) -> State:
    """What there is; fails for more than one container a component, and for a temporary name."""
    found: dict[str, tuple[str, bool]] = {}
    for each in mortal.containers():
        name = each["Labels"]["mcp.component"]
        assert name not in found, f"two containers for {name}: {mortal.containers()}"
        assert each["Names"] == [f"pair-{name}"]
        found[name] = (each["Image"].rpartition(":")[2], each["State"] == "running")
    return State(found.get("db"), found.get("web"))


def registry_equals_podman(mortal: Mortal) -> None:
    """Every container is recorded with what it was made from; what should run runs, and nothing else does."""
    recorded, containers = mortal.recorded(), mortal.containers()
    for each in containers:
        known = recorded[each["Labels"]["mcp.component"]]
        assert known["spec_hash"] == each["Labels"]["mcp.spec-hash"]
        assert (known["desired"] == "running") == (each["State"] == "running")
    kept = {str(path) for path in (mortal.node.folder / "configs").rglob("*") if path.is_file()}
    mounted = {config for each in containers for config in configs(mortal, each)}
    # What is recorded and has no container any more may need its own again.
    assert kept == mounted or (not containers and recorded)


def configs(mortal: Mortal, container: dict[str, Any]) -> list[str]:
    mounts = mortal.node.inspect(container["Id"])["Mounts"]
    return [each["Source"] for each in mounts if each["Destination"] == "/etc/which"]


class Case(NamedTuple):
    """``ends`` are the states that the operation may leave: as it was, or as it was to be."""

    before: Callable[[Mortal], None]
    play: Callable[[Mortal], None]
    ends: frozenset[State]
    registry_follows: bool = True


def both(tag: str, runs: bool = True) -> State:
    return State((tag, runs), (tag, runs))


NONE = State(None, None)
CASES = {
    "deploy of what is new": Case(nothing, deploy("v1", "v1"), frozenset({NONE, both("v1")})),
    "deploy of another version": Case(first_version, deploy("v2", "v2"), frozenset({both("v1"), both("v2")})),
    "deploy that is rolled back": Case(first_version, deploy("v2", "broken"), frozenset({both("v1")})),
    "deploy of what is new, rolled back": Case(nothing, deploy("v1", "broken"), frozenset({NONE})),
    "deploy of what has a oneshot": Case(set_up, deploy("v2", "v2", SETUP), frozenset({both("v1"), both("v2")})),
    "stop": Case(first_version, command("stop", "pair"), frozenset({both("v1"), both("v1", False)})),
    "start": Case(stopped, command("start", "pair"), frozenset({both("v1"), both("v1", False)})),
    "restart": Case(first_version, command("restart", "pair"), frozenset({both("v1")})),
    "undeploy": Case(first_version, command("undeploy", "pair"), frozenset({NONE, both("v1")})),
    # Before its first boundary is past there is no operation, and after it there is one that will be finished.
    "recover": Case(lost, command("recover"), frozenset({NONE, both("v1")}), registry_follows=False),
    "purge": Case(undeclared, command("purge", "pair"), frozenset({NONE})),
    "sync": Case(first_version, sync, frozenset({both("v1"), both("v1", False)}), registry_follows=False),
}


@pytest.mark.parametrize("name", CASES)
def test_whenever_mcpd_is_killed_the_operation_is_completed_or_reverted(mortal: Mortal, name: str) -> None:
    case = CASES[name]
    mortal.revive()
    case.before(mortal)
    mortal.passed()
    case.play(mortal)
    boundaries = mortal.passed()
    assert boundaries[0] == "before begin"
    assert "after end" in boundaries
    assert state(mortal) in case.ends
    # Each case begins at another one, so that few points are not the same ones everywhere.
    first = list(CASES).index(name) * STRIDE // len(CASES) % len(boundaries)
    points = range(first, len(boundaries), STRIDE)
    for point in points:
        case.before(mortal)
        mortal.arm(point)
        case.play(mortal)
        mortal.await_death()
        mortal.start()
        where = f"{name}, killed at {point}: {boundaries[point]}"
        assert state(mortal) in case.ends, where
        ended = {each["state"] for each in mortal.operations() or [{"state": "unanswered"}]}
        assert ended <= {"completed", "reverted"}, (where, ended)
        if case.registry_follows:
            registry_equals_podman(mortal)
    print(f"{name}: {len(points)} of {len(boundaries)} points")
    nothing(mortal)
