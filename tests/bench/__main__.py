"""Runs the measurements of DESIGN section 11 on a real node, prints the table and writes bench.json."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from protos.mcp import v1
from tests.bench import changes, files, fleet, followers, images, logs, monitor, sessions, soak, storm, swap, thousand
from tests.bench.client import Client, address
from tests.bench.harness import Figure, Row, compare, show, timed
from tests.podman.node import Node, run, running
from tests.support.waiting import accepts, free_port, until

OUTPUT = Path("bench.json")
# As many as DESIGN asks for, and one more digit than any screen.
CONTAINERS = 100
CALLS = 300
AT_ONCE = 16


def deploy_one(node: Node) -> Row:
    """A new component, its image present: the Deploy call against `podman run -d` with the same options."""
    spec = v1.ServiceSpec(
        name="one",
        node=node.name,
        components=[v1.ComponentSpec(name="web", image="localhost/mcp-demo:v1", env={"A": "b"})],
    )
    local = {key: value for key, value in node.environment.items() if key != "CONTAINER_HOST"}
    reference = ["podman", "run", "-d", "--name", "reference", "-e", "A=b", "--log-opt", "max-size=10mb"]
    reference += ["--label", "mcp.x=y", "localhost/mcp-demo:v1"]
    with contextlib.closing(Client(node)) as client:

        async def deploy() -> None:
            async for _ in client.stub.deploy(v1.DeployRequest(service=spec)):
                pass

        def ours() -> float:
            seconds = timed(lambda: client.run(deploy()))
            client.run(client.stub.undeploy_service(v1.UndeployServiceRequest(service="one")))
            return seconds

        def theirs() -> float:
            seconds = timed(lambda: run(reference, env=local))
            run(["podman", "rm", "-f", "-t", "0", "reference"], env=local)
            return seconds

        return compare("deploy of one new component", "podman run -d", 1.15, ours, theirs, pairs=15)


def live_check(node: Node) -> Row:
    """Against the same list, read from podman's API over one open connection and not even decoded."""
    for number in range(CONTAINERS):
        node.podman("create", "--name", f"many-{number}", "localhost/mcp-demo:v1")
    with contextlib.closing(Client(node)) as client, contextlib.closing(_Rest(node)) as rest:
        row = compare(
            f"LiveCheck of {CONTAINERS} containers",
            "a bare REST call",
            1.15,
            lambda: timed(lambda: client.run(client.stub.live_check(v1.LiveCheckRequest(all=True)))),
            lambda: timed(rest.list),
            pairs=40,
        )
    node.podman("rm", "--all", "--force", "--time", "0")
    return row


class _Rest(http.client.HTTPConnection):
    """An open connection to podman's API."""

    def __init__(self, node: Node) -> None:
        super().__init__("podman")
        self._socket = str(node.folder / "run/podman.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._socket)

    def list(self) -> bytes:
        self.request("GET", "/v4.0.0/libpod/containers/json?all=true")
        return self.getresponse().read()


def unary(node: Node) -> list[Row]:
    """ListServices of an empty node, one call at a time and many at once: what a call costs that does nothing."""
    with contextlib.closing(Client(node)) as client, _plain_server(node, client) as port:
        plain = Client(node, port)

        def call(which: Client, at_once: int) -> Callable[[], float]:
            async def worker() -> None:
                for _ in range(CALLS // at_once):
                    await which.stub.list_services(v1.ListServicesRequest())

            async def all_of_them() -> None:
                await asyncio.gather(*(worker() for _ in range(at_once)))

            return lambda: timed(lambda: which.run(all_of_them())) / CALLS

        rows = [
            compare(f"unary RPC, {n} at once", "plain asyncio grpclib", 1.3, call(client, n), call(plain, n), pairs=9)
            for n in (1, AT_ONCE)
        ]
        plain.close()
    return rows


def whole_process(node: Node) -> list[Row]:
    """Whole programs, from their start to their end."""
    deploy_demo(node)
    host, port = address(node)
    mcpctl = str(Path(sys.executable).parent / "mcpctl")
    client = [sys.executable, str(Path(__file__).parent / "ten_lines.py"), host, str(port)]
    client += [str(node.folder / "certs/ca.pem"), str(node.folder / "admin.token")]
    nothing = [sys.executable, "-c", "pass"]

    def against(name: str, theirs: list[str], target: float | None, *words: str) -> Row:
        return compare(
            f"mcpctl {' '.join(words)}, whole process",
            name,
            target,
            lambda: timed(lambda: run([mcpctl, *words], env=node.environment)),
            lambda: timed(lambda: run(theirs, env=node.environment)),
            pairs=15,
        )

    rows = [against("ten-line client", client, 1.25, word) for word in ("ps", "list")]
    rows += [against("python -c pass", nothing, None, *words) for words in (("--help",), ("__complete", "status", ""))]
    node.clear()
    return rows


def deploy_demo(node: Node) -> None:
    component = '[[components]]\nname = "{}"\nimage = "localhost/mcp-demo:v1"\n'
    node.define("demo", 'name = "demo"\nnode = "NODE"\n' + component.format("web") + component.format("worker"))
    node.mcpctl("deploy", "demo")


@contextlib.contextmanager
def _plain_server(node: Node, client: Client) -> Iterator[int]:
    """A plain server that answers ListServices with what the node answers."""
    port = free_port()
    answer = client.loop.run_until_complete(client.stub.list_services(v1.ListServicesRequest()))
    certificate, key = node.folder / "certs/cert.pem", node.folder / "certs/key.pem"
    argv = [sys.executable, "-m", "tests.bench.plain", str(port), str(certificate), str(key)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(bytes(answer))
    process.stdin.close()
    try:
        until(lambda: accepts(port))
        yield port
    finally:
        process.kill()
        process.wait()


# What can be run by itself: `python -m tests.bench idle storm`. All of one node, in this order, and then the others.
ON_A_NODE: dict[str, Callable[[Node], list[Row] | list[Figure]]] = {
    "deploy": lambda node: [deploy_one(node)],
    "check": lambda node: [live_check(node)],
    "unary": unary,
    "process": whole_process,
    "many": lambda node: [changes.many(node)],
    "gap": lambda node: [changes.gap(node)],
    "log": lambda node: [logs.beside_a_log(node)],
    # Where the demo has the files of its services.
    "files": lambda node: files.both_ways(node, node.folder / "srv"),
    "images": images.images,
    "deaths": monitor.deaths,
    "heals": lambda node: [monitor.heals(node)],
    "storm": storm.storm,
    "unchanged": changes.unchanged,
    "idle": monitor.idle,
    "followers": followers.followers,
    "sessions": sessions.programs,
    "soak": soak.soak,
}
BY_THEMSELVES: dict[str, Callable[[], list[Row] | list[Figure]]] = {
    "fleet": lambda: [fleet.hundred()],
    "ledger": monitor.large_ledger,
    "thousand": thousand.thousand,
    "swap": swap.swaps,
}


def main(names: list[str]) -> None:
    """Measures what is named, or everything."""
    # What is installed is compiled; in a checkout, mcpctl would be, each time that it runs.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    known = [*ON_A_NODE, *BY_THEMSELVES]
    if unknown := set(names) - set(known):
        sys.exit(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted = names or known
    found: list[Row | Figure] = []
    if any(name in ON_A_NODE for name in wanted):
        with (
            tempfile.TemporaryDirectory(prefix="mcp-bench-") as folder,
            running(Node(Path(folder) / "node", "bench")) as node,
        ):
            for name, on_node in ON_A_NODE.items():
                if name in wanted:
                    found += on_node(node)
    for name, alone in BY_THEMSELVES.items():
        if name in wanted:
            found += alone()
    rows = [each for each in found if isinstance(each, Row)]
    figures = [each for each in found if isinstance(each, Figure)]
    show(rows, figures)
    OUTPUT.write_bytes(msgspec.json.format(msgspec.json.encode({"rows": rows, "figures": figures}), indent=2) + b"\n")
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
