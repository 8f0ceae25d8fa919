"""The states of a component, wanted and seen, and what is known of its container at one moment."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Desired(StrEnum):
    """What the operator wants of a component. ``IGNORE``: nobody declared it; listed, never touched."""

    RUNNING = "running"
    STOPPED = "stopped"
    IGNORE = "ignore"


class Observed(StrEnum):
    """What a component was last seen to be. ``UNKNOWN``: not seen, and no second look has agreed that it is gone."""

    CREATED = "created"
    RUNNING = "running"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVED = "removed"
    UNKNOWN = "unknown"

    @property
    def is_up(self) -> bool:
        """Whether the main process runs and nothing says that it does not work."""
        return self in (Observed.RUNNING, Observed.HEALTHY)


class Wanted(msgspec.Struct, frozen=True):
    """What the registry wants of one component."""

    service: str
    component: str
    desired: Desired
    image: str
    spec_hash: str


class Seen(msgspec.Struct, frozen=True):
    """What was seen of a component's container. ``exit_code`` is that of the last run, None before the first end."""

    state: Observed
    image: str = ""
    spec_hash: str = ""
    exit_code: int | None = None
    finished_at: datetime | None = None


MISSING = Seen(Observed.REMOVED)
