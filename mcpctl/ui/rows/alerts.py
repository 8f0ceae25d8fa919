"""How alerts and silences are printed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class AlertRow(msgspec.Struct, frozen=True):
    """``closed_at`` None: still open. ``exit_status`` is the alert command's, None when it did not end by itself.

    ``silenced_until``: the end of the silence that is in force for its component; None: there is none.
    """

    node: str
    id: int
    kind: str
    service: str
    component: str
    reason: str
    desired: str
    observed: str
    opened_at: datetime | None
    closed_at: datetime | None
    transitions: int
    delivery: str
    suppressed_by: str
    attempts: int
    exit_status: int | None
    output_tail: str
    acked_by: str
    ack_note: str
    silenced_until: datetime | None = None

    @property
    def is_silenced(self) -> bool:
        """Whether it is open, and kept quiet."""
        return self.silenced_until is not None and self.closed_at is None


class SilenceRow(msgspec.Struct, frozen=True):
    """``component`` empty: every component of the service."""

    node: str
    id: int
    service: str
    component: str
    until: datetime | None
    reason: str
    by: str


def alert_row(node: str, info: v1.AlertInfo) -> AlertRow:
    return AlertRow(
        node=node,
        id=info.id,
        kind=info.kind,
        service=info.service,
        component=info.component,
        reason=info.reason,
        desired=info.desired,
        observed=info.observed,
        opened_at=instant(info.opened_at),
        closed_at=instant(info.closed_at),
        transitions=info.transitions,
        delivery=info.delivery,
        suppressed_by=info.suppressed_by,
        attempts=info.attempts,
        exit_status=info.exit_status,
        output_tail=info.output_tail,
        acked_by=info.acked_by,
        ack_note=info.ack_note,
        silenced_until=instant(info.silenced_until),
    )


def silence_row(node: str, info: v1.SilenceInfo) -> SilenceRow:
    return SilenceRow(node, info.id, info.service, info.component, instant(info.until), info.reason, info.by)
