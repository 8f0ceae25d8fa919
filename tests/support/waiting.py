"""Waiting for conditions with a deadline, and finding ports; shared by every test that runs real processes."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

# Generous: reached only when something is broken, or the machine is very busy.
DEADLINE_S = 30.0
_POLL_S = 0.02
_HOST = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections, so that none of them takes ours in between.
_PORTS = range(20000, 32000)


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


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
