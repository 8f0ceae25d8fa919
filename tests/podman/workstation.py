"""A workstation beside a node: a podman with a storage of its own, and a wire to the node that is counted."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mcpctl import config
from tests.podman.node import COMMAND_DEADLINE_S, Node, run
from tests.support.forked_mcpctl import FORKS
from tests.support.tap import Tap, tapped

_OF_THE_NODE = ("CONTAINER_HOST", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")


class Workstation:
    """``environment``: what mcpctl and podman run with there."""

    def __init__(self, folder: Path, node: Node, tap: Tap, driver: str) -> None:
        self.folder = folder
        self.node = node
        self.tap = tap
        self._program = shutil.which("podman") or ""
        self.environment = {key: value for key, value in node.environment.items() if key not in _OF_THE_NODE}
        self.environment |= {
            "PATH": f"{folder / 'bin'}:{node.environment['PATH']}",
            "MCP_CONFIG": str(folder / "mcp.toml"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        (folder / "bin").mkdir()
        (folder / "services").mkdir()
        options = ["--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", driver]
        script = f'#!/bin/sh\nexec {shlex.join([self._program, *options])} "$@"\n'
        (folder / "bin/podman").write_text(script)
        (folder / "bin/podman").chmod(0o755)
        self._configure()

    def _configure(self) -> None:
        """The node's own, but for definitions of ours, and the address that leads over the wire."""
        theirs = config.load(Path(self.node.environment["MCP_CONFIG"]))
        found = theirs.node(self.node.name)
        text = (self.node.folder / "mcp.toml").read_text()
        text = text.replace(str(theirs.services_dir), str(self.folder / "services"))
        text = text.replace(found.address, f"127.0.0.1:{self.tap.port}")
        (self.folder / "mcp.toml").write_text(text)
        ours = config.load(self.folder / "mcp.toml")
        assert ours.services_dir == self.folder / "services"
        assert ours.ca_cert(found) == theirs.ca_cert(found), "the node's paths are absolute"

    def podman(self, *words: str) -> str:
        return run([str(self.folder / "bin/podman"), *words], env=self.environment).stdout

    def build(self, reference: str, layers: Mapping[str, bytes], *options: str) -> str:
        """An image with a layer for each file; returns its id."""
        context = self.folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        for name, content in layers.items():
            (context / name).write_bytes(content)
        lines = ["FROM scratch", *(f"COPY {name} /{name}" for name in layers)]
        (context / "Containerfile").write_text("\n".join(lines))
        self.podman("build", "--quiet", "--timestamp", "0", "--tag", reference, *options, str(context))
        return self.podman("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def define(self, name: str, image: str) -> None:
        text = f'name = "{name}"\nnode = "{self.node.name}"\n[[components]]\nname = "app"\nimage = "{image}"\n'
        (self.folder / f"services/{name}.toml").write_text(text)

    def mcpctl(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = FORKS.run(list(words), self.environment, COMMAND_DEADLINE_S)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    def push(self, name: str, *words: str) -> dict[str, Any]:
        """The row of the one node."""
        (row,) = json.loads(self.mcpctl("image", "push", name, "--output", "json", *words).stdout)
        assert isinstance(row, dict)
        return row

    @property
    def left(self) -> list[str]:
        place = self.folder / "cache/mcpctl"
        return [each.name for each in place.iterdir()] if place.exists() else []


@contextlib.contextmanager
def beside(node: Node, *, driver: str = "vfs") -> Iterator[Workstation]:
    """``driver``: of the workstation's storage."""
    theirs = config.load(Path(node.environment["MCP_CONFIG"]))
    host, port = theirs.node(node.name).host_port
    # podman refuses a longer path than 50 characters for what it runs with.
    with tempfile.TemporaryDirectory(prefix="mcp-ws-") as folder, tapped(host, port) as tap:
        try:
            yield Workstation(Path(folder), node, tap, driver)
        finally:
            # The overlay driver mounts its own folder onto itself, and leaves that.
            if (mounted := f"{folder}/storage/overlay") in Path("/proc/self/mounts").read_text().split():
                run(["umount", "--lazy", mounted], env=dict(os.environ))
