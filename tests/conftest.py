"""What holds for every test."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
from pathlib import Path

import pytest

CLOCKS = {"autojump_clock", "mock_clock"}

# Linux's file system in memory. Of what the tests wait for, much is a disk that has to keep what a registry commits.
_MEMORY = Path("/dev/shm")
# More than all folders of a run hold together. A container that was not told otherwise has 64 MiB there.
_ROOM_BYTES = 2 << 30


def pytest_configure() -> None:
    """Puts the tests' folders into memory where there is room for them, and programs may be run."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES and not _forbids_programs(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def _forbids_programs(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def pytest_itemcollected(item: pytest.Item) -> None:
    """pytest-trio runs a test with the clocks that the test itself names. Any other would not jump: the test waits."""
    if not isinstance(item, pytest.Function) or CLOCKS.intersection(inspect.signature(item.function).parameters):
        return
    if hidden := CLOCKS.intersection(item.fixturenames):
        raise pytest.UsageError(f"{item.nodeid}: name {', '.join(hidden)} among the test's own parameters")


def pytest_collection_finish() -> None:
    """Leaves the modules out of what tests collect as garbage: 200 MiB take longer than most tests."""
    gc.collect()
    gc.freeze()
