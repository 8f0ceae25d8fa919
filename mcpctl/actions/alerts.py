"""What alerts list, ack, silence and unsilence do: the ledger of alerts on each node, and what keeps it quiet."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from mcpctl.actions.query import Query
from mcpctl.config import Node
from mcpctl.errors import DONE
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.cells import LONG_AGO, full_name
from mcpctl.ui.output import View, listing, put, structured, table
from mcpctl.ui.rows.alerts import AlertRow, SilenceRow, alert_row, silence_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

DEFAULT_ALERTS = 100


class Ledger(msgspec.Struct, frozen=True):
    """What `alerts list` prints as JSON."""

    alerts: list[AlertRow]
    silences: list[SilenceRow]


def list_alerts(query: Query, *, closed: bool = False, limit: int = DEFAULT_ALERTS) -> int:
    """``closed``: those that are over, too."""
    service, component = query.service_and_component()
    request = v1.ListAlertsRequest(service=service, component=component, open_only=not closed, limit=limit)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_alerts(request)))
    alerts = [alert_row(answer.node, each) for answer in found.answers for each in answer.alerts]
    silences = [silence_row(answer.node, each) for answer in found.answers for each in answer.silences]
    # As with events: within a node the ledger's order stands, between nodes there are only the clocks.
    if len(found.answers) > 1:
        alerts.sort(key=lambda row: row.opened_at or LONG_AGO)
    if query.json:
        structured(Ledger(alerts, silences), query.how, [*alerts, *silences])
        return found.status
    listing(alerts, query.how, _ALERTS, found.nothing("no alerts found" if closed else "no open alerts"))
    if silences and not query.how.quiet:
        if alerts:
            print()
        table(silences, query.how, _SILENCES)
    return found.status


def ack(query: Query, node: Node, alert: int, note: str) -> int:
    """Raises CliError."""
    settings = query.settings()
    request = v1.AckAlertRequest(id=alert, note=note)

    async def command() -> v1.AckAlertResponse:
        async with client.agent(settings, node, deadline=client.read_deadline()) as stub:
            return await stub.ack_alert(request)

    row = alert_row(node.name, asyncio.run(command()).alert)
    if query.json:
        put(query.how, row)
    elif not query.how.quiet:
        render.say(f"alert {row.id} on {row.node} ({row.kind}, {_what(row)}) acknowledged by {row.acked_by}")
    return DONE


def silence(query: Query, node: Node, until: datetime, reason: str) -> int:
    """Raises CliError."""
    settings = query.settings()
    service, component = query.service_and_component()
    request = v1.SilenceAlertRequest(service=service, component=component, until=until, reason=reason)

    async def command() -> v1.SilenceAlertResponse:
        async with client.agent(settings, node, deadline=client.read_deadline()) as stub:
            return await stub.silence_alert(request)

    row = silence_row(node.name, asyncio.run(command()).silence)
    if query.json:
        put(query.how, row)
    elif not query.how.quiet:
        render.say(f"alerts of {_what(row)} on {row.node} silenced until {render.moment(row.until)}")
    return DONE


def unsilence(query: Query, node: Node, silence: int = 0) -> int:
    """Ends the ``silence`` of that id; with 0 all those of what the query is about. Raises CliError."""
    settings = query.settings()
    service, component = query.service_and_component()
    request = v1.UnsilenceAlertRequest(id=silence, service=service, component=component)

    async def command() -> v1.UnsilenceAlertResponse:
        async with client.agent(settings, node, deadline=client.READ_DEADLINE_S) as stub:
            return await stub.unsilence_alert(request)

    rows = [silence_row(node.name, each) for each in asyncio.run(command()).silences]
    if query.json:
        structured(rows, query.how, rows)
    elif not query.how.quiet:
        for row in rows:
            render.say(f"silence {row.id} of {_what(row)} on {row.node} ended")
    return DONE


def _alert_cells(row: AlertRow) -> tuple[str, ...]:
    opened, closed = render.moment(row.opened_at), render.moment(row.closed_at)
    return str(row.id), row.node, row.kind, _what(row), opened, closed, _delivery(row), _reason(row)


def _silence_cells(row: SilenceRow) -> tuple[str, ...]:
    return str(row.id), row.node, _what(row), render.moment(row.until), row.reason, row.by


def _delivery(row: AlertRow) -> str:
    if row.suppressed_by:
        return f"{row.delivery} ({row.suppressed_by})"
    if row.delivery == "failed" and row.exit_status is not None:
        return f"failed (exit {row.exit_status})"
    return row.delivery


def _reason(row: AlertRow) -> str:
    reason = row.reason
    if row.acked_by:
        note = f": {row.ack_note}" if row.ack_note else ""
        reason += f" (acked by {row.acked_by}{note})"
    # What was kept quiet from the start says so in its delivery.
    is_marked = row.is_silenced and not row.suppressed_by.startswith("silence ")
    return f"{reason} (silenced until {render.moment(row.silenced_until)})" if is_marked else reason


def _what(row: AlertRow | SilenceRow) -> str:
    """An alert that is about the node itself has no service."""
    return full_name(row.service, row.component) or "the node"


def _wide_cells(row: AlertRow) -> tuple[str, ...]:
    exit_status = "" if row.exit_status is None else str(row.exit_status)
    return row.desired, row.observed, str(row.transitions), str(row.attempts), exit_status, row.output_tail


_ALERTS: View[AlertRow] = View(
    ("ID", "NODE", "ALERT", "TARGET", "OPENED", "CLOSED", "DELIVERY", "REASON"),
    _alert_cells,
    lambda row: str(row.id),
    ("DESIRED", "OBSERVED", "TRANSITIONS", "ATTEMPTS", "EXIT", "OUTPUT"),
    _wide_cells,
    Fit(flows=("DELIVERY", "REASON")),
)
_SILENCES: View[SilenceRow] = View(
    ("ID", "NODE", "TARGET", "UNTIL", "REASON", "BY"),
    _silence_cells,
    lambda row: str(row.id),
    fit=Fit(flows=("REASON",)),
)
