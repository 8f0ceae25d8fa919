"""What `mcpd check` says of the database, which it neither makes nor touches."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from mcpd.checks import database
from mcpd.checks.database import Declared
from mcpd.checks.finding import Status
from mcpd.registry import schema
from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from protos.spec import Component, Service
from tests.support.findings import NOW, named, status


async def filled(path: Path, component: Component) -> None:
    async with Registry.open(path) as registry:
        service = Service("web", "rift", (component,))
        await registry.put_service(service, {component.name: spec_hash(component)}, NOW)


def beside(path: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in path.parent.iterdir()}


async def test_a_database_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    assert [status(each) for each in database.look(path)] == [Status.OK, Status.OK]
    assert database.declared(path) == ()
    assert beside(path) == {}
    component = Component("app", "localhost/app:v1")
    await filled(path, component)
    before = beside(path)
    assert [status(each) for each in database.look(path)] == [Status.OK, Status.OK]
    assert database.declared(path) == (Declared("web", component),)
    assert beside(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_no_file_is_made_beside_it() -> None:
    """Shown by a folder in which none can be made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mcp.db")
        await filled(path, Component("app", "localhost/app:v1"))
        os.chmod(folder, 0o755)  # noqa: PTH101 -- nothing else runs in this loop
        os.chmod(path, 0o644)  # noqa: PTH101
        os.seteuid(65534)
        try:
            found, (declared,) = database.look(path), database.declared(path)
        finally:
            os.seteuid(0)
    assert named(found, "database").status is Status.OK
    assert named(found, "database folder").status is Status.FAILURE
    assert declared.service == "web"


async def test_it_sees_what_a_daemon_has_written_a_moment_ago(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    component = Component("app", "localhost/app:v1")
    async with Registry.open(path) as registry:
        await registry.put_service(Service("web", "rift", (component,)), {"app": spec_hash(component)}, NOW)
        assert database.declared(path) == (Declared("web", component),)
        assert status(named(database.look(path), "database")) is Status.OK
        await registry.forget("web", ["app"], NOW)
        assert database.declared(path) == ()


async def test_what_a_killed_daemon_left_is_not_touched_either(tmp_path: Path) -> None:
    path, left = tmp_path / "mcp.db", tmp_path / "left"
    left.mkdir()
    component = Component("app", "localhost/app:v1")
    async with Registry.open(path) as registry:
        await registry.put_service(Service("web", "rift", (component,)), {"app": spec_hash(component)}, NOW)
        for name in ("mcp.db", "mcp.db-wal", "mcp.db-shm"):
            shutil.copy(tmp_path / name, left)
    before = {name: content for name, (content, _) in beside(left / "mcp.db").items() if not name.endswith("-shm")}
    assert database.declared(left / "mcp.db") == (Declared("web", component),)
    assert status(named(database.look(left / "mcp.db"), "database")) is Status.OK
    after = {name: content for name, (content, _) in beside(left / "mcp.db").items() if not name.endswith("-shm")}
    assert after == before


async def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    path.write_bytes(b"this is no database" * 1000)
    assert status(named(database.look(path), "database")) is Status.FAILURE
    assert database.declared(path) == ()
    path.unlink()
    await filled(path, Component("app", "localhost/app:v1"))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = os.urandom(4096 * 2)
    path.write_bytes(content)
    assert status(named(database.look(path), "database")) is Status.FAILURE


async def test_a_newer_schema_is_told_and_an_older_one_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    await filled(path, Component("app", "localhost/app:v1"))
    for version, verdict in ((schema.VERSION + 1, Status.FAILURE), (schema.VERSION - 1, Status.OK)):
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
        assert status(named(database.look(path), "database")) is verdict
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        db.close()


async def test_who_is_not_mcpds_user_is_told_to_look_as_it(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    await filled(path, Component("app", "localhost/app:v1"))
    mine = os.geteuid()
    assert "who looks" not in {each.name for each in database.look(path)}
    assert status(database.judge_looker(mine + 1, mine)) is Status.WARNING
    if mine == 0:
        os.chown(path, 12345, 12345)
        assert named(database.look(path), "who looks").status is Status.WARNING


def test_a_database_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert status(named(database.look(tmp_path / "none/mcp.db"), "database folder")) is Status.FAILURE
