"""The outside world as monitor sees it: small Protocols, which mcpd's rooms happen to satisfy."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from monitor.alerts.model import Alert, Delivery, Execution


class Ran(NamedTuple):
    """How a command ended: its exit status and the end of what it printed."""

    status: int
    output: str


class Executor(Protocol):
    """Runs commands inside containers."""

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        """Runs ``argv`` in a running container, to its end. May be cancelled; the caller bounds the time."""


class AlertLedger(Protocol):
    """Where alerts are kept. Everything is committed when a method returns."""

    async def pending_alerts(self) -> tuple[Alert, ...]:
        """Those still to be sent, oldest first."""

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        """Keeps how one attempt went: counts it, and sets the alert's delivery."""
