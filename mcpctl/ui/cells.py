"""How single values are written in a table, the same in every table."""

from __future__ import annotations

from datetime import UTC, datetime

from mcpctl.ui import render
from mcpctl.ui.rows.status import ComponentRow, EventRow

EVENT_HEADERS = ("TIME", "NODE", "TARGET", "EVENT", "BY", "DETAIL")
# Sorts before every time: for what has none.
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def full_name(service: str, component: str) -> str:
    """How a service, or a component of it, is written in a table."""
    return f"{service}/{component}" if component else service


def state(row: ComponentRow) -> str:
    """How what was observed is written in a table."""
    if row.has_completed:
        return "completed"
    return f"exited {row.exit_code}" if row.observed == "exited" and row.exit_code is not None else row.observed


def event_cells(row: EventRow) -> tuple[str, ...]:
    return render.moment(row.at), row.node, full_name(row.service, row.component), row.kind, row.caller, row.message
