"""No restart, crash or upgrade of mcpd touches a running container; podman's service may come and go."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.podman.node import Node, is_alive
from tests.support.demo_service import demo, states
from tests.support.waiting import until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containers_keep_their_processes_when_mcpd_ends_and_returns(node: Node, number: signal.Signals) -> None:
    demo(node)
    before = node.pids()
    service = podman_service(node)
    node.stop_daemon(number)
    until(lambda: not is_alive(service))
    assert all(is_alive(pid) for pid in before.values())
    node.up()
    assert node.pids() == before
    assert states(node) == {"web": "running", "worker": "running"}
    assert node.mcpctl("status", "--exit-code").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_podman_service_that_dies_is_started_again(node: Node, number: signal.Signals) -> None:
    demo(node)
    before, daemon, service = node.pids(), node.mcpd_pid, podman_service(node)
    os.kill(service, number)
    until(lambda: not is_alive(service))
    until(lambda: node.mcpctl("ps", status=None).returncode == 0)
    assert node.mcpd_pid == daemon
    assert is_alive(daemon)
    assert podman_service(node) != service
    assert node.pids() == before


def test_a_podman_service_that_hangs_is_replaced_and_meanwhile_status_says_what_it_does_not_know(node: Node) -> None:
    demo(node)
    service = podman_service(node)
    os.kill(service, signal.SIGSTOP)
    try:
        until(lambda: "states are the last ones seen" in node.mcpctl("status", status=None).stderr)
        until(lambda: not is_alive(service))
    finally:
        if is_alive(service):
            os.kill(service, signal.SIGKILL)
    until(lambda: node.mcpctl("ps", status=None).returncode == 0)
    assert states(node) == {"web": "running", "worker": "running"}


def test_a_deploy_that_mcpd_was_killed_in_is_undone_at_the_next_start(node: Node) -> None:
    """The replacement waits for a probe that never succeeds; mcpd is killed then."""
    demo(node)
    path = node.folder / "services/demo.toml"
    probe = '[components.health]\ncmd = ["false"]\ninterval = "1s"\nretries = 60\n'
    path.write_text(path.read_text().replace("mcp-demo:v1", "mcp-demo:v2") + probe)
    deploy = subprocess.Popen(
        ["mcpctl", "deploy", "demo"], env=node.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: node.pids().get("demo-worker") and "demo-worker.last" in node.containers())
    node.stop_daemon(signal.SIGKILL)
    assert deploy.wait(60) == 1
    node.up()
    # The daemon serves while it undoes what was left.
    until(lambda: node.containers() == {"demo-web", "demo-worker"}, "the deploy is undone")
    assert {row["component"]: (row["version"], row["observed"]) for row in node.json("ps")} == {
        "web": ("v1", "running"),
        "worker": ("v1", "running"),
    }


def test_a_deploy_that_mcpd_is_told_to_end_in_is_undone_before_it_ends(node: Node) -> None:
    demo(node)
    path = node.folder / "services/demo.toml"
    probe = '[components.health]\ncmd = ["false"]\ninterval = "1s"\nretries = 600\n'
    path.write_text(path.read_text().replace("mcp-demo:v1", "mcp-demo:v2") + probe)
    deploy = subprocess.Popen(
        ["mcpctl", "deploy", "demo"], env=node.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    until(lambda: "demo-worker.last" in node.containers())
    pid = node.mcpd_pid
    os.kill(pid, signal.SIGTERM)
    _, said = deploy.communicate(timeout=60)
    assert deploy.returncode == 1
    assert b"mcpd is shutting down" in said
    until(lambda: not is_alive(pid))
    node.up()
    assert node.containers() == {"demo-web", "demo-worker"}
    assert {row["version"] for row in node.json("ps")} == {"v1"}


def podman_service(node: Node) -> int:
    """The pid of the API service that the node's mcpd started."""
    children = Path(f"/proc/{node.mcpd_pid}/task/{node.mcpd_pid}/children").read_text().split()
    found = [int(pid) for pid in children if b"system\0service" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1, children
    return found[0]
