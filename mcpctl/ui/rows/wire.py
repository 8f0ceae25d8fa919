"""Single values off the wire, as rows have them."""

from __future__ import annotations

from datetime import UTC, datetime

from protos.mcp import v1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def word(kind: type[v1.DesiredState] | type[v1.ObservedState] | type[v1.Result], value: int) -> str:
    """An enum's value in lower case; a newer agent's is shown by number rather than not at all."""
    try:
        return (kind(value).name or "").lower()
    except ValueError:
        return f"{kind.__name__}({value})"


def instant(value: datetime) -> datetime | None:
    """betterproto reads an unset timestamp as 1970."""
    return None if value == _EPOCH else value
