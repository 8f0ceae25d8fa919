"""A thousand components in one mcpd, beside a podman that only pretends to have them: what mcpd itself costs.

Run as a program this is that podman: SOCKET.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from protos.mcp import v1
from protos.spec import Component, Service
from tests.bench.client import Client
from tests.bench.harness import Figure, figure, timed
from tests.bench.monitor import cpu_seconds, idle_figures
from tests.daemon.conftest import NODE, Daemon, make_daemon
from tests.support.waiting import until

SERVICES = 50
COMPONENTS = 20
_IMAGE = "localhost/x:v1"
# Of the process that all of them run as.
_STARTED = datetime.now(UTC)
_DEPLOYS = 15
_STATUSES = 15
# Often enough to be measured, within a window of seconds.
_RESYNC_S = 2.0
_RESYNC_WINDOW_S = 20.0
_ID = "0" * 52


def thousand() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="mcp-bench-") as folder:
        daemon = make_daemon(Path(folder, "node"))
        trio.run(_declare, daemon)
        with _podman(daemon.podman_socket):
            return [*_measured(daemon), _resync(daemon)]


def _measured(daemon: Daemon) -> list[Figure]:
    what = f"{SERVICES * COMPONENTS:,} components"
    daemon.edit('resync_interval = "1d"', 'resync_interval = "60s"')
    with _running(daemon), closing(Client(daemon)) as client:
        seen = timed(lambda: _until_all_are_seen(client))
        component = v1.ComponentSpec(name="web", image=_IMAGE)
        spec = v1.ServiceSpec(name="one", node=NODE, components=[component])

        async def deploy() -> None:
            async for _ in client.stub.deploy(v1.DeployRequest(service=spec)):
                pass

        def status() -> None:
            client.run(client.stub.get_status(v1.GetStatusRequest()))

        deploys = []
        for _ in range(_DEPLOYS):
            deploys.append(1000 * timed(lambda: client.run(deploy())))
            client.run(client.stub.undeploy_service(v1.UndeployServiceRequest(service="one")))
        statuses = [1000 * timed(status) for _ in range(_STATUSES)]
        return [
            figure(f"{what}: all of them seen by an mcpd that knew none", [seen], "s", None),
            figure(f"{what}: deploy of one more", deploys, "ms", None),
            figure(f"{what}: GetStatus", statuses, "ms", None),
            *idle_figures(_pid(daemon), f"{what}, idle", None, None),
        ]


def _resync(daemon: Daemon) -> Figure:
    """A resync's share of a core, by its interval."""
    daemon.edit('resync_interval = "60s"', f'resync_interval = "{_RESYNC_S:g}s"')
    with _running(daemon), closing(Client(daemon)) as client:
        _until_all_are_seen(client)
        shares = []
        for _ in range(2):
            before, start = cpu_seconds(_pid(daemon)), time.monotonic()
            time.sleep(_RESYNC_WINDOW_S)  # in which nothing else happens
            shares.append((cpu_seconds(_pid(daemon)) - before) / (time.monotonic() - start))
    costs = [1000 * share * _RESYNC_S for share in shares]
    return figure(f"{SERVICES * COMPONENTS:,} components: a resync", costs, "ms of a core", None)


def _until_all_are_seen(client: Client) -> None:
    def are_seen() -> bool:
        answer = client.loop.run_until_complete(client.stub.get_status(v1.GetStatusRequest()))
        found = [each for service in answer.services for each in service.components]
        return len(found) >= SERVICES * COMPONENTS and all(each.observed is v1.ObservedState.RUNNING for each in found)

    until(are_seen, "every component is seen to run", within=120)


async def _declare(daemon: Daemon) -> None:
    async with Registry.open(daemon.folder / "mcp.db") as registry:
        for service in _services():
            hashes = {each.name: spec_hash(each) for each in service.components}
            await registry.put_service(service, hashes, _STARTED)


def _services() -> Iterator[Service]:
    for number in range(SERVICES):
        yield Service(f"s{number}", NODE, tuple(Component(f"c{each}", _IMAGE) for each in range(COMPONENTS)))


def _pid(daemon: Daemon) -> int:
    assert daemon.process
    return daemon.process.pid


@contextlib.contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    daemon.start()
    try:
        until(lambda: "listening" in daemon.log)
        yield
    finally:
        daemon.stop()


@contextlib.contextmanager
def _podman(socket: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.thousand", str(socket)])
    try:
        until(socket.exists)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


# -- the podman that pretends


class Pretended(socketserver.ThreadingUnixStreamServer):
    """podman's API for containers that all run as the same process: this one."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.containers: dict[str, dict[str, Any]] = {}
        for service in _services():
            for component in service.components:
                name = service.container(component.name)
                labels = {"mcp.service": service.name, "mcp.component": component.name, "mcp.node": NODE}
                self.add(name, labels | {"mcp.spec-hash": spec_hash(component)})
                self.containers[name]["state"] = "running"

    def add(self, name: str, labels: dict[str, str]) -> str:
        number = f"{len(self.containers):012x}{_ID}"
        self.containers[name] = {"id": number, "name": name, "labels": labels, "state": "created"}
        return number

    def found(self, name: str) -> dict[str, Any] | None:
        return self.containers.get(name) or next(
            (each for each in self.containers.values() if each["id"] == name), None
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pretended

    def do_GET(self) -> None:
        path, query = self._asked()
        words = path.strip("/").split("/")
        if path == "/events":
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self.connection.recv(1)  # until mcpd leaves
        elif path == "/_ping":
            self._answer(200, "OK")
        elif path == "/containers/json":
            filters = json.loads(query.get("filters", ["{}"])[0])
            self._answer(
                200, [_listed(each) for each in list(self.server.containers.values()) if _matches(each, filters)]
            )
        elif words[0] == "containers" and (found := self.server.found(words[1])):
            self._answer(200, _inspected(found))
        elif words[0] == "images":
            self._answer(200, {"Id": "1" * 64, "Os": "linux", "Architecture": "amd64", "Config": {}})
        elif words[0] == "networks":
            self._answer(200, {"name": words[1], "labels": {}})
        else:
            self._answer(404, {"message": f"no {path} here"})

    def do_POST(self) -> None:
        path, _ = self._asked()
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        words = path.strip("/").split("/")
        if path == "/containers/create":
            self._answer(201, {"Id": self.server.add(body["name"], body.get("labels") or {})})
        elif found := self.server.found(words[1]):
            found["state"] = {"start": "running", "stop": "exited"}.get(words[2], found["state"])
            self._answer(204, None)
        else:
            self._answer(404, {"message": f"no {path} here"})

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        if found := self.server.found(path.strip("/").split("/")[1]):
            del self.server.containers[found["name"]]
        self._answer(200, [])

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path.partition("/libpod")[2], parse_qs(parts.query)

    def _answer(self, status: int, answer: Any) -> None:
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Libpod-API-Version", "5.4.2")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "mcpd"

    def log_message(self, *args: Any) -> None:
        pass


def _matches(container: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    labels = [f"{key}={value}" for key, value in container["labels"].items()]
    names = [f"^{container['name']}$"]
    return all(
        not asked or any(each in here for each in asked)
        for asked, here in ((filters.get("label"), labels), (filters.get("name"), names))
    )


def _listed(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "Id": container["id"],
        "Names": [container["name"]],
        "Image": _IMAGE,
        "ImageID": "1" * 64,
        "State": container["state"],
        "StartedAt": int(_STARTED.timestamp()) if container["state"] == "running" else -62135596800,
        "Labels": container["labels"],
        "Pid": os.getpid(),
    }


def _inspected(container: dict[str, Any]) -> dict[str, Any]:
    runs = container["state"] == "running"
    return {
        "Id": container["id"],
        "Name": container["name"],
        "Image": "1" * 64,
        "ImageName": _IMAGE,
        "State": {
            "Status": container["state"],
            "StartedAt": _STARTED.isoformat() if runs else "0001-01-01T00:00:00Z",
            "Pid": os.getpid() if runs else 0,
            "ConmonPid": os.getpid() if runs else 0,
        },
        "Config": {"Labels": container["labels"]},
    }


if __name__ == "__main__":
    Pretended(sys.argv[1]).serve_forever()
