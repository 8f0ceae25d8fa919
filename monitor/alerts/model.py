"""An alert, and how telling somebody of it went."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

# The id of an alert that has no row in the ledger; below it, of those that may get one later.
NOT_KEPT = -1


class AlertKind(StrEnum):
    """``RECOVERED`` closes a drift or a flap; ``REBOOT`` names what did not come back; ``EXPIRY``: a certificate's.

    ``DISK``: a filesystem has little room left. ``REGISTRY``: the ledger itself cannot be written, so that it has no
    row of this.
    """

    DRIFT = "drift"
    FLAP = "flap"
    RECOVERED = "recovered"
    REBOOT = "reboot"
    EXPIRY = "expiry"
    REGISTRY = "registry"
    DISK = "disk"


class Delivery(StrEnum):
    """``FAILED``: after all attempts. ``SUPPRESSED``: by a rule, which is recorded with it."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


class Alert(msgspec.Struct, frozen=True):
    """One row of the ledger, as the operator's command is told of it. ``id`` stays the same over every attempt.

    A negative ``id`` is of no row: the ledger could not be written. The command is told 0 then, by which no repeat can
    be told from news.

    ``since`` is when the state began that the alert is about; ``transitions`` counts the component's changes of state
    within the flap window.
    """

    id: int
    node: str
    service: str
    component: str
    kind: AlertKind
    desired: str
    observed: str
    reason: str
    since: datetime
    transitions: int = 0
    attempts: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the ledger has it."""
        return self.id > NOT_KEPT


class Execution(msgspec.Struct, frozen=True):
    """One run of the alert command. ``status`` is its exit status, negative for a signal, None when it never ran.

    ``words`` say how it ended; ``output`` is the end of what it printed, on stdout and stderr together.
    """

    status: int | None
    words: str
    output: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == 0
