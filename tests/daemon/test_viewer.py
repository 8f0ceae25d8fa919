"""What a viewer is not told, over real TLS: what programs printed, and hashes by which values can be guessed.

The registry is one of yesterday: its sentences were kept before anybody thought of viewers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
import trio
from grpclib.const import Cardinality

from mcpd.identity import tokens
from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.model import Role
from protos.fingerprint import spec_hash
from protos.mcp import v1
from protos.spec import Component
from tests.support.calls import CALL_S, CONTRACT, ENDLESS_S

from .conftest import Daemon, copy_daemon, fill_registry, serving

PRINTED = "hunter2-was-printed"
PROBE = f"/bin/check exited 1: {PRINTED} exited 0: {PRINTED}"
BYE = f"everything is {PRINTED} as it was before"
SENTENCES = (
    PROBE,
    f"unhealthy: {PROBE}",
    f"3 times down within 4m; last: unhealthy: {PROBE}, 2nd time in 1m",
    f"http://127.0.0.1:80/: illegal status line: bytearray(b'{PRINTED}')",
    f"http://127.0.0.1:80/: no HTTP; it said: illegal status line: {PRINTED}",
    f"deploy of web: api failed at verify: exited 3 right after its start; it printed last:\n    {PRINTED}; {BYE}",
    f"deploy of web: api failed at verify: it runs, but is not healthy: {PROBE}; it printed last:\n    x; {BYE}",
)
HASH = spec_hash(Component("api", "registry.example.net:5000/web/api:v1.7.0", ports=("127.0.0.1:8080:80",)))
REQUESTS = {
    "GetStatus": v1.GetStatusRequest(events=100),
    "WatchEvents": v1.WatchEventsRequest(after_id=1),
    "LiveCheck": v1.LiveCheckRequest(all=True),
    "ListFiles": v1.ListFilesRequest(service="web"),
    "Plan": v1.PlanRequest(
        service=v1.ServiceSpec(name="web", node="n1", components=[v1.ComponentSpec(name="api", image="x")])
    ),
}
VIEWED = [path for path in CONTRACT if REQUIRED_ROLE[path] is Role.VIEWER]


def plant(database: Path) -> None:
    """What an older mcpd has kept: events, alerts and operations that quote programs."""
    with closing(sqlite3.connect(database)) as db:
        at = 1_772_366_400_000_000
        for number, sentence in enumerate(SENTENCES):
            headline = sentence.partition("\n")[0]
            db.execute(
                "INSERT INTO events (at, service, component, kind, message, caller) "
                "VALUES (?, 'web', 'api', 'unhealthy', ?, '')",
                (at + number, sentence),
            )
            db.execute(
                "INSERT INTO alerts (service, component, kind, desired, observed, reason, since, transitions, "
                "opened_at, delivery, suppressed_by, exit_status, output) "
                "VALUES ('web', 'api', 'drift', 'running', 'unhealthy', ?, ?, 1, ?, 'sent', '', 3, ?)",
                (headline, at, at, f"exited 3\n{PRINTED}\n{PRINTED}"),
            )
            db.execute(
                "INSERT INTO operations (service, component, kind, caller, started_at, ended_at, state, message) "
                "VALUES ('web', '', 'deploy', 'admin', ?, ?, 'reverted', ?)",
                (at, at, sentence),
            )
        db.commit()


@pytest.fixture(scope="module")
def full(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = copy_daemon(template, tmp_path_factory.mktemp("viewed") / "node")
    trio.run(fill_registry, made.folder)
    plant(made.folder / "mcp.db")
    with serving(made):
        yield made


@pytest.fixture(scope="module")
def viewer(full: Daemon) -> str:
    return tokens.add(full.folder / "tokens.json", "looker", Role.VIEWER, datetime.now(UTC))


def answer(daemon: Daemon, path: str, token: str) -> bytes:
    """All that comes, a refusal's sentence included."""
    request = bytes(REQUESTS.get(path.rpartition("/")[2], b""))
    metadata = daemon.bearer(token)
    came = b""
    with daemon.channel() as channel:
        try:
            if CONTRACT[path].cardinality is Cardinality.UNARY_UNARY:
                return bytes(channel.unary_unary(path)(request, metadata=metadata, timeout=CALL_S))
            for each in channel.unary_stream(path)(request, metadata=metadata, timeout=ENDLESS_S):
                came += each
        except grpc.RpcError as error:
            came += (error.details() or "").encode()
    return came


@pytest.mark.parametrize("path", VIEWED, ids=lambda path: path.rpartition("/")[2])
def test_no_answer_to_a_viewer_has_what_a_program_printed_or_a_hash(full: Daemon, viewer: str, path: str) -> None:
    found = answer(full, path, viewer)
    assert PRINTED.encode() not in found
    assert HASH.encode() not in found


@pytest.mark.parametrize("name", ["ListEvents", "WatchEvents", "GetStatus", "ListAlerts", "ListOperations"])
def test_an_admin_is_told_and_a_viewer_that_there_is_something(full: Daemon, viewer: str, name: str) -> None:
    path = f"/mcp.v1.AgentService/{name}"
    assert PRINTED.encode() in answer(full, path, full.admin_token)
    found = answer(full, path, viewer)
    assert b"/bin/check exited 1 (what it printed is for admins)" in found


def test_an_admin_gets_the_hashes(full: Daemon) -> None:
    for name in ("ListServices", "GetStatus"):
        assert HASH.encode() in answer(full, f"/mcp.v1.AgentService/{name}", full.admin_token)


def test_a_viewer_sees_how_an_alerts_command_ended(full: Daemon, viewer: str) -> None:
    found = v1.ListAlertsResponse().parse(answer(full, "/mcp.v1.AgentService/ListAlerts", viewer))
    assert {(each.output_tail, each.exit_status) for each in found.alerts} == {("exited 3", 3)}
