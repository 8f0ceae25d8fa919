"""A node as `mcpd init` sets it up."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpd.config import settings as config
from mcpd.setup.init import initialize
from tests.support.waiting import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node as `mcpd init` sets it up, on a free port."""
    initialize(tmp_path / "mcp", "rift", f"127.0.0.1:{free_port()}")
    return tmp_path / "mcp"


@pytest.fixture
def settings(folder: Path) -> config.Config:
    return config.load(folder / "mcpd.toml")
