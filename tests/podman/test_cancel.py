"""Cancelling a deploy on real podman: what ran before runs again, and each component has one container."""

from __future__ import annotations

import subprocess

from tests.podman.node import Node
from tests.support.waiting import DEADLINE_S, until

# Nobody waits for the probe to fail by itself: that takes longer than the test.
SLOW = """
name = "slow"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:{tag}"
[[components]]
name = "web"
image = "localhost/mcp-demo:{tag}"
depends_on = ["api"]
"""
NEVER = """
[components.health]
cmd = ["false"]
interval = "1s"
retries = 1000
"""


def begin(node: Node, service: str) -> subprocess.Popen[str]:
    """A deploy in a process of its own, which follows it."""
    return subprocess.Popen(
        ["mcpctl", "deploy", service],
        env=node.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verifying(node: Node, service: str) -> int | None:
    """The running deploy's number, when it waits for the last component's probe."""
    running = node.json("operations", service, "--running")
    return next((each["id"] for each in running if each["step"] == "verify web"), None)


def test_a_deploy_that_waits_for_a_probe_is_taken_back_when_it_is_cancelled(node: Node) -> None:
    node.define("slow", SLOW.format(tag="v1"))
    node.mcpctl("deploy", "slow")
    before = {name: node.inspect(name)["Id"] for name in ("slow-api", "slow-web")}
    node.define("slow", SLOW.format(tag="v2") + NEVER)
    with begin(node, "slow") as program:
        try:
            until(lambda: verifying(node, "slow"), "it waits for the probe")
            number = verifying(node, "slow")
            said = node.mcpctl("cancel", str(number)).stdout
            assert f"operation {number} is reverted: deploy of slow: cancelled by" in said
            _, told = program.communicate(timeout=DEADLINE_S)
        finally:
            program.kill()
    assert program.returncode == 1
    assert f"is operation {number}" in told
    assert "cancelled by" in told
    assert node.containers() == {"slow-api", "slow-web"}
    assert {name: node.inspect(name)["Id"] for name in before} == before
    assert set(node.pids()) == set(before)
    (operation,) = node.json("operations", "slow", "--limit", "1")
    assert (operation["id"], operation["state"]) == (number, "reverted")
    assert "cancelled by" in operation["message"]
    assert any(each["kind"] == "reverted" and "cancelled by" in each["message"] for each in node.json("events", "slow"))
    # It is over, and the service is free.
    assert "has ended and cannot be cancelled" in node.mcpctl("cancel", str(number), status=1).stderr
    node.define("slow", SLOW.format(tag="v2"))
    node.mcpctl("deploy", "slow")
