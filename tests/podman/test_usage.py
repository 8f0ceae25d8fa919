"""What components use is what the kernel counted for their containers."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from datetime import timedelta
from pathlib import Path

from mcpctl.config import load
from mcpctl.nodes import client
from protos.mcp import v1
from tests.podman.node import Node
from tests.support.waiting import until

BUSY = """\
name = "busy"
node = "NODE"

[[components]]
name = "burns"
image = "localhost/mcp-demo:v1"
stop_timeout = "1s"
cmd = ["/bin/sh", "-c", "while :; do :; done"]

[components.resources]
memory = "64MiB"

[[components]]
name = "idles"
image = "localhost/mcp-demo:v1"
stop_timeout = "1s"
cmd = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
"""


def live_check(node: Node, *, usage: bool = True) -> dict[str, v1.ComponentInfo]:
    settings = load(Path(node.environment["MCP_CONFIG"]))

    async def ask() -> v1.LiveCheckResponse:
        async with client.agent(settings, settings.nodes[0], deadline=client.READ_DEADLINE_S) as stub:
            return await stub.live_check(v1.LiveCheckRequest(service="busy", usage=usage))

    # As the program does, it leaves it to its own end to close what is open.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        # Not the policy's loop: trio-asyncio's stay in one thread.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            found = {each.component: each for each in runner.run(ask()).components}
        gc.collect()
    return found


def counted_by_the_kernel(pid: int) -> int:
    """Processes in the cgroup that counts them for ``pid``."""
    hierarchies = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    path = next((path for _, kind, path in hierarchies if "pids" in kind.split(",")), None)
    folder = f"/sys/fs/cgroup/pids{path}" if path is not None else f"/sys/fs/cgroup{hierarchies[-1][2]}"
    return int((Path(folder) / "pids.current").read_text())


def test_what_runs_has_its_cpu_time_memory_limit_and_processes(node: Node) -> None:
    node.define("busy", BUSY)
    node.mcpctl("deploy", "busy")
    first = live_check(node)
    until(lambda: live_check(node)["burns"].usage.cpu_time > first["burns"].usage.cpu_time + timedelta(seconds=0.5))
    second = live_check(node)
    burnt = second["burns"].usage.cpu_time - first["burns"].usage.cpu_time
    rested = second["idles"].usage.cpu_time - first["idles"].usage.cpu_time
    assert burnt > 3 * rested
    # No more than the time that went by on one CPU: the loop is one thread.
    assert burnt <= 1.2 * (second["burns"].usage.at - first["burns"].usage.at)
    assert second["burns"].usage.memory_limit_bytes == 64 << 20
    assert second["idles"].usage.memory_limit_bytes == 0
    for name in ("burns", "idles"):
        assert 0 < second[name].usage.memory_bytes < 64 << 20
    assert second["burns"].usage.pids == counted_by_the_kernel(second["burns"].pid) == 1
    node.mcpctl("stop", "busy/idles")
    assert "usage" not in live_check(node)["idles"].to_dict()


def test_it_is_asked_for_and_costs_nothing_otherwise(node: Node) -> None:
    node.define("busy", BUSY)
    node.mcpctl("deploy", "busy")
    assert all("usage" not in each.to_dict() for each in live_check(node, usage=False).values())


def test_a_hundred_measurements_take_milliseconds(node: Node) -> None:
    from mcpd.runtime.usage import measure

    node.define("busy", BUSY)
    node.mcpctl("deploy", "busy")
    found = live_check(node)["burns"]
    begun = os.times()
    for _ in range(100):
        assert measure({found.container_id: found.pid})
    ended = os.times()
    # CPU time, so that a busy machine is not blamed; it takes some 10 ms.
    assert (ended.user + ended.system) - (begun.user + begun.system) < 0.25
