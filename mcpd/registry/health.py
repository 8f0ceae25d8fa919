"""Whether the database can be written, and what SQLite's errors mean for the operator."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from mcpd.errors import DamagedRegistryError, RegistryError, UnwritableError
from monitor.model import SourceState

NAME = "registry"
RESTORE = (
    "stop mcpd, and `mcpd restore` puts a snapshot in its place and keeps the damaged file; containers keep running"
)

# What a transaction raises when the file, the disk or the bytes in it are wrong.
FAILURES = (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError)
# What making sense of rows raises beside those: an enum's value that is none.
SENSELESS = (*FAILURES, ValueError)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
)


def failure(path: Path, error: Exception) -> RegistryError:
    """The error for the operator: which file, SQLite's words (https://www.sqlite.org/rescode.html), and what to do.

    ``UnwritableError`` when it is the disk's or the file's state, ``DamagedRegistryError`` when its content is wrong,
    a plain ``RegistryError`` for a statement that SQLite refused.
    """
    if not isinstance(error, sqlite3.Error):
        return DamagedRegistryError(f"{path} is damaged: it contains data that mcpd never wrote; {RESTORE}")
    words = in_one_line(str(error))
    # The low byte is the kind, the rest of it the detail; 0: an error of Python's own module.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED or (not code and "decode to UTF-8" in words):
        return DamagedRegistryError(f"{path} is damaged: {words}; {RESTORE}")
    if code in _UNWRITABLE:
        return UnwritableError(f"{path} cannot be written: {words}; {_remedy(path, code)}")
    # Every statement is ours: a table or column that it does not find is missing in the file.
    remedy = f"; {RESTORE}" if "no such " in words else ""
    return RegistryError(f"{path} cannot be used: {words}{remedy}")


def in_one_line(words: str) -> str:
    """SQLite's words may quote a whole CREATE TABLE, or come with a headline."""
    return " ".join(words.split())


def _remedy(path: Path, code: int) -> str:
    if code == sqlite3.SQLITE_FULL:
        return f"free space on its file system (`df -h {path.parent}`), and mcpd recovers on its own"
    if code == sqlite3.SQLITE_READONLY:
        return f"make it writable for mcpd (`findmnt -T {path.parent}`, `ls -l {path.parent}`)"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return f"another process holds its lock (`fuser -v {path}` names it)"
    if code == sqlite3.SQLITE_CANTOPEN:
        return "does its folder exist, and may mcpd write to it?"
    if code == sqlite3.SQLITE_NOMEM:
        return "the machine is out of memory (`free -h`)"
    return (
        f"is its file system full (`df -h {path.parent}`), or does the disk fail (`dmesg`)? If it fails, restore "
        "the newest snapshot on another disk"
    )


class DatabaseHealth:
    """Whether the database can be written: not from the first failure until a trial succeeds."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._state = SourceState(NAME, True, "", now())
        self._changed = trio.Event()
        self.error: RegistryError | None = None

    @property
    def state(self) -> SourceState:
        """As a source of NodeStatus."""
        return self._state

    @property
    def is_damage(self) -> bool:
        """Whether what failed last is the content of the file: another write may make it worse."""
        return isinstance(self.error, DamagedRegistryError)

    def note(self, error: RegistryError) -> None:
        """Takes note of a failure, when it is one of the disk or the file. Damage stays damage."""
        if not isinstance(error, UnwritableError) or self.is_damage:
            return
        self.error = error
        since = self._now() if self._state.ok else self._state.since
        self._set(SourceState(NAME, False, str(error), since))

    def recovered(self) -> None:
        """A trial has succeeded."""
        self.error = None
        if not self._state.ok:
            self._set(SourceState(NAME, True, "", self._now()))

    async def until(self, *, ok: bool) -> None:
        """Waits until the database can be written, or cannot."""
        while self._state.ok is not ok:
            await self._changed.wait()

    def _set(self, state: SourceState) -> None:
        self._state = state
        self._changed.set()
        self._changed = trio.Event()
