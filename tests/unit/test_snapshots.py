"""Snapshots: whole whoever writes meanwhile, checked, kept to a number; and restored without losing what was there."""

import contextlib
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from mcpd.errors import RegistryError
from mcpd.node.restore_report import compared
from mcpd.registry import lock, schema
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.snapshots.restore import rehearse, restore
from mcpd.registry.snapshots.take import Snapshot, examine, listed, prune, take
from mcpd.registry.store import Registry
from tests.support.builders import NOW, component, container, recorded, recorded_service, service
from tests.support.waiting import until

SNAPSHOTS = int(os.environ.get("MCP_SNAPSHOTS", "100"))
# Events in a registry that is written to meanwhile, and what each of them says: a hundred pages.
KEPT, PADDING = 400, "x" * 1000


def put(database: Path, *names: str) -> None:
    """A registry with these services."""

    async def write() -> None:
        async with Registry.open(database) as registry:
            for name in names:
                await registry.put_service(service(name=name), {"api": "h1"}, NOW)
                await registry.add_event(name, "api", "deployed", "", "ops", NOW)

    trio.run(write)


def services(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as db:
        return [name for (name,) in db.execute("SELECT name FROM services ORDER BY name")]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    put(tmp_path / "mcp.db", "web")
    return tmp_path / "mcp.db"


@contextlib.contextmanager
def writing(database: Path) -> Iterator[list[int]]:
    """Writes as fast as it goes; yields the last revision.

    Every transaction counts it up, adds the event of that number, and removes the one that is KEPT older: what is
    copied in a snapshot stays of one size, however long the snapshots take.
    """
    over, last = threading.Event(), [0]

    def write() -> None:
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as db:
            db.execute("DELETE FROM events")
            db.execute("UPDATE services SET revision = 0")
            db.commit()
            row = "INSERT INTO events (at, service, component, kind, message, caller) VALUES (?,'','','',?,'')"
            while not over.is_set():
                number = last[0] + 1
                with db:
                    db.execute("UPDATE services SET revision = ?", (number,))
                    db.execute(row, (number, PADDING))
                    db.execute("DELETE FROM events WHERE at = ?", (number - KEPT,))
                last[0] = number

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield last
    finally:
        over.set()
        thread.join()


def test_every_snapshot_is_some_committed_moment(database: Path, tmp_path: Path) -> None:
    moments = [0]
    with writing(database) as last:
        for number in range(SNAPSHOTS):
            until(lambda: last[0] > moments[-1], "something is written between two snapshots")
            made = take(database, tmp_path / "s", NOW + timedelta(seconds=number))
            with contextlib.closing(sqlite3.connect(made.path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                (revision,) = db.execute("SELECT revision FROM services").fetchone()
                numbers = [number for (number,) in db.execute("SELECT at FROM events ORDER BY at")]
                assert numbers == list(range(max(0, revision - KEPT) + 1, revision + 1))
                moments.append(revision)
    assert moments == sorted(set(moments))


def test_a_snapshot_is_private_named_by_its_time_and_alone(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    made = take(database, folder, NOW)
    assert made.path.name == "mcp-2026-03-01T120000.000000Z.db"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [made.path]
    assert (made.services, made.schema) == (1, schema.VERSION)


def test_only_the_newest_stay_and_what_is_not_ours_is_not_touched(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    made = [take(database, folder, NOW + timedelta(days=day)).path for day in range(5)]
    (folder / "mcp-of-mine.db").write_text("x")
    assert prune(folder, 2) == made[:3]
    assert listed(folder) == made[3:]
    assert (folder / "mcp-of-mine.db").exists()


def test_without_a_database_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="does not exist"):
        take(tmp_path / "none.db", tmp_path / "s", NOW)
    assert not (tmp_path / "s").exists()


def damaged(how: str, content: bytes, seed: int) -> bytes:
    draw = random.Random(seed)
    if how == "flipped":
        flipped = bytearray(content)
        for _ in range(64):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if how == "truncated":
        return content[: draw.randrange(1, len(content))]
    return b"" if how == "empty" else b"this is a letter, not a database\n" * 200


def test_a_file_that_lacks_a_part_of_its_last_page_is_refused_though_that_holds_nothing(
    database: Path, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE last (page TEXT)")
    whole = take(database, tmp_path / "s", NOW).path.read_bytes()
    file = tmp_path / "cut.db"
    file.write_bytes(whole[:-1000])
    with pytest.raises(RegistryError, match=rf"is damaged: it has {len(whole) - 1000} of {len(whole)} bytes"):
        restore(file, database, NOW)


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "letter"])
def test_a_damaged_database_is_called_that_and_never_restored(database: Path, tmp_path: Path, how: str) -> None:
    """Flipped bits that no check can see are in what the rows say, and leave a database that can be used."""
    whole = take(database, tmp_path / "s", NOW).path.read_bytes()
    file = tmp_path / "damaged.db"
    refused = []
    for seed in range(20):
        file.write_bytes(damaged(how, whole, seed))
        try:
            restore(file, database, NOW + timedelta(seconds=seed))
        except RegistryError:
            refused.append(seed)
        assert services(database) is not None
    assert len(refused) == 20 if how != "flipped" else refused
    file.write_bytes(damaged(how, whole, refused[0]))
    with pytest.raises(RegistryError, match=re.escape(str(file))):
        restore(file, database, NOW)


def test_a_newer_schema_is_refused(database: Path, tmp_path: Path) -> None:
    made = take(database, tmp_path / "s", NOW)
    with contextlib.closing(sqlite3.connect(made.path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(RegistryError, match="newer mcpd"):
        restore(made.path, database, NOW)
    assert services(database) == ["web"]


def test_a_restore_keeps_the_old_database_with_all_that_was_in_its_log(database: Path, tmp_path: Path) -> None:
    made = take(database, tmp_path / "s", NOW)
    # Written by a process that is killed, so that its last commits are in the log only.
    script = (
        "import os, signal, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA wal_autocheckpoint = 0')\n"
        "db.execute(\"INSERT INTO services VALUES ('late', 1, 1, 0, '{}')\"); db.commit()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(database)], check=False, timeout=30)
    assert database.with_name("mcp.db-wal").stat().st_size > 0

    done = restore(made.path, database, NOW)
    assert services(database) == ["web"]
    assert done.kept is not None
    assert services(done.kept) == ["late", "web"]


def test_a_restore_is_refused_while_a_daemon_holds_the_database(database: Path, tmp_path: Path) -> None:
    made = take(database, tmp_path / "s", NOW)
    put(database, "later")
    with lock.held(database), pytest.raises(RegistryError, match=f"pid {os.getpid()}"):
        restore(made.path, database, NOW)
    assert services(database) == ["later", "web"]
    restore(made.path, database, NOW)
    assert services(database) == ["web"]


async def test_ids_that_were_given_since_are_not_given_again(tmp_path: Path) -> None:
    database = tmp_path / "mcp.db"
    async with Registry.open(database) as registry:
        await registry.add_event("web", "", "one", "", "", NOW)
        made = await trio.to_thread.run_sync(take, database, tmp_path / "s", NOW)
        given = [await registry.add_event("web", "", "two", "", "", NOW) for _ in range(5)][-1]
    restore(made.path, database, NOW)
    async with Registry.open(database) as registry:
        assert await registry.add_event("web", "", "three", "", "", NOW) == given + 1
    # On another machine nobody knows how far the old one had come; nor when mcpd was started there before the restore.
    async with Registry.open(tmp_path / "fresh.db"):
        pass
    restore(made.path, tmp_path / "fresh.db", NOW)
    async with Registry.open(tmp_path / "fresh.db") as registry:
        assert await registry.add_event("web", "", "three", "", "", NOW) > 1_000_000
    restore(made.path, tmp_path / "new.db", NOW)
    async with Registry.open(tmp_path / "new.db") as registry:
        assert await registry.add_event("web", "", "three", "", "", NOW) > 1_000_000


async def test_it_is_told_once_that_a_registry_was_restored(tmp_path: Path) -> None:
    database = tmp_path / "mcp.db"
    async with Registry.open(database) as registry:
        assert await MonitorLedger(registry, "rift").restored_from() == ""
    made: Snapshot = take(database, tmp_path / "s", NOW)
    restore(made.path, database, NOW)
    async with Registry.open(database) as registry:
        ledger = MonitorLedger(registry, "rift")
        assert made.path.name in await ledger.restored_from()
        await ledger.record_restore("as it should be", NOW)
        assert [each.kind for each in await registry.events()] == ["restored"]
        assert await ledger.restored_from() == ""


async def test_a_rehearsal_opens_it_and_changes_nothing(tmp_path: Path) -> None:
    database = tmp_path / "mcp.db"
    async with Registry.open(database) as registry:
        await registry.put_service(service(), {"api": "h1"}, NOW)
        made = take(database, tmp_path / "s", NOW)
        before = made.path.read_bytes()
        assert await rehearse(made.path) == 1
    assert made.path.read_bytes() == before
    assert list((tmp_path / "s").iterdir()) == [made.path]


def test_what_a_restore_led_to_is_told_in_words() -> None:
    web = recorded_service(recorded(component("api")), recorded(component("db")))
    runs, stranger = container(component("api")), container(component("old"), service="shop")
    words = compared([web], [runs, stranger], NOW)
    assert words.startswith("1 of 2 components are as declared")
    assert "web/db: missing" in words
    assert "shop/old (shop-old)" in words
    assert "adopt" in words


def test_two_daemons_never_share_a_database(database: Path) -> None:
    with lock.held(database), pytest.raises(RegistryError, match="is in use by mcpd"), lock.held(database):
        pass
    with lock.held(database):
        assert examine(database).services == 1
