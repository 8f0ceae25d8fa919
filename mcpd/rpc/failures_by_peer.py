"""Limits failed authentications: a bounded table, by peer address."""

from __future__ import annotations

import time
from collections.abc import Callable

# So many tokens that are not good within the window, and the peer waits for its end. A token cannot be guessed: what
# this bounds is the work that strangers make. Whoever has a token that is known passes at all times, so that a
# forgotten script behind the same address locks nobody out.
MAX_FAILURES = 300
WINDOW_S = 60.0
# The oldest address gives way.
_MAX_PEERS = 4096


class FailuresByPeer:
    """Failed attempts of each peer. The clock only moves forwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, list[float]] = {}

    def wait(self, peer: str) -> float:
        """Seconds until ``peer`` may try again; 0 when it may now."""
        recent = self._recent(peer)
        return recent[0] + WINDOW_S - self._clock() if len(recent) >= MAX_FAILURES else 0.0

    def failed(self, peer: str) -> None:
        recent = [*self._recent(peer), self._clock()]
        self._failures.pop(peer, None)
        self._failures[peer] = recent[-MAX_FAILURES:]
        if len(self._failures) > _MAX_PEERS:
            del self._failures[next(iter(self._failures))]

    def _recent(self, peer: str) -> list[float]:
        oldest = self._clock() - WINDOW_S
        return [when for when in self._failures.get(peer, ()) if when > oldest]
