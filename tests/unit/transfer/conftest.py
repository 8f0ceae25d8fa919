"""The root of the files of a service, and what goes in and out there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpd.files.transfer import Transfers
from tests.support.transfers import MIB, OLD


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "srv/web").mkdir(parents=True)
    (tmp_path / "srv/web/file").write_bytes(OLD)
    return tmp_path / "srv"


@pytest.fixture
def transfers(root: Path) -> Transfers:
    return Transfers(root, 4 * MIB)
