"""What changing costs: many components at once, the gap while one is replaced, and finding out that nothing changes."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import urllib.request
from collections.abc import Iterator

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Figure, Row, compare, figure, timed
from tests.podman.node import Node, run
from tests.support.waiting import free_port, until

MANY = 20
_IMAGE = "localhost/mcp-demo"
_POLL_S = 0.001


def many(node: Node) -> Row:
    """20 components in one deploy, against 20 times `podman run -d`, one after the other."""
    spec = _many(node)
    local = {key: value for key, value in node.environment.items() if key != "CONTAINER_HOST"}
    names = [f"reference-{number}" for number in range(MANY)]
    with contextlib.closing(Client(node)) as client:

        def ours() -> float:
            seconds = timed(lambda: _deploy(client, spec))
            client.run(client.stub.undeploy_service(v1.UndeployServiceRequest(service=spec.name)))
            return seconds

        def theirs() -> float:
            options = ["--log-opt", "max-size=10mb", "--label", "mcp.x=y", f"{_IMAGE}:v1"]
            seconds = timed(
                lambda: [run(["podman", "run", "-d", "--name", name, *options], env=local) for name in names] and None
            )
            run(["podman", "rm", "-f", "-t", "0", *names], env=local)
            return seconds

        return compare(f"deploy of {MANY} components", f"{MANY} x podman run -d", 0.7, ours, theirs, pairs=3)


def gap(node: Node) -> Row:
    """How long nobody answers while a component is replaced, against `podman stop; rm; run` by script."""
    port = free_port()
    published = f"127.0.0.1:{port}:8080"
    local = {key: value for key, value in node.environment.items() if key != "CONTAINER_HOST"}

    def spec(tag: str) -> v1.ServiceSpec:
        component = v1.ComponentSpec(name="gap", image=f"{_IMAGE}:{tag}", ports=[published])
        return v1.ServiceSpec(name="gap", node=node.name, components=[component])

    def podman(tag: str) -> list[str]:
        return ["podman", "run", "-d", "--name", "script", "-p", published, f"{_IMAGE}:{tag}"]

    with contextlib.closing(Client(node)) as client:

        def ours() -> float:
            _deploy(client, spec("v1"))
            with _watched(port, "v1", "v2") as gaps:
                _deploy(client, spec("v2"))
            client.run(client.stub.undeploy_service(v1.UndeployServiceRequest(service="gap")))
            return gaps[0]

        def theirs() -> float:
            run(podman("v1"), env=local)
            with _watched(port, "v1", "v2") as gaps:
                run(["podman", "stop", "script"], env=local)
                run(["podman", "rm", "script"], env=local)
                run(podman("v2"), env=local)
            run(["podman", "rm", "-f", "-t", "0", "script"], env=local)
            return gaps[0]

        return compare("gap while a component is replaced", "podman stop; rm; run", 1.0, ours, theirs, pairs=8)


def unchanged(node: Node) -> list[Figure]:
    """A deploy, and a plan, of 20 components of which none has changed."""
    spec = _many(node)
    with contextlib.closing(Client(node)) as client:
        _deploy(client, spec)
        deploys = [1000 * timed(lambda: _deploy(client, spec)) for _ in range(20)]
        plans = [1000 * timed(lambda: client.run(client.stub.plan(v1.PlanRequest(service=spec)))) for _ in range(20)]
        client.run(client.stub.undeploy_service(v1.UndeployServiceRequest(service=spec.name)))
    return [
        figure(f"deploy that changes nothing, {MANY} components", deploys, "ms", 50.0),
        figure(f"plan, {MANY} components", plans, "ms", 50.0),
    ]


def _many(node: Node) -> v1.ServiceSpec:
    components = [v1.ComponentSpec(name=f"c{number}", image=f"{_IMAGE}:v1") for number in range(MANY)]
    return v1.ServiceSpec(name="many", node=node.name, components=components)


def _deploy(client: Client, spec: v1.ServiceSpec) -> None:
    async def follow() -> None:
        async for _ in client.stub.deploy(v1.DeployRequest(service=spec)):
            pass

    client.run(follow())


@contextlib.contextmanager
def _watched(port: int, old: str, new: str) -> Iterator[list[float]]:
    """Asks at ``port`` without a pause; afterwards the list has the seconds from the last old answer to a new one."""
    until(lambda: _answer(port) == old)
    gaps: list[float] = []

    def watch() -> None:
        last = time.perf_counter()
        while (answer := _answer(port)) != new:
            if answer == old:
                last = time.perf_counter()
            time.sleep(_POLL_S)
        gaps.append(time.perf_counter() - last)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield gaps
    watcher.join()


def _answer(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=0.2) as response:
            text: str = response.read().decode().strip()
            return text
    except (OSError, http.client.HTTPException):
        return ""
