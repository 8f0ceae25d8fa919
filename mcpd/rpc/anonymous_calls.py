"""Counts calls without a known token: anybody can make them at any rate, and they must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import msgspec

from mcpd.registry.audit import AuditEntry

# The first call of its kind is logged at once, all others within this time as one.
MINUTE_S = 60.0
# Of one peer: an RPC and how it ended. Above that, peers are counted together, so that whoever has many addresses
# writes no more than this a minute, and then a line for each RPC and status.
MOST_KINDS = 256
OTHERS = "other addresses"


class _Window:
    """The calls of one kind since ``began``, without the first, which was logged at once."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.calls = 0
        self.took = timedelta()
        self.last: AuditEntry | None = None


class AnonymousCalls:
    """By address, method and status. The clock only moves forwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def is_first(self, entry: AuditEntry, address: str) -> bool:
        """Whether this call is to be logged now; if not, it is counted."""
        kind = (address, entry.method, entry.status)
        window = self._windows.get(kind)
        if window is None and len(self._windows) >= MOST_KINDS:
            kind = (OTHERS, entry.method, entry.status)
            window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = _Window(self._clock())
            return True
        window.calls += 1
        window.took += entry.duration
        window.last = entry
        return False

    def due(self, *, all_of_them: bool = False) -> list[AuditEntry]:
        """What was counted in the minutes that are over: an entry for each kind and minute."""
        now = self._clock()
        found = []
        for kind, window in list(self._windows.items()):
            if now - window.began < MINUTE_S and not all_of_them:
                continue
            del self._windows[kind]
            if window.last:
                found.append(_counted(kind[0], window, window.last))
                self._windows[kind] = _Window(now)
        return found


def _counted(address: str, window: _Window, last: AuditEntry) -> AuditEntry:
    return msgspec.structs.replace(
        last,
        peer=address,
        target=f"{window.calls} more such {'call' if window.calls == 1 else 'calls'} within a minute",
        duration=window.took / window.calls,
        calls=window.calls,
    )
