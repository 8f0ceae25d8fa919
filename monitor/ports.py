"""The outside world as monitor sees it: small Protocols, which mcpd's rooms happen to satisfy."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Ran(NamedTuple):
    """How a command ended: its exit status and the end of what it printed."""

    status: int
    output: str


class Executor(Protocol):
    """Runs commands inside containers."""

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        """Runs ``argv`` in a running container, to its end. May be cancelled; the caller bounds the time."""
