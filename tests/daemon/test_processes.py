"""ListProcesses over real TLS: what podman lists is told, and only to an admin."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import grpc
import pytest
import trio

from mcpd.identity import tokens
from mcpd.model import Role
from protos.mcp import v1
from tests.support.calls import CALL_S, status_of

from .conftest import Daemon, copy_daemon, fill_registry, serving

LIST = "/mcp.v1.AgentService/ListProcesses"
COMPONENT = {"mcp.service": "web", "mcp.component": "api"}
RUN = {"mcp.run": "k3f9a2", "mcp.run-of": "web/api"}
ROW = ["1", "4711", "root", "0.5", "1024", "1m0.5s", "/bin/api --password hunter2"]


def listed(name: str, labels: dict[str, str]) -> dict[str, Any]:
    known = {"Id": name, "Names": [name], "Image": "x:v1", "ImageID": "sha256:0", "StartedAt": 1772366400}
    return {**known, "State": "running", "Labels": labels}


class _Podman(BaseHTTPRequestHandler):
    """Two containers: a component's, and one of a run."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].partition("/libpod")[2]
        if path == "/containers/json":
            runs = [listed("web-api-run", RUN)]
            self._send([listed("web-api", COMPONENT)] + ([] if "mcp.service" in self.path else runs))
        elif path.endswith("/top"):
            self._send({"Processes": [ROW] if path == "/containers/web-api/top" else None})
        elif path == "/_ping":
            self._send("OK")
        else:
            self.send_error(404)

    def _send(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Libpod-API-Version", "4.3.1")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "mcpd"

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def listing(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = copy_daemon(template, tmp_path_factory.mktemp("processes") / "node")
    trio.run(fill_registry, made.folder)
    with socketserver.ThreadingUnixStreamServer(str(made.podman_socket), _Podman) as podman:
        thread = threading.Thread(target=podman.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with serving(made):
                yield made
        finally:
            podman.shutdown()
            thread.join()


def ask(daemon: Daemon, **request: str) -> v1.ListProcessesResponse:
    with daemon.channel() as channel:
        call = channel.unary_unary(LIST, None, v1.ListProcessesResponse.FromString)
        answer: v1.ListProcessesResponse = call(
            bytes(v1.ListProcessesRequest(**request)), metadata=daemon.bearer(), timeout=CALL_S
        )
    return answer


def test_components_and_runs_are_listed_with_their_processes(listing: Daemon) -> None:
    answer = ask(listing, service="web")
    assert answer.node == "n1"
    api, run, db = answer.components
    (process,) = api.processes
    assert (api.component, api.container, api.run, api.message) == ("api", "web-api", "", "")
    assert (process.pid, process.host_pid, process.user, process.resident_bytes) == (1, 4711, "root", 1 << 20)
    assert (process.elapsed.total_seconds(), process.command) == (60.5, ROW[-1])
    assert (run.component, run.run, run.message) == ("api", "k3f9a2", "it has just ended")
    assert (db.component, db.message) == ("db", "it has no container")
    assert [each.component for each in ask(listing, service="web", component="db").components] == ["db"]
    assert [each.service for each in ask(listing).components] == ["board", "web", "web", "web"]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"service": "nope"}, grpc.StatusCode.NOT_FOUND, "nope is not known on n1"),
        ({"service": "web", "component": "nope"}, grpc.StatusCode.NOT_FOUND, "web/nope is not known on n1"),
        ({"component": "api"}, grpc.StatusCode.INVALID_ARGUMENT, "'' is not the name of a service"),
        ({"service": "../x"}, grpc.StatusCode.INVALID_ARGUMENT, "is not the name of a service"),
    ],
)
def test_what_is_not_there_is_refused(
    listing: Daemon, request_: dict[str, str], code: grpc.StatusCode, words: str
) -> None:
    with listing.channel() as channel:
        found = status_of(channel, LIST, listing.bearer(), bytes(v1.ListProcessesRequest(**request_)))
    assert found[0] is code
    assert words in found[1]


def test_a_viewer_may_not_see_arguments_and_no_log_has_them(listing: Daemon) -> None:
    viewer = tokens.add(listing.folder / "tokens.json", "looker", Role.VIEWER, datetime.now(UTC))
    with listing.channel() as channel:
        assert status_of(channel, LIST, listing.bearer(viewer))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert ask(listing).components
    assert "hunter2" not in listing.log
    assert "ListProcesses" in listing.log
