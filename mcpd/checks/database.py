"""Checks the registry's file without touching it, also while the daemon runs."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.registry import schema
from protos.spec import Component

NAME, FOLDER, LOOKER = "database", "database folder", "who looks"
# How long to wait for a lock of the daemon, which never holds one for long.
_BUSY_S = 2.0


class Declared(msgspec.Struct, frozen=True):
    """A component that the registry knows, with its service."""

    service: str
    component: Component


def look(path: Path) -> list[Finding]:
    found = [judge_folder(path.parent)]
    try:
        stats = path.stat()
    except FileNotFoundError:
        return [*found, ok(NAME, f"{path} does not exist yet; mcpd creates it")]
    found += judge_looker(stats.st_uid, os.geteuid())
    restore = f"mv {path} {path}.damaged, then put a snapshot in its place"
    try:
        with _opened(path) as db:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        if not os.access(path, os.R_OK):
            return [*found, failure(NAME, f"{path} cannot be read by this user", f"chown {_me()} {path}")]
        return [*found, failure(NAME, f"{path} cannot be used: {error}", restore)]
    if verdict != "ok":
        return [*found, failure(NAME, f"{path} is damaged: {verdict}", restore)]
    return [*found, judge_version(path, version, stats.st_size)]


def judge_version(path: Path, version: int, size: int) -> Finding:
    """``size`` in bytes."""
    if version > schema.VERSION:
        return failure(
            NAME,
            f"{path} was written by a newer mcpd: schema {version}, and this one supports {schema.VERSION}",
            "install that version again, or restore an older snapshot",
        )
    older = "" if version == schema.VERSION else f", which mcpd upgrades to {schema.VERSION} when it starts"
    return ok(NAME, f"{path}: intact, {size / 2**20:.1f} MiB, schema {version}{older}")


def judge_looker(owner: int, looker: int) -> list[Finding]:
    """The owner of the database is the user that runs mcpd. No finding when that user runs the check."""
    if owner == looker:
        return []
    words = (
        f"the database belongs to user {owner}, but user {looker} ran this check: it did not judge what {owner} may do"
    )
    return [warning(LOOKER, words, f"sudo -u '#{owner}' mcpd check")]


def judge_folder(folder: Path) -> Finding:
    """Checks that the folder is writable: SQLite writes more files beside the database."""
    if not folder.is_dir():
        return failure(FOLDER, f"{folder} does not exist", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return failure(FOLDER, f"{folder} cannot be written by this user", f"chown {_me()} {folder}")
    return ok(FOLDER, f"{folder} can be written")


def declared(path: Path) -> tuple[Declared, ...]:
    """Every component in the registry; none when the registry cannot be read."""
    with contextlib.suppress(sqlite3.Error, OSError, msgspec.DecodeError, ValueError):
        with _opened(path) as db:
            rows = db.execute("SELECT service, spec FROM components ORDER BY service, position, name").fetchall()
        return tuple(Declared(service, msgspec.json.decode(spec, type=Component)) for service, spec in rows)
    return ()


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Read-only. Raises sqlite3.Error, and OSError when there is no such file.

    Without a write-ahead log nobody has it open, and SQLite is told that nothing changes: otherwise it would make the
    log's files, which then were ours and not the daemon's (https://www.sqlite.org/wal.html#readonly).
    """
    path.stat()
    how = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", timeout=_BUSY_S, uri=True)) as db:
        db.execute("PRAGMA query_only = ON")
        yield db


def _me() -> int:
    return os.geteuid()
