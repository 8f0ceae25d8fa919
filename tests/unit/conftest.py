"""What the unit tests share: an open registry, and Hypothesis that leaves no files behind."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from mcpd.registry.store import Registry

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
settings.register_profile("unit", deadline=None, database=None, print_blob=True)
settings.load_profile("unit")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with Registry.open(tmp_path / "mcp.db") as opened:
        yield opened
