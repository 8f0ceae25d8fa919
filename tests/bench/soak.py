"""Work without end: what mcpd holds must not grow with the time that it runs. MCP_SOAK_MINUTES sets how long."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Figure
from tests.bench.monitor import define, resident_mib
from tests.podman.node import Node

# By hand: 60 and more.
MINUTES = float(os.environ.get("MCP_SOAK_MINUTES", "2"))
# Until then caches fill, and the interpreter finds its size.
_WARM_SHARE = 0.4
_COMPONENTS = 3
_GROWTH_MIB = 4.0
_WAL_MIB = 8.0


class _Held(NamedTuple):
    """What mcpd holds. ``wal`` is the size of SQLite's write-ahead log, in MiB."""

    memory: float
    descriptors: int
    wal: float


def soak(node: Node) -> list[Figure]:
    """Rounds of deploy, kill, list and undeploy; the largest of the last rounds against the largest when warm."""
    define(node, "soaked", [f"c{number}" for number in range(_COMPONENTS)], 'heal = "restart"\n')
    samples: list[tuple[float, _Held]] = []
    begun = time.monotonic()
    with closing(Client(node)) as client:
        while (passed := (time.monotonic() - begun) / 60) < MINUTES:
            _round(node, client)
            samples.append((passed / MINUTES, _held(node)))
    node.clear()
    warm = [each for share, each in samples if share <= _WARM_SHARE]
    late = [each for share, each in samples if share > 1 - _WARM_SHARE]
    what = f"{MINUTES:g} minutes of work ({len(samples)} rounds)"
    memory = max(each.memory for each in late) - max(each.memory for each in warm)
    descriptors = max(each.descriptors for each in late) - max(each.descriptors for each in warm)
    return [
        Figure(f"{what}: memory grows by", memory, "MiB", _GROWTH_MIB),
        Figure(f"{what}: descriptors grow by", descriptors, "", 0.0),
        Figure(f"{what}: the write-ahead log", max(each.wal for each in late), "MiB", _WAL_MIB),
    ]


def _round(node: Node, client: Client) -> None:
    node.mcpctl("deploy", "soaked")
    for name, pid in node.pids().items():
        if name.startswith("soaked-"):
            os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        client.run(client.stub.live_check(v1.LiveCheckRequest(all=True)))
        client.run(client.stub.get_status(v1.GetStatusRequest(events=100)))
        client.run(client.stub.list_events(v1.ListEventsRequest()))
    node.mcpctl("undeploy", "soaked")


def _held(node: Node) -> _Held:
    descriptors = sum(1 for _ in Path(f"/proc/{node.mcpd_pid}/fd").iterdir())
    log = Path(node.folder, "mcp.db-wal")
    wal = log.stat().st_size if log.exists() else 0
    return _Held(resident_mib(node.mcpd_pid), descriptors, wal / 2**20)
