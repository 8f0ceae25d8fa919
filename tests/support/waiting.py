"""Waiting for conditions with a deadline, and finding ports; shared by every test that runs real processes."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Sequence

# Generous: reached only when something is broken, or the machine is very busy.
DEADLINE_S = 30.0
_POLL_S = 0.02
_HOST = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections, so that none of them takes ours in between.
_PORTS = range(20000, 32000)
# Workers of pytest-xdist that share no port; a machine that runs more of them has ports that two may draw.
_WORKERS = 16


def until(condition: Callable[[], object], what: str = "", within: float = DEADLINE_S) -> None:
    """Waits until ``condition`` is true; fails ``within`` seconds, naming ``what`` was waited for."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {within:.0f} s: {what or condition}")
        time.sleep(_POLL_S)


def accepts(port: int) -> bool:
    """Whether something on loopback accepts connections on ``port``."""
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


class Ports:
    """Gives each of ``ports`` once, in no order, before it gives any of them again.

    Whoever asked for one may not listen on it yet: that nothing listens on a port says little.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._all = ports
        self._left: list[int] = []

    def free(self) -> int:
        """A port of the loopback address that nothing listens on. Raises AssertionError when there is none."""
        for _ in self._all:
            if not self._left:
                self._left = random.sample(self._all, len(self._all))
            port = self._left.pop()
            if _is_free(port):
                return port
        raise AssertionError("no free port")


def ports_of(worker: str) -> Sequence[int]:
    """The ports of a worker of pytest-xdist by its name, as gw0; all of them for a process that is none."""
    return _PORTS[int(worker.removeprefix("gw")) % _WORKERS :: _WORKERS] if worker else _PORTS


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


_ports = Ports(ports_of(os.environ.get("PYTEST_XDIST_WORKER", "")))


def free_port() -> int:
    """A port of the loopback address that nothing listens on, and that this process was not given before."""
    return _ports.free()
