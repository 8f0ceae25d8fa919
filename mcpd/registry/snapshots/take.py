"""Takes snapshots: whole, consistent copies of the registry, checked before they get their name.

SQLite's online backup API copies one committed moment, whoever writes meanwhile
(https://www.sqlite.org/backup.html); a snapshot is a database of its own, without a write-ahead log beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mcpd.errors import RegistryError
from mcpd.registry import schema
from protos import atomic

DEFAULT_KEEP = 14
_PREFIX, _SUFFIX = "mcp-", ".db"
_TIME = "%Y-%m-%dT%H%M%S.%fZ"
_NAME = re.compile(r"mcp-\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z\.db")
# How long the copy waits for a lock that another process holds.
_BUSY_TIMEOUT_S = 30.0
_HEADER_BYTES = 100
# Which the header writes as 1, since it has two bytes for it.
_LARGEST_PAGE = 65536


class Snapshot(msgspec.Struct, frozen=True):
    """One snapshot on the disk. ``schema`` is its version, ``services`` how many it has; ``size`` in bytes."""

    path: Path
    taken_at: datetime
    size: int
    schema: int
    services: int


def default_folder(database: Path) -> Path:
    return database.parent / "snapshots"


def take(database: Path, folder: Path, now: datetime) -> Snapshot:
    """Copies ``database`` into ``folder``, under a name that says when. Raises RegistryError; then nothing is left."""
    if not database.is_file():
        raise RegistryError(f"{database} does not exist: nothing to take a snapshot of; has mcpd ever run here?")
    path = folder / f"{_PREFIX}{now.astimezone(UTC).strftime(_TIME)}{_SUFFIX}"
    temporary = folder / f".{path.name}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Private from the first moment, and made before SQLite does.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _copy(database, temporary)
        found = examine(temporary)
        atomic.sync(temporary)
        temporary.rename(path)
        atomic.sync(folder)
    except OSError as error:
        raise RegistryError(f"no snapshot in {folder}: {error.strerror or error}") from error
    finally:
        for each in (temporary, *_beside(temporary)):
            each.unlink(missing_ok=True)
    return msgspec.structs.replace(found, path=path, taken_at=now)


def examine(path: Path) -> Snapshot:
    """A database file, looked at from end to end without changing it. Raises RegistryError with what is wrong."""
    try:
        size = path.stat().st_size
        # Immutable: no lock, no log beside it; a snapshot is nobody's to write.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    except (OSError, sqlite3.Error) as error:
        raise RegistryError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with contextlib.closing(connection) as db:
        try:
            (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            broken = db.execute("PRAGMA foreign_key_check").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if verdict != "ok" or broken:
                raise RegistryError(f"{path} is damaged: {verdict if verdict != 'ok' else 'it lacks rows'}")
            if size < (whole := _whole_size(path)):
                raise RegistryError(f"{path} is damaged: it has {size} of {whole} bytes")
            if version > schema.VERSION:
                raise RegistryError(
                    f"{path} is from a newer mcpd (schema {version}; this one supports {schema.VERSION}): "
                    "install that version to restore it"
                )
            if not version:
                raise RegistryError(f"{path} is a database, but not one of mcpd's")
            (services,) = db.execute("SELECT count(*) FROM services").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: an error that quotes damaged bytes
            raise RegistryError(f"{path} is not a snapshot made by mcpd: {error}") from error
    return Snapshot(path, datetime.fromtimestamp(path.stat().st_mtime, UTC), size, version, services)


def _whole_size(path: Path) -> int:
    """The size that a database has by its own header, in bytes (SQLite's file format, 1.3.2 and 1.3.8).

    SQLite checks only the pages that are in use, and takes the rest of a last one that was cut for zeros.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    page = int.from_bytes(header[16:18], "big")
    return (_LARGEST_PAGE if page == 1 else page) * int.from_bytes(header[28:32], "big")


def listed(folder: Path) -> list[Path]:
    """The snapshots in ``folder``, oldest first. What is named otherwise is not ours."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if _NAME.fullmatch(each.name) and each.is_file())


def prune(folder: Path, keep: int) -> list[Path]:
    """Removes all snapshots but the newest ``keep``, of which there is at least one; returns what went."""
    gone = listed(folder)[: -max(keep, 1)]
    for each in gone:
        each.unlink(missing_ok=True)
    return gone


def _copy(database: Path, to: Path) -> None:
    try:
        source = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(to)) as copy:
            # In one step: one read transaction, so one committed moment.
            source.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise RegistryError(f"{database} cannot be copied: {error}") from error


def _beside(path: Path) -> tuple[Path, ...]:
    """What SQLite may leave beside a database."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))
