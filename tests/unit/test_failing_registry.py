"""A registry that cannot be written or is damaged: what it says, and which statements still work."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
import trio
from grpclib.const import Status

from mcpd.errors import DamagedRegistryError, RegistryError, UnwritableError
from mcpd.node.restore_report import tell_of_missing
from mcpd.registry import health
from mcpd.registry.audit import AuditEntry, AuditLog
from mcpd.registry.snapshots import take
from mcpd.registry.store import Registry
from mcpd.rpc.call import Call
from mcpd.rpc.grpc_status import status_of
from tests.support.builders import service
from tests.support.failing_registry import NOW, full, note, read_only, until, until_so


async def test_what_cannot_be_written_is_told_with_the_file_sqlites_words_and_the_remedy(
    registry: Registry, tmp_path: Path
) -> None:
    assert (registry.state.name, registry.state.ok, registry.state.detail) == ("registry", True, "")
    with read_only(registry), pytest.raises(UnwritableError) as refused:
        await note(registry)
    assert f"{tmp_path / 'mcp.db'} cannot be written: attempt to write a readonly database; make it" in str(
        refused.value
    )
    assert (registry.state.ok, registry.state.detail) == (False, str(refused.value))
    with full(registry), pytest.raises(UnwritableError, match=r"database or disk is full; free space .*df -h"):
        await note(registry, "x" * 100_000)
    assert "disk is full" in registry.state.detail


async def test_it_works_again_when_a_trial_with_room_for_more_says_so(registry: Registry) -> None:
    with full(registry):
        with pytest.raises(UnwritableError):
            await note(registry, "x" * 100_000)
        await note(registry)
        assert not registry.state.ok, "that a little fits says nothing"
        with pytest.raises(UnwritableError):
            await registry.attempt()
    await registry.attempt()
    assert (registry.state.ok, registry.state.detail) == (True, "")
    left = await registry.ask(lambda db: db.execute("SELECT count(*) FROM facts_of_node").fetchone()[0])
    assert left == 0, "the trial leaves nothing behind"


async def test_a_write_that_failed_changes_nothing_of_what_is_answered_from_memory(registry: Registry) -> None:
    await registry.put_service(service(), {"api": "h"}, NOW)
    known = await registry.services()
    with read_only(registry), pytest.raises(UnwritableError):
        await registry.forget("web", ["api"], NOW)
    assert registry.services_in_memory == known
    assert await registry.services() == known


async def test_a_statement_that_is_refused_is_no_failure_of_the_disk(registry: Registry) -> None:
    def twice(db: sqlite3.Connection) -> None:
        for _ in range(2):
            db.execute("INSERT INTO facts_of_node (name, value) VALUES ('a', 'b')")

    with pytest.raises(RegistryError, match="UNIQUE"):
        await registry.transact(twice)
    assert registry.state.ok


async def test_a_damaged_registry_is_written_no_more_and_says_how_to_restore_it(registry: Registry) -> None:
    def malformed(_: sqlite3.Connection) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(DamagedRegistryError, match=r"is damaged: .*malformed; stop mcpd, and `mcpd restore`"):
        await registry.ask(malformed)
    assert not registry.state.ok
    with pytest.raises(DamagedRegistryError, match="malformed"):
        await note(registry)
    assert await registry.events() == ()
    await registry.attempt()
    await note(registry)
    assert registry.state.ok, "a look at all of it found nothing wrong"


async def test_bytes_that_mcpd_never_wrote_are_damage(registry: Registry, tmp_path: Path) -> None:
    await registry.put_service(service(), {"api": "h"}, NOW)
    for column, value in (("spec", "no JSON"), ("desired", "runnung"), ("spec", b"\xff\xfe")):
        path = tmp_path / f"{column}{len(value)}.db"
        with contextlib.closing(sqlite3.connect(path)) as copy:
            registry._writer.backup(copy)
            copy.execute(f"UPDATE components SET {column} = CAST(? AS TEXT)", (value,))
            copy.commit()
        with pytest.raises(DamagedRegistryError, match=r"is damaged.*`mcpd restore`"):
            async with Registry.open(path):
                pass


def test_every_error_of_the_disk_has_a_remedy_and_a_status(tmp_path: Path) -> None:
    for code in health._UNWRITABLE:
        error = sqlite3.OperationalError("words of SQLite's")
        error.sqlite_errorcode = code | 1 << 8
        found = health.failure(tmp_path / "mcp.db", error)
        assert isinstance(found, UnwritableError)
        assert not isinstance(found, DamagedRegistryError)
        assert str(found).startswith(f"{tmp_path}/mcp.db cannot be written: words of SQLite's; ")
    for kind in (UnwritableError, DamagedRegistryError):
        call = Call("/mcp.v1.AgentService/Deploy", "")
        assert status_of(kind("words"), call, has_gone=False) == (Status.FAILED_PRECONDITION, "words")


async def test_that_a_registry_is_missing_beside_its_snapshots_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "mcp.db"
    tell_of_missing(database)
    async with Registry.open(database):
        pass
    made = take.take(database, take.default_folder(database), NOW)
    tell_of_missing(database)
    assert capsys.readouterr().out == "", "a node that is new, and one that has its registry"
    database.unlink()
    tell_of_missing(database)
    assert f"`mcpd restore {made.path}`" in capsys.readouterr().out


async def test_calls_wait_for_the_audit_table_and_are_said_to_once(
    registry: Registry, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    refused: list[RegistryError] = []

    class Heard(AuditLog):
        async def _insert(self, batch: list[AuditEntry]) -> None:
            try:
                await super()._insert(batch)
            except RegistryError as error:
                refused.append(error)
                raise

    audit = Heard(registry)
    nursery.start_soon(audit.run)

    def call(method: str) -> None:
        audit.note(AuditEntry(NOW, method, "kyle", "admin", "", "", "OK", NOW - NOW))

    with read_only(registry):
        call("Deploy")
        await until(lambda: len(refused) == 1)
        call("Plan")
        await until(lambda: len(refused) == 2)
    call("Sync")

    async def all_are_there() -> bool:
        return len(await audit.entries()) == 3

    await until_so(all_are_there)
    out = capsys.readouterr().out
    assert out.count("the audit table cannot be written yet") == 1
    assert out.count("caught up") == 1
