"""The files that mcpd writes for HAProxy. What the disk refuses is told with its path, and with what to do."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from mcpd.routing.proxy import ProxyError
from protos import atomic

_T = TypeVar("_T")

# 100 KiB are written and synced within a second; a disk that is busy with a backup takes several.
DISK_S = 10.0
# The configuration names no secret, but it does name every service.
_MODE = 0o640


class Disk:
    """Writes files with the owner and the mode of ``like``, where that exists.

    ``deadline``: seconds for one file; until one that hangs has ended, nothing else is read or written.
    """

    def __init__(self, like: Path, deadline: float = DISK_S) -> None:
        self._like = like
        self._deadline = deadline
        # A disk that hangs holds up one thread, and what is written late is not written over what came after it.
        self._one = trio.CapacityLimiter(1)

    async def read(self, path: Path) -> str | None:
        """None: there is none. Raises ProxyError."""
        return await self._run(lambda: _text_of(path), f"read {path}", "let mcpd's user read it")

    async def write(self, path: Path, content: str) -> None:
        """Replaces ``path`` at once or not at all. Raises ProxyError."""
        remedy = f"let mcpd's user write in {path.parent}"
        await self._run(lambda: _replace(path, content, self._like), f"write {path}", remedy)

    async def remove(self, path: Path) -> None:
        """Removes a file, also one that is gone. Raises ProxyError."""
        remedy = f"let mcpd's user write in {path.parent}"
        await self._run(lambda: path.unlink(missing_ok=True), f"remove {path}", remedy)

    async def names(self, folder: Path) -> tuple[str, ...]:
        """What is in ``folder``. Raises ProxyError."""
        found = await self._run(lambda: list(folder.iterdir()), f"read the folder {folder}", "let mcpd's user read it")
        return tuple(each.name for each in found)

    async def _run(self, work: Callable[[], _T], what: str, remedy: str) -> _T:
        try:
            with trio.fail_after(self._deadline):
                return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._one)
        except trio.TooSlowError:
            raise ProxyError(
                f"mcpd could not {what} within {self._deadline:g} s: the disk hangs; `dmesg` may say why"
            ) from None
        except OSError as error:
            raise ProxyError(f"mcpd cannot {what}: {error.strerror or error}; {remedy}") from None


def _text_of(path: Path) -> str | None:
    try:
        # What is there may have been written by anybody, and is then another than ours.
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _replace(path: Path, content: str, like: Path) -> None:
    """Raises OSError."""
    try:
        before = like.stat()
    except FileNotFoundError:
        atomic.write(path, content.encode(), mode=_MODE)
        return
    atomic.write(path, content.encode(), mode=stat.S_IMODE(before.st_mode))
    # Without root, mcpd may give a file to no one else.
    with contextlib.suppress(PermissionError):
        os.chown(path, before.st_uid, before.st_gid)
