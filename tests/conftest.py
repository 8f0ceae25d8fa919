"""What holds for every test."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Leaves the modules out of what tests collect as garbage: 200 MiB take longer than most tests."""
    gc.collect()
    gc.freeze()
