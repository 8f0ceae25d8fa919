"""Everything dies at the same moment: how soon the operator is told of each, against podman's own events of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

from tests.bench.harness import Row, compared
from tests.bench.monitor import define, follow_podman, use_alert_command
from tests.podman.node import Node
from tests.support.waiting import until

SERVICES = 6
COMPONENTS = 20
CONTAINERS = SERVICES * COMPONENTS
STORMS = 3
LAST_TOLD_MS = 2000.0
_DEADLINE_S = 120.0
# A command that takes ten milliseconds, as one does that hands its message to a queue on the node.
_COMMAND = 'echo "$MCP_ALERT_ID $MCP_SERVICE-$MCP_COMPONENT $MCP_KIND" > {}; exec /bin/busybox usleep 10000'


def storm(node: Node) -> list[Row]:
    """The first and the last of the alert commands; fails when one of the dead is not told of exactly once."""
    fifo = node.folder / "storm-told"
    os.mkfifo(fifo)
    told_at = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    # So that a second storm is told of like the first.
    use_alert_command(node, ["/bin/busybox", "sh", "-c", _COMMAND.format(fifo)], cooldown="0s", flap_threshold=1000)
    services = [f"storm{number}" for number in range(SERVICES)]
    components = [f"c{number}" for number in range(COMPONENTS)]
    for service in services:
        define(node, service, components)
        node.mcpctl("deploy", service)
    names = {f"{service}-{component}" for service in services for component in components}
    storms = []
    for _ in range(STORMS):
        storms.append(asyncio.run(_storm(node, told_at, names)))
        for service in services:
            node.mcpctl("start", service)
        until(lambda: not node.json("alerts", "list")["alerts"], within=_DEADLINE_S)
    node.clear()
    os.close(told_at)
    ours, podman = ([{kind: 1000 * when for kind, when in each[at].items()} for each in storms] for at in (0, 1))
    return [
        compared(
            f"{CONTAINERS} killed at once -> the {which} alert command runs",
            f"podman events, the {which} died",
            [choose(each.values()) for each in ours],
            [choose(each.values()) for each in podman],
            limit=limit,
        )
        for which, choose, limit in (("first", min, None), ("last", max, LAST_TOLD_MS))
    ]


async def _storm(node: Node, told_at: int, names: set[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from the kills to the alert command, which says so at ``told_at``, and to podman's event, of each."""
    pids = node.pids()
    told: dict[str, float] = {}
    times: Counter[str] = Counter()
    loop, start = asyncio.get_running_loop(), time.perf_counter()

    def read() -> None:
        for line in os.read(told_at, 65536).decode().splitlines():
            number, name, kind = line.split()
            if kind == "drift":
                told.setdefault(name, time.perf_counter() - start)
                times[f"{number} {name}"] += 1
        if told.keys() == names:
            all_told.set()

    all_told = asyncio.Event()
    loop.add_reader(told_at, read)
    died: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()
    podman, following = await follow_podman(node, died)
    seen: dict[str, float] = {}
    try:
        start = time.perf_counter()
        for name in names:
            os.kill(pids[name], signal.SIGKILL)
        async with asyncio.timeout(_DEADLINE_S):
            while seen.keys() != names:
                _, name, when = await died.get()
                seen[name] = when - start
            await all_told.wait()
        await asyncio.sleep(1)  # what would be told twice
    finally:
        following.cancel()
        podman.kill()
        await podman.wait()
        loop.remove_reader(told_at)
    assert times.total() == len(names), f"told {times.total()} times of {len(names)}"
    return told, seen
