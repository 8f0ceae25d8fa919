"""top: what runs in containers that have no ps, as root and as an ordinary user, with what run has made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.podman.node import Node
from tests.podman.rootless import RootlessPodman, rootless_node

IMAGE = "localhost/mcp-demo:v1"
TOPPED = f"""\
name = "topped"
node = "NODE"

[[components]]
name = "two"
image = "{IMAGE}"
stop_timeout = "1s"
user = "1000"
cmd = ["/bin/sh", "-c", "sleep 4321 & exec sleep 1234"]

[[components]]
name = "stopped"
image = "{IMAGE}"
stop_timeout = "1s"
cmd = ["sleep", "1000"]
"""


@pytest.fixture(scope="module")
def rootless(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootlessPodman]:
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield node


def of_both_kinds(node: Node) -> None:
    node.define("topped", TOPPED)
    node.mcpctl("deploy", "topped")
    node.mcpctl("stop", "topped/stopped")
    labels = ("--label", "mcp.run=k3f9a2", "--label", "mcp.run-of=topped/two")
    node.podman("run", "--detach", "--name", "topped-run", *labels, IMAGE, "sleep", "777")
    try:
        found: dict[tuple[str, str], Any] = {
            (each["component"], each["run"]): each for each in node.json("top", "topped")
        }
        main = node.pids()["topped-two"]
        first, second = found["two", ""]["processes"]
        assert (first["pid"], first["host_pid"], first["command"]) == (1, main, "sleep 1234")
        assert (second["user"], second["command"]) == ("1000", "sleep 4321")
        assert 0 < first["resident_bytes"] < 64 << 20
        assert 0 < first["elapsed"] < 600
        (one_off,) = found["two", "k3f9a2"]["processes"]
        assert (one_off["pid"], one_off["user"], one_off["command"]) == (1, "root", "sleep 777")
        assert found["stopped", ""]["processes"] == []
        assert found["stopped", ""]["message"].startswith("it does not run: exited")
    finally:
        node.podman("rm", "--force", "--time", "0", "topped-run")
    node.mcpctl("undeploy", "topped")


def test_processes_are_listed(node: Node) -> None:
    of_both_kinds(node)


def test_what_is_paused_says_so(node: Node) -> None:
    node.define("topped", TOPPED)
    node.mcpctl("deploy", "topped")
    node.podman("pause", "topped-two")
    try:
        (paused,) = node.json("top", "topped/two")
    finally:
        node.podman("unpause", "topped-two")
    assert (paused["processes"], paused["message"][:12]) == ([], "it is paused")


def test_so_are_those_of_an_ordinary_users_podman(rootless: RootlessPodman) -> None:
    of_both_kinds(rootless)
