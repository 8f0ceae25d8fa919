"""Many who follow at once: how late the last of them is told of an event, and has a line of a log."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import closing

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Figure, figure
from tests.bench.monitor import cpu_seconds, define, resident_mib
from tests.podman.node import Node

FOLLOWERS = 50
_EVENTS = 20
_LINES = 30
_DEADLINE_S = 60.0
# A line each tenth of a second that says when it was printed, in hundredths of a second since the machine was booted.
_PRINTS = "while :; do read up _ < /proc/uptime; echo $up; sleep 0.1; done"


def followers(node: Node) -> list[Figure]:
    """Fifty of WatchEvents and fifty of Logs on one connection each kind, with nobody else beside them."""
    names = [f"f{number}" for number in range(_EVENTS)]
    define(node, "followed", names)
    component = (
        f'[[components]]\nname = "talks"\nimage = "localhost/mcp-demo:v1"\ncmd = ["/bin/sh", "-c", "{_PRINTS}"]\n'
    )
    node.define("talking", 'name = "talking"\nnode = "NODE"\n' + component)
    node.mcpctl("deploy", "followed")
    node.mcpctl("deploy", "talking")
    pids = node.pids()
    with closing(Client(node)) as client:
        told = client.loop.run_until_complete(_events(client, {name: pids[f"followed-{name}"] for name in names}))
        before, start = cpu_seconds(node.mcpd_pid), time.monotonic()
        lines = client.loop.run_until_complete(_lines(client))
        share = 100 * (cpu_seconds(node.mcpd_pid) - before) / (time.monotonic() - start)
    memory = resident_mib(node.mcpd_pid)
    node.clear()
    return [
        figure(f"killed -> the last of {FOLLOWERS} on WatchEvents has it", told, "ms", None),
        figure(f"printed -> the last of {FOLLOWERS} on Logs has it", lines, "ms", None, "to 10 ms"),
        Figure(f"{FOLLOWERS} followers of Logs: CPU", share, "% of a core", None),
        Figure(f"{FOLLOWERS} followers: memory", memory, "MiB RSS", None),
    ]


async def _events(client: Client, pids: dict[str, int]) -> list[float]:
    """Milliseconds from each kill to the last follower's news of it."""
    arrived: asyncio.Queue[str] = asyncio.Queue()

    async def follow() -> None:
        async for response in client.stub.watch_events(v1.WatchEventsRequest(service="followed")):
            if response.event.kind == "exited":
                arrived.put_nowait(response.event.component)

    following = [asyncio.create_task(follow()) for _ in range(FOLLOWERS)]
    await asyncio.sleep(1)  # a watch has no way to say that it watches
    times = []
    for name, pid in pids.items():
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(_DEADLINE_S):
            for _ in range(FOLLOWERS):
                while await arrived.get() != name:
                    pass
        times.append(1000 * (time.perf_counter() - start))
    for task in following:
        task.cancel()
    return times


async def _lines(client: Client) -> list[float]:
    """Milliseconds from the printing of each line to the last follower's reading of it."""
    seen: defaultdict[bytes, list[float]] = defaultdict(list)
    enough = asyncio.Event()

    async def follow(responses: AsyncIterator[v1.LogsResponse]) -> None:
        async for response in responses:
            late = time.clock_gettime(time.CLOCK_BOOTTIME) - float(response.line)
            seen[response.line].append(1000 * late)
            if sum(len(each) == FOLLOWERS for each in seen.values()) >= _LINES:
                enough.set()

    request = v1.LogsRequest(service="talking", follow=True, tail=1)
    following = [asyncio.create_task(follow(client.stub.logs(request))) for _ in range(FOLLOWERS)]
    async with asyncio.timeout(_DEADLINE_S):
        await enough.wait()
    for task in following:
        task.cancel()
    _, *complete = [max(each) for each in seen.values() if len(each) == FOLLOWERS]
    return complete  # without the first line, which was printed before anybody followed
