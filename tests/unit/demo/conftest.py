"""A node of `contrib/demo` that is not up."""

from __future__ import annotations

from pathlib import Path

import pytest

from contrib.demonstration.node import Node, node_at
from tests.support.demo_node import HERE


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Root's, so that the folder's name may be as long as a test's is; nothing here needs root."""
    return node_at(str(tmp_path / "n"), HERE, is_root=True)
