"""A fleet of nodes for tests: many that answer, and some that are dead in one of the ways in which machines are."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mcpd.setup import pki
from tests.fleet.serving import name

# Far longer than anything here takes on the slowest machine: what passes it hangs.
_HANGS_S = 120.0


class Fleet(NamedTuple):
    """``folder`` has a configuration for each number of nodes that was asked for."""

    folder: Path
    ports: dict[str, int]

    def configure(self, file: str, live: int, dead: dict[str, int] | None = None) -> dict[str, str]:
        """Writes a configuration with so many of the nodes, and the ``dead`` ones between them by address and port.

        Returns the environment with it.
        """
        nodes = [*list(self.ports.items())[:live], *(dead or {}).items()]
        # The dead ones are not all at the end.
        nodes.sort(key=lambda node: node[0].split(".")[::-1])
        tables = [f'[[nodes]]\nname = "{name(host)}"\naddress = "{host}:{port}"\n' for host, port in nodes]
        path = self.folder / file
        path.write_text("".join(tables))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MCP_")}
        return {**environment, "MCP_CONFIG": str(path)}


def mcpctl(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcpctl", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_HANGS_S,
        check=False,
    )


@contextlib.contextmanager
def running(folder: Path, count: int, processes: int = 2) -> Iterator[Fleet]:
    """``count`` nodes that answer, in so many processes."""
    addresses = [f"127.0.{1 + number // 200}.{1 + number % 200}" for number in range(count)]
    authority = pki.make_authority("fleet")
    (folder / "ca.pem").write_bytes(authority.pem.certificate)
    (folder / "token").write_text("secret")
    (folder / "token").chmod(0o600)
    (folder / "services").mkdir()
    for address in addresses:
        pem = pki.make_server(authority, name(address), address)
        (folder / f"{address}.pem").write_bytes(pem.certificate + pem.key)
    with contextlib.ExitStack() as stack:
        parts = [addresses[part::processes] for part in range(min(processes, count))]
        started = [stack.enter_context(_serving(folder, part)) for part in parts]
        found: dict[str, int] = {}
        for process in started:
            assert process.stdout is not None
            found |= json.loads(process.stdout.readline())
        yield Fleet(folder, {address: found[address] for address in addresses})


@contextlib.contextmanager
def _serving(folder: Path, addresses: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.serving", str(folder), *addresses], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def closed(address: str) -> Iterator[int]:
    """A port at which nothing listens, and nothing else will."""
    with socket.socket() as bound:
        bound.bind((address, 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent(address: str) -> Iterator[int]:
    """A port that accepts connections, and says nothing."""
    with socket.socket() as listening:
        listening.bind((address, 0))
        listening.listen()
        yield listening.getsockname()[1]


@contextlib.contextmanager
def black_hole(address: str) -> Iterator[int]:
    """A port where packets vanish: a full backlog drops the SYN (listen(2))."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((address, 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
