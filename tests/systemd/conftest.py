"""Marks everything here as needing systemd, and keeps one installed machine for the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.systemd.machine import (
    ADDRESS,
    IMAGE,
    INNER_CONTAINERS_CONF,
    INSTALL,
    MCP_TOML,
    Machine,
    booted,
    tree,
    wheels,
)

HERE = Path(__file__).parent

_DEMO = """\
name = "demo"
node = "n1"
active = true
[[components]]
name = "web"
image = "localhost/busy:v1"
cmd = ["httpd", "-f", "-p", "8080", "-h", "/data"]
ports = ["127.0.0.1:8080:8080"]
volumes = ["/srv/demo:/data"]
[[components]]
name = "worker"
image = "localhost/busy:v1"
cmd = ["sleep", "100000"]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.systemd)


@pytest.fixture(scope="session")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], AbstractContextManager[Machine]]]:
    """Boots a machine."""
    if os.geteuid() != 0 or not shutil.which("podman"):
        pytest.skip("booting a machine in a container needs root and podman")
    with ExitStack() as stack:
        base = stack.enter_context(tree())
        packages = wheels(base)
        yield lambda: booted(tmp_path_factory.mktemp("machine") / "m", base, packages)


@pytest.fixture(scope="session")
def machine(boot: Callable[[], AbstractContextManager[Machine]]) -> Iterator[Machine]:
    """With mcpd installed, and a service that runs."""
    with boot() as machine:
        machine.run(INSTALL, "--node", "n1", "--address", ADDRESS)
        machine.write("/srv/mcp/.config/containers/containers.conf", INNER_CONTAINERS_CONF)
        machine.run("systemctl", "restart", "mcpd")
        machine.sh(IMAGE)
        machine.as_mcp("podman", "import", "/var/tmp/image.tar", "localhost/busy:v1")
        machine.sh("install -d -o mcp -g mcp /srv/demo; echo hello >/srv/demo/index.html")
        machine.write("/root/.config/mcp/mcp.toml", MCP_TOML)
        machine.write("/root/.config/mcp/services/demo.toml", _DEMO)
        machine.sh("install -m 600 /srv/mcp/admin.token /root/.config/mcp/token; mcpctl deploy demo")
        yield machine
