"""When files were changed, as a listing says it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcpd.files.listing import modified_at


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (400_000_000_000, datetime.max.replace(tzinfo=UTC)),
        (-70_000_000_000, datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_any_time_that_a_file_may_have_is_one(tmp_path: Path, seconds: int, expected: datetime) -> None:
    path = tmp_path / "file"
    path.touch()
    found = os.stat_result([*path.stat()[:8], seconds, 0])
    assert modified_at(found) == expected
