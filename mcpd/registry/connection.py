"""Opens the database: checks it, migrates it, and makes one connection that writes and one that only reads."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mcpd.errors import DamagedRegistryError, RegistryError
from mcpd.registry import health, schema

# How long a statement waits for a lock that another process (a snapshot, a person with sqlite3) holds.
_BUSY_TIMEOUT_S = 10.0


def open_both(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """The writer and the reader. Raises RegistryError."""
    writer = _connect(path)
    try:
        path.chmod(0o600)
        prepare(writer, path)
        reader = _connect(path)
        reader.execute("PRAGMA query_only = ON")
    except BaseException as error:
        writer.close()
        if isinstance(error, health.FAILURES):  # UnicodeDecodeError: SQLite's own words may quote damaged bytes
            raise health.failure(path, error) from error
        raise
    return writer, reader


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and not path.stat().st_size:
        # SQLite would take it for a new database, and the node would have forgotten everything without a word.
        raise RegistryError(
            f"{path} is empty: restore a snapshot (`mcpd restore`); remove it only if mcpd has never run here"
        )
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    except sqlite3.Error as error:
        raise RegistryError(
            f"{path} cannot be opened: {error}; does its folder exist, and may mcpd write to it?"
        ) from error
    connection.row_factory = sqlite3.Row
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Checks the database and migrates its tables. Raises RegistryError."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedRegistryError(f"{path} is damaged: {health.in_one_line(verdict)}; {health.RESTORE}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > schema.VERSION:
        raise RegistryError(
            f"{path} was written by a newer mcpd (schema {version}; this one supports {schema.VERSION}); "
            "install that version again, or restore an older snapshot"
        )
    for number, script in enumerate(schema.MIGRATIONS[version:], start=version + 1):
        # One transaction a migration: a kill in the middle leaves the schema before it.
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
