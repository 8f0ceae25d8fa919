"""Restores a snapshot as the registry. Containers are not touched: the next start reports how they compare.

At every moment of it there is a whole database under the registry's name, the old one or the restored one, and the old
one stays beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from mcpd.errors import RegistryError
from mcpd.registry import health, lock, schema
from mcpd.registry.snapshots.take import Snapshot, examine
from mcpd.registry.store import Registry
from protos import atomic

# Ids that a daemon has given since the snapshot was taken must not be given again: whoever was told of an alert would
# take the new one for a repeat. Added when the old database does not say how far it had come.
_IDS_SKIPPED = 1_000_000
_NUMBERED = ("alerts", "events", "operations", "audit", "silences", "steps")


class Restored(msgspec.Struct, frozen=True):
    """``kept``: where the old database is now; None when there was none."""

    snapshot: Snapshot
    kept: Path | None


def restore(file: Path, database: Path, now: datetime) -> Restored:
    """Raises RegistryError: while a daemon runs on ``database``, or when ``file`` is not fit. Then nothing changed."""
    snapshot = examine(file)
    with lock.held(database):
        temporary = database.with_name(f".{database.name}.{secrets.token_hex(4)}")
        try:
            shutil.copyfile(file, temporary)
            temporary.chmod(0o600)
            examine(temporary)
            _prepare(temporary, database, file, now)
            atomic.sync(temporary)
            kept = _keep_aside(database, now)
            temporary.rename(database)
            atomic.sync(database.parent)
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"{database} was not restored: {getattr(error, 'strerror', None) or error}") from error
        finally:
            temporary.unlink(missing_ok=True)
    return Restored(snapshot, kept)


async def rehearse(snapshot: Path) -> int:
    """Restores ``snapshot`` to a scratch folder and opens it as the daemon would; returns how many services it has.

    Raises RegistryError.
    """
    with tempfile.TemporaryDirectory(prefix="mcp-rehearsal-") as scratch:
        database = Path(scratch, "mcp.db")
        await trio.to_thread.run_sync(restore, snapshot, database, datetime.now(UTC))
        async with Registry.open(database) as registry:
            return len(await registry.services())


def _prepare(copy: Path, old: Path, file: Path, now: datetime) -> None:
    """Skips the ids that the old database has given, and notes what this one is. Nobody uses ``copy`` yet."""
    given = _ids_given(old)
    with contextlib.closing(sqlite3.connect(copy)) as db, db:
        known = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        numbers = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        # An old database that has not come as far as its own snapshot is a new one: of a machine made anew, say.
        is_newer = given is not None and all(given.get(name, 0) >= number for name, number in numbers.items())
        for name in known.intersection(_NUMBERED):
            number = numbers.get(name, 0)
            later = max(number, given.get(name, 0)) if given and is_newer else number + _IDS_SKIPPED
            db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, later))
        if "facts_of_node" in known:
            words = f"{file.name}, at {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            db.execute("INSERT OR REPLACE INTO facts_of_node (name, value) VALUES (?, ?)", (schema.RESTORED, words))


def _ids_given(database: Path) -> dict[str, int] | None:
    """How far each table had come; None when that cannot be read, or the database is damaged: it may say anything."""
    if not database.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            found = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    except health.FAILURES:
        return None
    is_sound = verdict == "ok" and all(isinstance(each, int) for each in found.values())
    return {name: seq for name, seq in found.items() if name in _NUMBERED} if is_sound else None


def _keep_aside(database: Path, now: datetime) -> Path | None:
    """The old database under another name, as well: with all that it had not written back yet.

    A log that is not the database's own would be replayed into the restored one, so it goes before that comes.
    """
    if not database.exists():
        return None
    kept = database.with_name(f"{database.name}.before-restore-{now.astimezone(UTC):%Y-%m-%dT%H%M%S.%f}Z")
    beside = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm")]
    # A database that is whole needs no log any more after this; a damaged one keeps it, for whoever tries to save it.
    with contextlib.suppress(*health.FAILURES), contextlib.closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.link(database, kept)
    for each in beside:
        if each.exists():
            shutil.copyfile(each, kept.with_name(kept.name + each.name.removeprefix(database.name)))
            each.unlink()
    atomic.sync(database.parent)
    return kept
