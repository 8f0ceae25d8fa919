"""What is counted, what is read when Prometheus asks, and who may ask how."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from mcpd import __version__
from mcpd.changes.jobs.keeper import JobStatus
from mcpd.changes.operations import Operation, Operations
from mcpd.config.settings import Sessions
from mcpd.errors import RegistryError
from mcpd.metrics import endpoint
from mcpd.metrics.counts import BUCKETS, Counts, Durations, kind_of
from mcpd.metrics.endpoint import MAX_CONNECTIONS, MAX_REQUEST_BYTES, Endpoint
from mcpd.metrics.scrape import Scrape, states
from mcpd.model import OURSELVES
from mcpd.model import Target as What
from mcpd.node.disk_space import Room
from mcpd.registry.audit import AuditEntry
from mcpd.registry.jobs import Account, RunState
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.sessions.places import Places
from monitor.alerts.dispatch import Dispatcher
from monitor.model import AlertKind, Delivery, Execution, Known, Observed, SourceState
from monitor.ports import NewAlert, Target
from monitor.watch import Monitor, Settings
from protos.fingerprint import spec_hash
from tests.support.builders import NOW, component, recorded, recorded_service, service
from tests.support.idle_node import Late
from tests.support.routes import no_proxy
from tests.support.waiting import DEADLINE_S, free_port

HOST = "127.0.0.1"
# Of samples: name and labels, as `mcp_component_up{component="api",service="web"}`.
Samples = dict[str, float]


def parsed(text: bytes) -> Samples:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


async def eventually(condition: Callable[[], bool]) -> None:
    """The caller has a deadline."""
    while True:
        if condition():
            return
        await trio.sleep(0.01)


# -- what is counted


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/_ping", "GET _ping"),
        ("GET", "/containers/json", "GET containers/json"),
        ("GET", "/containers/web-api/json", "GET containers/*/json"),
        ("POST", "/containers/create", "POST containers/create"),
        ("DELETE", "/containers/web-api", "DELETE containers/*"),
        ("DELETE", "/images/registry.example.net:5000/team/app:v1", "DELETE images/*"),
        ("GET", "/images/registry.example.net:5000/team/app:v1/exists", "GET images/*/exists"),
        ("POST", "/images/pull", "POST images/pull"),
        ("POST", "/exec/4711/start", "POST exec/*/start"),
    ],
)
def test_a_kind_of_call_has_no_name_of_the_operators(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind


def test_each_bucket_has_all_that_took_no_longer() -> None:
    durations = Durations()
    for seconds in (0.001, 0.002, 400.0):
        durations.add(seconds)
    found = durations.buckets()
    assert [bound for bound, _ in found] == [*map(str, BUCKETS), "+Inf"]
    assert (found[0][1], found[1][1], found[-2][1], found[-1][1]) == (1, 2, 2, 3)
    assert durations.sum == pytest.approx(400.003)


def call(method: str, status: str = "OK", seconds: float = 0.02) -> AuditEntry:
    return AuditEntry(NOW, method, "kyle", "admin", "10.0.0.7:1", "web", status, timedelta(seconds=seconds))


# -- what is read

MEASURES = ("up", "desired_running", "drift")


class Sight:
    """A node of which everything is set by the test, with a real registry and real operations."""

    def __init__(self, registry: Registry, nursery: trio.Nursery, database: Path) -> None:
        ok = SourceState("podman", True, "", NOW)
        self.registry = registry
        self.counts = Counts()
        self.places = Places(Sessions())
        self.pushes: Any = SimpleNamespace(open=1, received=7 * 2**20, ended={"done": 2, "failed": 0, "cancelled": 1})
        self.ledger = MonitorLedger(registry, "rift")
        self.operations = Operations(nursery, Journal(registry))
        self.link = SimpleNamespace(state=ok)
        self.monitor = SimpleNamespace(
            known={}, transitions={}, queue_length=7, sources=(msgspec.structs.replace(ok, name="events"),)
        )
        # What is known of jobs.
        self.statuses: list[JobStatus] = []
        self.jobs: Any = SimpleNamespace(statuses=self._statuses, runs=SimpleNamespace(ended={}))
        rooms = (Room("/var", ("the database",), 30, 100),)

        async def look() -> tuple[Room, ...]:
            return rooms

        stubs: list[Any] = [self.link, SimpleNamespace(look=look)]
        watching: Any = self.monitor
        self.scrape = Scrape(
            *("rift", self.counts, self.places, self.pushes, registry, self.ledger, watching, self.operations),
            *(*stubs, no_proxy(registry, None), self.jobs, database, lambda: NOW),
        )

    async def _statuses(self, *, runs: int) -> list[JobStatus]:
        assert runs == 0
        await trio.lowlevel.checkpoint()
        return self.statuses

    async def samples(self) -> Samples:
        return parsed(await self.scrape.text())

    async def declare(self, *names: str) -> None:
        made = service(*(component(name, env={"PASSWORD": "planted"}) for name in names))
        await self.registry.put_service(made, {each.name: spec_hash(each) for each in made.components}, NOW)


@pytest.fixture
async def sight(tmp_path: Path) -> AsyncIterator[Sight]:
    path = tmp_path / "mcp.db"
    async with Registry.open(path) as registry, trio.open_nursery() as nursery:
        yield Sight(registry, nursery, path)
        nursery.cancel_scope.cancel()


async def test_jobs_are_told_with_how_they_ended_and_are_due(sight: Sight) -> None:
    job = component("job", schedule="0 2 * * *")
    await sight.registry.put_service(service(job), {"job": spec_hash(job)}, NOW)
    (declared,) = (await sight.registry.services())[0].components
    account = Account("web", "job", "0 2 * * *", "UTC", NOW, "job failed: exited 1", NOW - timedelta(days=1), 2.5)
    sight.statuses = [JobStatus(declared, account, NOW + timedelta(hours=1), None, ())]
    sight.jobs.runs.ended = {(("web", "job"), RunState.FAILED): 3}
    found = await sight.samples()
    labels = 'component="job",service="web"'
    for name, value in (
        ("running", 0.0),
        ("failing", 1.0),
        ("last_success_timestamp_seconds", (NOW - timedelta(days=1)).timestamp()),
        ("last_duration_seconds", 2.5),
        ("next_run_timestamp_seconds", (NOW + timedelta(hours=1)).timestamp()),
    ):
        assert found[f"mcp_job_{name}{{{labels}}}"] == value, name
    ended = {name: value for name, value in found.items() if name.startswith("mcp_job_runs_total")}
    assert len(ended) == len(RunState) - 1
    assert {name for name, value in ended.items() if value} == {
        'mcp_job_runs_total{component="job",result="failed",service="web"}'
    }
    # One that never ran, and is stopped, has no such times.
    sight.statuses = [JobStatus(declared, None, None, None, ())]
    names = {name.partition("{")[0] for name in await sight.samples() if name.startswith("mcp_job_")}
    assert names == {"mcp_job_running", "mcp_job_failing", "mcp_job_runs_total"}


def known(name: str = "api", state: Observed = Observed.RUNNING, **changes: Any) -> Known:
    made = Known(f"c-{name}", f"web-{name}", "web", name, state, NOW, NOW, 1)
    return msgspec.structs.replace(made, **changes)


async def test_components_are_told_as_the_monitor_knows_them_now(sight: Sight) -> None:
    await sight.declare("api", "db")
    api, db = known("api"), known("db", Observed.EXITED, exit_code=1)
    sight.monitor.known = {each.container: each for each in (api, db)}
    sight.monitor.transitions = {("web", "db"): 2, ("gone", "long"): 5}
    found = {key: value for key, value in (await sight.samples()).items() if key.startswith("mcp_component")}
    assert found == {
        'mcp_component_up{component="api",service="web"}': 1,
        'mcp_component_up{component="db",service="web"}': 0,
        'mcp_component_desired_running{component="api",service="web"}': 1,
        'mcp_component_desired_running{component="db",service="web"}': 1,
        'mcp_component_state{component="api",service="web",state="running"}': 1,
        'mcp_component_state{component="db",service="web",state="exited"}': 1,
        'mcp_component_drift{component="api",service="web"}': 0,
        'mcp_component_drift{component="db",service="web"}': 1,
        'mcp_component_transitions_total{component="api",service="web"}': 0,
        'mcp_component_transitions_total{component="db",service="web"}': 2,
    }


@pytest.mark.parametrize(("code", "drifts"), [(0, 0), (1, 1)])
async def test_what_runs_to_its_end_is_down_afterwards_and_drifts_only_if_it_failed(
    sight: Sight, code: int, drifts: int
) -> None:
    job = component("job", oneshot=True)
    await sight.registry.put_service(service(job), {"job": spec_hash(job)}, NOW)
    sight.monitor.known = {"c-job": known("job", Observed.EXITED, exit_code=code)}
    found = await sight.samples()
    told = {name: found[f'mcp_component_{name}{{component="job",service="web"}}'] for name in MEASURES}
    # A rule that compares the first two is quiet.
    assert told == {"up": 0, "desired_running": 0, "drift": drifts}


async def test_the_series_of_a_component_that_is_forgotten_are_gone(sight: Sight) -> None:
    await sight.declare("api", "db")
    before = [key for key in await sight.samples() if '"db"' in key]
    await sight.registry.forget("web", ["db"], NOW)
    found = await sight.samples()
    assert len(before) == 5
    assert not [key for key in found if '"db"' in key]
    assert [key for key in found if '"api"' in key]


def test_of_several_containers_the_one_counts_that_is_there_and_has_the_proper_name() -> None:
    clone = known(name="api", container="clone", state=Observed.EXITED)
    clone = msgspec.structs.replace(clone, name="clone", order=9)
    removed = known(container="old", state=Observed.REMOVED, order=5)
    for found in ([removed, known(), clone], [clone, known(), removed]):
        ((_, seen),) = states([recorded_service(recorded())], found)
        assert seen.state is Observed.RUNNING
    ((_, seen),) = states([recorded_service(recorded(observed=Observed.UNKNOWN))], [clone])
    assert seen.state is Observed.UNKNOWN


async def test_the_node_is_told_with_its_version_disks_database_and_work(sight: Sight) -> None:
    end = trio.Event()

    async def body(_: Operation) -> None:
        await end.wait()

    await sight.operations.start("deploy", What("web"), OURSELVES, body)
    found = await sight.samples()
    assert found[f'mcp_build_info{{node="rift",version="{__version__}"}}'] == 1
    assert found["mcp_operations_running"] == 1
    assert found["mcp_reducer_queue_length"] == 7
    assert (found["mcp_podman_up"], found['mcp_source_up{source="events"}']) == (1, 1)
    assert found['mcp_disk_free_bytes{path="/var"}'] == 30
    assert found['mcp_disk_total_bytes{path="/var"}'] == 100
    assert found["mcp_database_bytes"] > 4096
    assert found["mcp_certificate_expiry_timestamp_seconds"] == NOW.timestamp()
    assert found["process_resident_memory_bytes"] > 0
    end.set()


async def test_alerts_are_counted_by_kind_and_by_how_they_ended(sight: Sight) -> None:
    def new(kind: AlertKind, name: str, suppressed_by: str = "") -> NewAlert:
        return NewAlert("web", name, kind, "running", "exited", "exited 1", NOW, 0, suppressed_by)

    drift, flap, quiet = AlertKind.DRIFT, AlertKind.FLAP, new(AlertKind.DRIFT, "c", "silence 1")
    first, second = await sight.ledger.record((), (), [new(drift, "a"), new(flap, "b"), quiet], NOW)
    before = await sight.samples()
    failed = Execution(1, "exited 1")
    for _ in range(2):
        await sight.ledger.record_attempt(first.id, failed, Delivery.PENDING, NOW)
    await sight.ledger.record_attempt(first.id, failed, Delivery.FAILED, NOW)
    await sight.ledger.record_attempt(second.id, Execution(0, "exited 0"), Delivery.SENT, NOW)
    assert sum(sight.ledger.outcomes.values()) == 3
    after = await sight.samples()
    assert (before["mcp_alerts_pending"], after["mcp_alerts_pending"]) == (2, 0)
    await sight.ledger.silence("web", "b", datetime.now(UTC) + timedelta(hours=1), "moving", "ops")
    hushed = await sight.samples()
    assert [hushed[f'mcp_alerts_silenced{{kind="{kind}"}}'] for kind in ("drift", "flap", "disk")] == [0, 1, 0]
    assert hushed['mcp_alerts_open{kind="flap"}'] == 1
    assert (after['mcp_alerts_open{kind="drift"}'], after['mcp_alerts_open{kind="flap"}']) == (2, 1)
    ended = {key: value for key, value in after.items() if key.startswith("mcp_alerts_total") and value}
    assert ended == {
        'mcp_alerts_total{kind="drift",outcome="failed"}': 1,
        'mcp_alerts_total{kind="drift",outcome="suppressed"}': 1,
        'mcp_alerts_total{kind="flap",outcome="sent"}': 1,
    }
    assert before['mcp_alerts_total{kind="flap",outcome="sent"}'] == 0


async def test_calls_are_counted_and_timed_but_for_those_without_end(sight: Sight) -> None:
    for each in (call("Deploy"), call("Deploy", "ABORTED", 2.0), call("WatchEvents", seconds=3600)):
        sight.counts.called(each)
    sight.counts.asked("GET", "/containers/web-api/json", 0.004, True)
    sight.counts.asked("GET", "/containers/web-db/json", 5.0, False)
    found = await sight.samples()
    assert found['mcp_rpc_requests_total{method="Deploy",status="ABORTED"}'] == 1
    assert found['mcp_rpc_requests_total{method="WatchEvents",status="OK"}'] == 1
    assert found['mcp_rpc_duration_seconds_count{method="Deploy"}'] == 2
    assert found['mcp_rpc_duration_seconds_bucket{le="0.025",method="Deploy"}'] == 1
    assert 'mcp_rpc_duration_seconds_count{method="WatchEvents"}' not in found
    assert found['mcp_podman_request_duration_seconds_count{call="GET containers/*/json"}'] == 2
    assert found["mcp_podman_unanswered_total"] == 1


async def test_nothing_of_an_environment_is_in_it(sight: Sight) -> None:
    await sight.declare("api")
    assert b"planted" not in await sight.scrape.text()


async def test_while_the_registry_cannot_be_read_the_rest_is_told(
    sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sight.declare("api")

    async def standing(_: datetime) -> None:
        raise RegistryError("disk I/O error")

    monkeypatch.setattr(sight.ledger, "standing", standing)
    found = await sight.samples()
    assert found["mcp_podman_up"] == 1
    assert "mcp_alerts_pending" not in found


# -- over HTTP


class Server:
    """An endpoint on loopback, and a client of bytes."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer: Callable[[], Awaitable[bytes]] = self.text
        self.endpoint = Endpoint((HOST, self.port), self._text)

    async def text(self) -> bytes:
        return b"mcp_up 1\n"

    async def _text(self) -> bytes:
        return await self.answer()

    async def connect(self) -> trio.SocketStream:
        while True:
            try:
                return await trio.open_tcp_stream(HOST, self.port)
            except OSError:
                await trio.sleep(0.01)

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """The answer's status, headers and body; the connection ends with it."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            answer = await received(stream)
        headers, _, body = answer.partition(b"\r\n\r\n")
        return int(headers.split()[1]), headers, body


async def received(stream: trio.SocketStream) -> bytes:
    return b"".join([part async for part in stream])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.endpoint.run)
            yield made
            nursery.cancel_scope.cancel()


async def test_metrics_are_a_plain_get(server: Server) -> None:
    status, headers, body = await server.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n")
    assert (status, body) == (200, b"mcp_up 1\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in headers
    assert b"Connection: close" in headers


async def test_head_is_told_the_length_alone(server: Server) -> None:
    status, headers, body = await server.ask(b"HEAD /metrics?name=x HTTP/1.1\r\nHost: rift\r\n\r\n")
    assert (status, body) == (200, b"")
    assert b"Content-Length: 9" in headers


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: rift\r\n\r\n", 404),
        (b"GET /metrics/../secret HTTP/1.1\r\nHost: rift\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: rift\r\nContent-Length: 1000000000\r\n\r\nx", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: rift\r\nX: " + b"x" * 3 * MAX_REQUEST_BYTES, 431),
    ],
)
async def test_anything_else_is_refused(server: Server, request_: bytes, status: int) -> None:
    assert (await server.ask(request_))[0] == status


async def test_a_bug_in_what_only_looks_is_an_answer_and_the_log_has_it(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken() -> bytes:
        raise ZeroDivisionError

    server.answer = broken
    status, _, body = await server.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n")
    assert (status, b"bug" in body) == (500, True)
    assert "metrics could not be collected" in capsys.readouterr().out
    server.answer = server.text
    assert (await server.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n"))[0] == 200


async def test_who_says_nothing_is_let_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "DEADLINE_S", 0.05)
    async with await server.connect() as stream:
        await stream.send_all(b"GET /metrics HTT")
        with contextlib.suppress(trio.BrokenResourceError):
            assert await received(stream) == b""


async def test_those_who_hold_every_place_keep_nobody_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "DEADLINE_S", 10 * DEADLINE_S)
    silent = [await server.connect() for _ in range(2 * MAX_CONNECTIONS)]
    try:
        assert (await server.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n"))[0] == 200
        for stream in silent[:MAX_CONNECTIONS]:
            assert await received(stream) == b""
    finally:
        for stream in silent:
            await stream.aclose()


async def test_an_address_that_is_taken_is_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_BIND_RETRY_S", 0.01)
    listen, attempts = trio.open_tcp_listeners, []

    async def listening(*where: Any, **how: Any) -> list[trio.SocketListener]:
        attempts.append(where)
        return await listen(*where, **how)

    monkeypatch.setattr(trio, "open_tcp_listeners", listening)
    made = Server()
    with socket.socket() as other, trio.fail_after(DEADLINE_S):
        other.bind((HOST, made.port))
        other.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.endpoint.run)
            await eventually(lambda: len(attempts) > 3)
            other.close()
            assert (await made.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n"))[0] == 200
            nursery.cancel_scope.cancel()
    assert capsys.readouterr().out.count("metrics are waiting for their address") == 1


async def test_a_client_that_is_gone_before_its_answer_ends_nobody(server: Server) -> None:
    gone, go_on = trio.Event(), trio.Event()

    async def large() -> bytes:
        gone.set()
        await go_on.wait()
        return b"x" * 2**24

    server.answer = large
    stream = await server.connect()
    await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n")
    await gone.wait()
    await stream.aclose()
    go_on.set()
    server.answer = server.text
    assert (await server.ask(b"GET /metrics HTTP/1.1\r\nHost: rift\r\n\r\n"))[0] == 200


# -- what the monitor counts


class Forgotten(Late):
    """The same, until nobody declares it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.end = trio.Event()

    async def targets(self) -> Sequence[Target]:
        return () if self.end.is_set() else await super().targets()

    async def changed(self) -> None:
        await self.end.wait()
        await trio.sleep(0.01)


async def test_changes_of_state_are_counted_for_as_long_as_somebody_declares_the_component(
    registry: Registry, nursery: trio.Nursery
) -> None:
    ledger, late = MonitorLedger(registry, "n1"), Forgotten()
    dispatcher = Dispatcher(ledger, lambda: ("/bin/true",), 10.0)
    monitor = Monitor("n1", late, late, ledger, dispatcher, Settings())
    await nursery.start(monitor.run)
    with trio.fail_after(DEADLINE_S):
        await eventually(lambda: monitor.transitions == {("web", "web"): 2})
        late.end.set()
        await eventually(lambda: not monitor.transitions)
    assert monitor.queue_length == 0


async def test_pushes_of_images_are_counted(sight: Sight) -> None:
    samples = await sight.samples()
    assert samples["mcp_image_pushes_open"] == 1
    assert samples["mcp_image_push_received_bytes_total"] == 7 * 2**20
    ended = {
        result: samples[f'mcp_image_pushes_total{{result="{result}"}}'] for result in ("done", "failed", "cancelled")
    }
    assert ended == {"done": 2, "failed": 0, "cancelled": 1}
