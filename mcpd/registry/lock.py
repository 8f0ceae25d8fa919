"""The database's lock: one daemon at a time works on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from mcpd.errors import RegistryError


@contextlib.asynccontextmanager
async def hold(database: Path) -> AsyncIterator[None]:
    """As `held`, for the daemon: it opens a file of its own folder, which takes no time."""
    with held(database):
        yield


@contextlib.contextmanager
def held(database: Path) -> Iterator[None]:
    """Holds the lock of ``database`` (flock(2)): the kernel lets go of it whatever ends the process.

    Raises RegistryError, with the pid of who holds it.
    """
    path = database.with_name(f"{database.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RegistryError(
            f"{path} cannot be opened: {error.strerror}; does its folder exist, and may mcpd write to it?"
        ) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(32).strip() or "unknown"
            raise RegistryError(f"{database} is in use by mcpd, pid {holder}; stop it first") from None
        # The pid is only for who asks who holds it: a disk that does not take it is no reason not to run, or to fail.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
