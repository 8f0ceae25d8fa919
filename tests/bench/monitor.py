"""How soon a death is told of, in the ledger and mended; and what watching costs. On a real node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc import convert
from mcpd.status import components
from monitor.model import Fact, Observed
from protos.fingerprint import spec_hash
from protos.mcp import v1
from protos.spec import Component, Service
from tests.bench.client import Client
from tests.bench.harness import Figure, Row, compared, figure, p99
from tests.podman.node import Node
from tests.support.waiting import until

DEATHS = 100
HEALS = 10
# Measured on such a machine with Docker Swarm, `service create --replicas 1`, its task killed.
SWARM_REPLACES_MS = 5300.0
IDLE_CONTAINERS = 100
IDLE_SECONDS = 20.0
IDLE_WINDOWS = 3
_DEADLINE_S = 20.0


def deaths(node: Node) -> list[Row]:
    """SIGKILL to one component after the other: the operator's command, the event stream, and `podman events`."""
    fifo = node.folder / "told"
    os.mkfifo(fifo)
    use_alert_command(node, ["/bin/busybox", "sh", "-c", f'echo "$MCP_COMPONENT $MCP_REASON" > {fifo}'])
    names = [f"c{number}" for number in range(DEATHS)]
    define(node, "dying", names)
    node.mcpctl("deploy", "dying")
    pids = node.pids()
    with closing(Client(node)) as client:
        times = client.loop.run_until_complete(
            _kill_all(node, client, fifo, {name: pids[f"dying-{name}"] for name in names})
        )
    node.clear()
    alerts, events, podman = ([each[kind] * 1000 for each in times] for kind in ("alert", "event", "podman"))
    against = "podman events, died"
    return [
        compared(what, against, ours, podman, 0.1, limit=limit, note=_worst(ours))
        for what, ours, limit in (
            ("killed -> alert command running", alerts, 10.0),
            ("killed -> event on WatchEvents", events, 5.0),
        )
    ]


def heals(node: Node) -> Row:
    """A killed component until its replacement runs: each of several once, since the second time would have a pause."""
    names = [f"h{number}" for number in range(HEALS)]
    define(node, "healing", names, 'heal = "restart"\n')
    node.mcpctl("deploy", "healing")
    pids = node.pids()
    with closing(Client(node)) as client:
        targets = {name: pids[f"healing-{name}"] for name in names}
        times = client.loop.run_until_complete(_kill_and_heal(client, targets))
    node.clear()
    swarm = [SWARM_REPLACES_MS] * len(times)
    return compared("killed -> its replacement runs", "Docker Swarm, as given", times, swarm, 0.1, note=_worst(times))


def idle(node: Node) -> list[Figure]:
    names = [f"i{number}" for number in range(IDLE_CONTAINERS)]
    define(node, "idle", names)
    node.mcpctl("deploy", "idle")
    figures = idle_figures(node.mcpd_pid, f"idle with {IDLE_CONTAINERS} containers", 80.0, 0.3)
    node.clear()
    return figures


def idle_figures(pid: int, what: str, memory: float | None, cpu: float | None) -> list[Figure]:
    """What mcpd needs while nothing happens, in `IDLE_WINDOWS` windows of `IDLE_SECONDS`."""
    shares = [_idle_share(pid) for _ in range(IDLE_WINDOWS)]
    return [
        Figure(f"{what}: memory", resident_mib(pid), "MiB RSS", memory),
        figure(f"{what}: CPU", shares, "% of a core", cpu),
    ]


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _idle_share(pid: int) -> float:
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(IDLE_SECONDS)  # what is measured is the time in which nothing happens
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - start)


def large_ledger() -> list[Figure]:
    """1,000 components and 1,000,000 events: status, and how many events a second the ledger takes."""
    with tempfile.TemporaryDirectory(prefix="mcp-bench-") as folder:
        return trio.run(_large_ledger, Path(folder, "mcp.db"))


async def _large_ledger(path: Path) -> list[Figure]:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    async with Registry.open(path) as registry:
        for number in range(50):
            declared = tuple(Component(f"c{each}", "localhost/x:v1") for each in range(20))
            service = Service(f"s{number}", "n1", declared)
            await registry.put_service(service, {each.name: spec_hash(each) for each in declared}, then)
        ledger = MonitorLedger(registry, "n1")
        batch = 500
        facts = [
            Fact(
                f"k{number}",
                f"s{number % 50}",
                f"c{number % 20}",
                "x",
                Observed.RUNNING,
                then + timedelta(seconds=number),
            )
            for number in range(20 * batch)
        ]
        start = time.perf_counter()
        for first in range(0, len(facts), batch):
            await ledger.record(facts[first : first + batch], (), (), then)
        rate = len(facts) / (time.perf_counter() - start)
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO events (at, service, component, kind, message, caller, fact) "
            "VALUES (?, ?, ?, 'running', '', '', ?)",
            ((number, f"s{number % 50}", f"c{number % 20}", f"f{number}") for number in range(990_000)),
        )
    async with Registry.open(path) as registry:
        await registry.services()
        now, past = [], []
        for _ in range(9):
            start = time.perf_counter()
            services = await registry.services()
            recent = await registry.events("s7", limit=5)
            infos = [convert.service_info("n1", each, components.from_registry(each)) for each in services]
            bytes(v1.GetStatusResponse(services=infos, events=[convert.event_info(each) for each in recent]))
            now.append(1000 * (time.perf_counter() - start))
            start = time.perf_counter()
            await registry.states_at(then)
            past.append(1000 * (time.perf_counter() - start))
    what = "status over 1,000 components, 1,000,000 events"
    return [
        figure(what, now, "ms", 50.0),
        figure(f"{what}, --at", past, "ms", 50.0),
        Figure("events into the ledger, batches of 500", rate, "a second", None),
    ]


async def _kill_all(node: Node, client: Client, fifo: Path, pids: dict[str, int]) -> list[dict[str, float]]:
    """For every component, seconds from SIGKILL to each of the three."""
    arrived: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()
    followers = [asyncio.create_task(_follow_fifo(fifo, arrived)), asyncio.create_task(_follow_watch(client, arrived))]
    podman, following = await follow_podman(node, arrived)
    followers.append(following)
    times = []
    try:
        for name, pid in pids.items():
            start = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            times.append({kind: when - start for kind, when in (await _three(arrived, name)).items()})
    finally:
        for task in followers:
            task.cancel()
        podman.kill()
        await podman.wait()
    return times


async def _three(arrived: asyncio.Queue[tuple[str, str, float]], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    async with asyncio.timeout(_DEADLINE_S):
        while len(found) < 3:
            kind, who, when = await arrived.get()
            if who in (name, f"dying-{name}"):
                found.setdefault(kind, when)
    return found


async def _follow_fifo(fifo: Path, arrived: asyncio.Queue[tuple[str, str, float]]) -> None:
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)

    def read() -> None:
        now = time.perf_counter()
        for line in os.read(descriptor, 65536).decode().splitlines():
            name, _, reason = line.partition(" ")
            if reason.startswith("exited 137"):
                arrived.put_nowait(("alert", name, now))

    asyncio.get_running_loop().add_reader(descriptor, read)
    try:
        await asyncio.Event().wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def _follow_watch(client: Client, arrived: asyncio.Queue[tuple[str, str, float]]) -> None:
    async for response in client.stub.watch_events(v1.WatchEventsRequest(service="dying")):
        if response.event.kind == "exited":
            arrived.put_nowait(("event", response.event.component, time.perf_counter()))


async def follow_podman(
    node: Node, arrived: asyncio.Queue[tuple[str, str, float]]
) -> tuple[asyncio.subprocess.Process, asyncio.Task[None]]:
    """`podman events`, and the task that queues "podman", the container that died, and when that was read."""
    command = ("podman", "events", "--format", "json", "--filter", "event=died")
    podman = await asyncio.create_subprocess_exec(*command, env=node.environment, stdout=asyncio.subprocess.PIPE)

    async def follow() -> None:
        assert podman.stdout
        async for line in podman.stdout:
            arrived.put_nowait(("podman", json.loads(line)["Name"], time.perf_counter()))

    following = asyncio.create_task(follow())
    await asyncio.sleep(1)  # podman events has no way to say that it listens
    return podman, following


async def _kill_and_heal(client: Client, pids: dict[str, int]) -> list[float]:
    times = []
    watch = client.stub.watch_events(v1.WatchEventsRequest(service="healing"))
    following = asyncio.create_task(anext(watch))
    await asyncio.sleep(0.5)  # a watch has no way to say that it watches
    for name, pid in pids.items():
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                event = (await following).event
                following = asyncio.create_task(anext(watch))
                if (event.component, event.kind) == (name, "running"):
                    break
        times.append(1000 * (time.perf_counter() - start))
    following.cancel()
    return times


def define(node: Node, service: str, components: Iterable[str], more: str = "") -> None:
    """A definition of components that are all alike; ``more``: further keys of each."""
    component = '[[components]]\nname = "{}"\nimage = "localhost/mcp-demo:v1"\n' + more
    node.define(service, f'name = "{service}"\nnode = "NODE"\n' + "".join(map(component.format, components)))


def use_alert_command(node: Node, argv: list[str], **rules: object) -> None:
    """Has mcpd run this command from now on, and follow these ``rules`` of its configuration."""
    path = node.folder / "mcpd.toml"
    changed = {"alert_command": argv, **rules}
    lines = [(line.partition(" =")[0], line) for line in path.read_text().splitlines()]
    path.write_text(
        "\n".join(f"{key} = {json.dumps(changed[key])}" if key in changed else line for key, line in lines) + "\n"
    )
    node.stop_daemon(signal.SIGTERM)
    node.up()
    until(lambda: node.json("list") is not None)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _worst(times: list[float]) -> str:
    return f"p99 of {len(times)}: {p99(times):.1f} ms"
