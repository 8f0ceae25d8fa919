"""Marks everything here as needing podman, and keeps one node for the tests that share it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node, is_alive, running

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.podman)


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(Node(tmp_path_factory.mktemp("shared") / "node", "n1")) as node:
        yield node


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    """The shared node, as empty as the test before has left it."""
    yield shared_node
    if not is_alive(shared_node.mcpd_pid):  # a test has ended the daemon, and failed before it started it again
        shared_node.up()
    shared_node.clear()


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """Which an ordinary user's podman reaches, also while another session of tests begins: pytest closes its own."""
    with tempfile.TemporaryDirectory(prefix="mcp-routes-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
