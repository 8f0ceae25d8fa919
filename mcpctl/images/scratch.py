"""A folder for what is saved on the way to a node, which is gone afterwards, whatever happens.

A process holds a lock on its folder as long as it lives. What it left when it was killed is removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mcpctl.errors import CliError
from mcpctl.ui import render

_PREFIX = "push-"
_OURS_ALONE = 0o700
# A disk that is filled to its last byte troubles others.
_SPARE = 64 << 20


@contextmanager
def scratch(need: int) -> Iterator[Path]:
    """An empty folder where ``need`` bytes are free, on a disk and not in memory. Blocks. Raises CliError."""
    place = _with_room(need)
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Nobody sees a folder that is not locked yet.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        owned = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(owned, fcntl.LOCK_EX)
    finally:
        os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owned)


def sweep() -> None:
    """Removes what was left by processes that are no more. Blocks."""
    for place in _places():
        with suppress(OSError):
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                # In /var/tmp, anybody may have made it, and hold its lock for ever.
                if os.fstat(lock).st_uid != os.getuid():
                    continue
                fcntl.flock(lock, fcntl.LOCK_EX)
                _sweep(place)
            finally:
                os.close(lock)


def _sweep(place: Path) -> None:
    for each in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            owned = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(each, ignore_errors=True)
            finally:
                os.close(owned)


def _places() -> list[Path]:
    """Where large temporary files belong (XDG base directories; file-hierarchy(7))."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(cache) if cache.startswith("/") else Path("~/.cache").expanduser()
    return [caches / "mcpctl", Path(f"/var/tmp/mcpctl-{os.getuid()}")]  # noqa: S108 (its owner is checked)


def _with_room(need: int) -> Path:
    problems = []
    for place in _places():
        try:
            _make(place)
            free = shutil.disk_usage(place).free
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        if free >= need + _SPARE:
            return place
        problems.append(f"{place} has {render.size(free)} free")
    raise CliError(
        f"the image cannot be saved on its way: it needs {render.size(need + _SPARE)} for a moment, but "
        f"{'; '.join(problems)}; XDG_CACHE_HOME can name another folder"
    )


def _make(place: Path) -> None:
    """Raises OSError, also when it is somebody else's."""
    place.mkdir(mode=_OURS_ALONE, parents=True, exist_ok=True)
    info = place.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise OSError(0, "it is not a folder of your own")
    place.chmod(_OURS_ALONE)
