"""A registry of any earlier version, opened by today's code; and mcpctl and mcpd that are a version apart."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl import __version__
from mcpd.errors import RegistryError
from mcpd.model import RecordedService
from mcpd.registry import schema
from mcpd.registry.adoptions import Adoptions
from mcpd.registry.audit import AuditLog
from mcpd.registry.job_ledger import JobLedger
from mcpd.registry.jobs import RunState
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.model import Desired, Observed
from protos.mcp import v1
from tests.fixtures.registry import make
from tests.support.agent import WEB, Node, Run

FIXTURES = Path(make.__file__).parent
VERSIONS = range(1, schema.VERSION + 1)
KILLS = 12


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture
def database(version: int, tmp_path: Path) -> Path:
    """A copy of what the code of ``version`` wrote."""
    return Path(shutil.copyfile(FIXTURES / f"v{version}.db", tmp_path / "mcp.db"))


def version_of(database: Path) -> int:
    with closing(sqlite3.connect(database)) as db:
        (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def schema_of(database: Path) -> set[tuple[str, str, str]]:
    """Every table and index, as columns and as words; not in whose order they came, nor how they are set."""
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchone() is None
        rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return {(kind, name, re.sub(r"--[^\n]*|\s+", "", sql)) for kind, name, sql in rows}


# ------------------------------------------------------------------------------------------------- earlier registries


def test_every_version_of_the_schema_has_a_registry_here_that_its_own_code_wrote() -> None:
    found = {each.name: version_of(each) for each in FIXTURES.glob("v*.db")}
    assert found == {f"v{number}.db": number for number in VERSIONS}, f"see {FIXTURES / 'README.md'}"


async def test_everything_in_it_is_still_there(database: Path, version: int) -> None:
    async with Registry.open(database) as registry:
        found = [each for each in await registry.services() if each.name not in ("shop", "nightly")]
        assert found == [await as_recorded(registry, "board"), await as_recorded(registry, "web")]
        await has_its_events(registry, version)
        await has_its_operations(registry, version)
        if version >= 2:
            await has_its_alerts(registry)
        if version >= 4:
            (call,) = await AuditLog(registry).entries()
            assert (call.method, call.caller, call.duration.total_seconds()) == ("Deploy", "kyle", 2)
        if version >= 5:
            assert await Adoptions(registry).labels() == {
                "c2": {"mcp.service": "board", "mcp.component": "board", "mcp.spec-hash": "hash-of-board"}
            }
        if version >= 6:
            shop = await registry.service("shop")
            assert shop
            assert shop.as_declared("rift") == make.shop()
            assert [each.desired for each in shop.components] == [Desired.COMPLETED, Desired.RUNNING]
        if version >= 8:
            await has_its_jobs(registry)


async def has_its_jobs(registry: Registry) -> None:
    found = await registry.service("nightly")
    assert found
    assert found.as_declared("rift") == make.nightly()
    assert [(each.desired, each.trouble) for each in found.components] == [
        (Desired.SCHEDULED, "job failed at 2026-03-02 01:35 UTC: exited 3")
    ]
    (account,), left = await JobLedger(registry, MonitorLedger(registry, "rift"), "rift").read()
    assert (account.schedule, account.timezone) == ("30 2 * * *", "Europe/Berlin")
    (run,) = left
    assert account.accounted_until == run.due_at == datetime(2026, 3, 3, 1, 30, tzinfo=UTC)
    assert (run.missed, run.container, run.state) == (1, "c3", RunState.RUNNING)


async def as_recorded(registry: Registry, name: str) -> RecordedService:
    """The service, which must be as it was declared, and as it was last seen."""
    found, declared = await registry.service(name), {"web": make.WEB, "board": make.BOARD}[name]
    assert found is not None
    assert (found.active, found.updated_at) == (declared.active, make.THEN)
    specs = {each.spec.name: each for each in found.components}
    assert list(specs) == list(declared.component_names)
    for each in declared.components:
        recorded = specs[each.name]
        stopped_by_itself = each.name == "db"
        assert recorded.spec == (each if not stopped_by_itself else type(each)(**of(each) | {"active": False}))
        assert recorded.spec_hash == f"hash-of-{each.name}"
        assert recorded.desired is (Desired.RUNNING if each.name == "api" else Desired.STOPPED)
        assert recorded.observed is (Observed.EXITED if each.name == "api" else Observed.UNKNOWN)
    return found


def of(component: object) -> dict[str, object]:
    return {name: getattr(component, name) for name in component.__struct_fields__}  # type: ignore[attr-defined]


async def has_its_events(registry: Registry, version: int) -> None:
    events = await registry.events("web", "api")
    assert [(each.kind, each.message, each.caller) for each in events[:3]] == [
        (kind, f"number {number}, ünïcode", "kyle") for number, kind in enumerate(("deployed", "started", "stopped"))
    ]
    states = await registry.states_at(datetime.now(UTC))
    assert [each.message for each in states.values()] == (["exited 137"] if version >= 2 else [])


async def has_its_operations(registry: Registry, version: int) -> None:
    ended, left = await Journal(registry).newest()
    assert (ended.kind, ended.caller, str(ended.state), ended.ended_at) == ("deploy", "kyle", "completed", make.THEN)
    assert (left.kind, left.ended_at) == ("stop", None)
    assert await Journal(registry).open() == (left,)
    if version >= 3:
        _, reports = await Journal(registry).operation(ended.id)
        assert [each.message for each in reports] == ["creating web-api", "v1.7.0"]
        assert ended.committed


async def has_its_alerts(registry: Registry) -> None:
    ledger = MonitorLedger(registry, "rift")
    (record,) = await ledger.alerts("web", open_only=True)
    assert (record.alert.service, record.alert.reason, str(record.delivery)) == ("web", "exited 137", "sent")
    assert (record.acked_by, record.ack_note, record.output) == ("kyle", "on it", "exited 0\nmail sent")
    (silence,) = await ledger.silences(make.THEN)
    assert (silence.component, silence.reason) == ("db", "moving")
    states, alerts = await ledger.remembered()
    assert [(each.container, each.state, each.exit_code) for each in states] == [("c1", Observed.EXITED, 137)]
    assert [alert.id for alert, _ in alerts] == [record.alert.id]
    assert await ledger.exchange_boot_id("another") == "a-boot"


async def test_its_tables_are_those_of_a_new_registry(database: Path, tmp_path: Path) -> None:
    for each in (database, tmp_path / "new.db"):
        async with Registry.open(each):
            pass
    assert schema_of(database) == schema_of(tmp_path / "new.db")


async def test_a_kill_anywhere_in_an_upgrade_leaves_one_that_can_go_on(tmp_path: Path) -> None:
    """SIGKILL before a statement of the migrations that chance names; the next start has all of it."""
    async with Registry.open(tmp_path / "new.db"):
        pass
    for seed in range(KILLS):
        database = Path(shutil.copyfile(FIXTURES / "v1.db", tmp_path / f"{seed}.db"))
        left = random.Random(seed)
        for _ in range(3):
            assert upgrade(database, left.randint(0, 40)) in (0, -signal.SIGKILL)
            assert version_of(database) in VERSIONS
        async with Registry.open(database) as registry:
            await as_recorded(registry, "web")
            await has_its_events(registry, 1)
        assert schema_of(database) == schema_of(tmp_path / "new.db")


def test_the_kills_of_the_test_above_do_happen_in_the_middle(tmp_path: Path) -> None:
    ends = set()
    for statements in range(0, 41, 4):
        database = Path(shutil.copyfile(FIXTURES / "v1.db", tmp_path / f"{statements}.db"))
        if upgrade(database, statements) == -signal.SIGKILL:
            ends.add(version_of(database))
    assert {1, 2, 3} <= ends


_UPGRADE = """
import os, signal, sqlite3, sys
from pathlib import Path
from mcpd.registry.connection import prepare

left = int(sys.argv[2])

def count(statement):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

connection = sqlite3.connect(sys.argv[1])
connection.row_factory = sqlite3.Row
connection.set_trace_callback(count)
prepare(connection, Path(sys.argv[1]))
"""


def upgrade(database: Path, statements: int) -> int:
    """Upgrades it in a process that is killed before it runs one statement more; returns how that ended."""
    argv = [sys.executable, "-c", _UPGRADE, str(database), str(statements)]
    return subprocess.run(argv, check=False, timeout=60).returncode


async def test_an_older_mcpd_refuses_a_newer_registry_and_changes_nothing(tmp_path: Path) -> None:
    database = tmp_path / "mcp.db"
    async with Registry.open(database):
        pass
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = schema_of(database)
    words = f"newer mcpd .schema {schema.VERSION + 1}; this one supports {schema.VERSION}.*install that version again"
    with pytest.raises(RegistryError, match=words):
        async with Registry.open(database):
            pass
    assert schema_of(database) == before
    assert version_of(database) == schema.VERSION + 1


# ----------------------------------------------------------------------------------------- mcpctl and a newer mcpd


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    """A field as protobuf writes it (https://protobuf.dev/programming-guides/encoding/): small numbers only."""
    assert 0 < number < 2048
    assert len(payload) < 128
    tag = number << 3 | wire_type
    key = bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])
    return key + (bytes([len(payload)]) if wire_type == 2 else b"") + payload


UNKNOWN_FIELDS = field(900, 2, b"of a later version") + field(901, 0, b"\x2a")
# An enum's value that today's contract does not have.
LATER = 42


def newer_services() -> v1.ListServicesResponse:
    """What a newer mcpd says of one component: fields at every level, and states, that nobody here knows."""
    numbers = v1.ComponentInfo.__dataclass_fields__
    desired, observed = (numbers[name].metadata["betterproto"].number for name in ("desired", "observed"))
    component = bytes(v1.ComponentInfo(service="web", component="api"))
    component += field(desired, 0, bytes([LATER])) + field(observed, 0, bytes([LATER])) + UNKNOWN_FIELDS
    service = bytes(v1.ServiceInfo(name="web", node="rift")) + field(4, 2, component) + UNKNOWN_FIELDS
    return v1.ListServicesResponse().parse(field(1, 2, b"rift") + field(2, 2, service) + UNKNOWN_FIELDS)


def test_what_a_newer_mcpd_adds_to_its_answers_is_left_aside(run: Run, alone: Node) -> None:
    answer = newer_services()
    assert b"of a later version" in bytes(answer), "the double sends what it was given"
    alone.agent.prepared["ListServicesRequest"] = answer
    ran = run("list", "--output", "json")
    assert ran.status == 0, ran.err
    (service,) = json.loads(ran.out)
    (component,) = service["components"]
    assert (component["component"], component["desired"], component["observed"]) == (
        "api",
        f"DesiredState({LATER})",
        f"ObservedState({LATER})",
    )
    assert run("list").status == 0


def test_a_report_of_a_kind_that_came_later_is_left_aside(run: Run, alone: Node, tmp_path: Path) -> None:
    (tmp_path / "services" / "web.toml").write_text(WEB)
    later = v1.DeployResponse().parse(field(1, 2, b"7") + UNKNOWN_FIELDS)
    done = v1.ComponentOutcome("api", v1.Result.CREATED, "v1")
    alone.agent.prepared["DeployRequest"] = [
        later,
        v1.DeployResponse("7", outcome=done),
        v1.DeployResponse("7", completed=v1.Completed()),
    ]
    ran = run("deploy", "web")
    assert ran.status == 0, ran.err
    assert "created" in ran.out


@pytest.mark.parametrize(
    ("theirs", "advice"),
    [
        ("0.0.9", f"mcpd there has version 0.0.9, mcpctl has {__version__}; update mcpd on rift"),
        ("99.10.0", f"mcpd there has version 99.10.0, mcpctl has {__version__}; update mcpctl"),
        (__version__, f"mcpd there has version {__version__}, mcpctl has {__version__}; updating either does not help"),
        (None, "mcpd there has an unknown version"),
    ],
)
def test_an_rpc_that_a_node_lacks_is_told_with_both_versions(
    run: Run, alone: Node, monkeypatch: pytest.MonkeyPatch, theirs: str | None, advice: str
) -> None:
    alone.agent.prepared["ListServicesRequest"] = GRPCError(Status.UNIMPLEMENTED, "there is no RPC ListServices")

    async def node_status(_: v1.NodeStatusRequest) -> v1.NodeStatusResponse:
        if theirs is None:
            raise GRPCError(Status.UNIMPLEMENTED)
        return v1.NodeStatusResponse("rift", theirs)

    monkeypatch.setattr(alone.agent, "node_status", node_status)
    ran = run("list")
    assert ran.status == 1
    assert f"node rift: there is no RPC ListServices; {advice}" in ran.err


def test_the_version_is_shown_without_asking_anybody(run: Run, alone: Node) -> None:
    assert run("version").out == f"mcpctl {__version__}\n"
    assert alone.agent.seen_tokens == []
