"""What the definition says is what podman made, for root and for rootless podman."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.podman.node import Node
from tests.podman.rootless import RootlessPodman, rootless_node
from tests.support.waiting import free_port

FULL = """\
name = "full"
node = "NODE"

[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
network = "fullnet"
user = "1000:1001"
restart = "on-failure:5"
ports = ["127.0.0.1:PORT:8080", "127.0.0.1:PORT:8080/udp"]
volumes = ["FOLDER:/data:ro", "named:/cache"]
cmd = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
env = { LOG_LEVEL = "info", "ODD" = "a b $HOME 'q' \\"d\\"" }
stop_timeout = "3s"

[components.resources]
memory = "64MiB"
cpus = 0.5
pids = 77
"""


@pytest.fixture(scope="module", params=["root", "rootless"])
def full(request: pytest.FixtureRequest, shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which the service above runs; its containers are root's, or an ordinary user's."""
    if request.param == "root":
        yield from _deployed(shared_node, tmp_path_factory.mktemp("data"))
        return
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield from _deployed(node, tmp_path_factory.mktemp("data"))


def _deployed(node: Node, folder: Path) -> Iterator[Node]:
    for part in (folder, *folder.parents[:-1]):
        part.chmod(part.stat().st_mode | 0o055)  # an ordinary user's podman must reach it
    node.clear()
    node.define("full", FULL.replace("PORT", str(free_port())).replace("FOLDER", str(folder)))
    node.mcpctl("deploy", "full")
    yield node
    node.clear()
    node.podman("volume", "rm", "--force", "named")


@pytest.fixture
def found(full: Node) -> dict[str, Any]:
    return full.inspect("full-api")


def test_image_command_user_and_environment(found: dict[str, Any]) -> None:
    config = found["Config"]
    assert found["ImageName"] == "localhost/mcp-demo:v1"
    assert config["Cmd"] == ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
    assert config["User"] == "1000:1001"
    assert {"LOG_LEVEL=info", "ODD=a b $HOME 'q' \"d\""} <= set(config["Env"])


def test_ports(full: Node, found: dict[str, Any]) -> None:
    (row,) = full.json("ps")
    published = {
        (key, each["HostIp"], each["HostPort"])
        for key, bindings in found["NetworkSettings"]["Ports"].items()
        for each in bindings
    }
    port = row["ports"][0].split(":")[1]
    assert published == {("8080/tcp", "127.0.0.1", port), ("8080/udp", "127.0.0.1", port)}
    assert set(row["ports"]) == {f"127.0.0.1:{port}:8080", f"127.0.0.1:{port}:8080/udp"}


def test_volumes(found: dict[str, Any]) -> None:
    mounts = {each["Destination"]: each for each in found["Mounts"]}
    assert mounts["/data"]["Type"] == "bind"
    assert mounts["/data"]["RW"] is False
    assert (mounts["/cache"]["Type"], mounts["/cache"]["Name"]) == ("volume", "named")


def test_restart_policy_stop_timeout_and_log_limit(found: dict[str, Any]) -> None:
    host = found["HostConfig"]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert found["Config"]["StopTimeout"] == 3
    assert host["LogConfig"]["Type"] == "k8s-file"
    assert host["LogConfig"]["Size"] in ("10.49MB", "10MB", "10.49 MB")


def test_network_is_created_and_labelled_ours(full: Node, found: dict[str, Any]) -> None:
    import json

    assert list(found["NetworkSettings"]["Networks"]) == ["fullnet"]
    (network,) = json.loads(full.podman("network", "inspect", "fullnet"))
    assert network["labels"] == {"mcp.node": full.name}


def test_labels(full: Node, found: dict[str, Any]) -> None:
    labels = found["Config"]["Labels"]
    (row,) = full.json("ps")
    assert labels["mcp.service"] == "full"
    assert labels["mcp.component"] == "api"
    assert labels["mcp.node"] == full.name
    assert labels["mcp.spec-hash"] == row["spec_hash"]


def test_limits_are_those_that_podman_itself_would_set(full: Node, found: dict[str, Any]) -> None:
    """Where podman cannot limit (rootless with cgroup v1 it drops limits, with a warning), neither can we."""
    full.podman(
        *("run", "--detach", "--name", "reference", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "77"),
        "localhost/mcp-demo:v1",
    )
    try:
        reference = full.inspect("reference")["HostConfig"]
    finally:
        full.podman("rm", "--force", "--time", "0", "reference")
    host = found["HostConfig"]
    assert [host[key] for key in ("Memory", "CpuQuota", "PidsLimit")] == [
        reference[key] for key in ("Memory", "CpuQuota", "PidsLimit")
    ]
    if not isinstance(full, RootlessPodman):
        assert (host["Memory"], host["PidsLimit"]) == (64 * 2**20, 77)


def test_the_network_goes_with_the_last_service_that_used_it(full: Node) -> None:
    """Last in this file: it takes the service away."""
    full.mcpctl("undeploy", "full")
    assert "fullnet" not in full.podman("network", "ls", "--format", "{{.Name}}").split()
