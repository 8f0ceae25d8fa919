"""How callers, their tokens and their calls are printed."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class AuditRow(msgspec.Struct, frozen=True):
    """One call. ``caller`` and ``role`` empty: nobody was let in. ``status`` is gRPC's."""

    node: str
    id: int
    at: datetime | None
    caller: str
    role: str
    peer: str
    method: str
    target: str
    status: str
    took_ms: float


class WhoRow(msgspec.Struct, frozen=True):
    """Who one is on a node. ``expires_at`` None: the token has no end."""

    node: str
    name: str
    role: str
    expires_at: datetime | None


class GrantRow(msgspec.Struct, frozen=True):
    """A login. ``expires_at`` None: the token has no end, or does not say it."""

    username: str
    expires_at: datetime | None


class LogoutRow(msgspec.Struct, frozen=True):
    """``revoked``: whether MCIAS made the token worthless; it is forgotten here in any case."""

    revoked: bool


def audit_row(node: str, info: v1.AuditInfo) -> AuditRow:
    return AuditRow(
        node=node,
        id=info.id,
        at=instant(info.at),
        caller=info.caller,
        role=info.role,
        peer=info.peer,
        method=info.method,
        target=info.target,
        status=info.status,
        took_ms=info.duration / timedelta(milliseconds=1),
    )


def who_row(answer: v1.WhoAmIResponse) -> WhoRow:
    return WhoRow(answer.node, answer.name, answer.role, instant(answer.expires_at))
