"""What holds for every test."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """What was imported until now stays. Tests that collect garbage look at what came since, not at 200 MiB of modules."""
    gc.collect()
    gc.freeze()
