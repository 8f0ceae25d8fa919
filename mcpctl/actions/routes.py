"""What `mcpctl routes` and `maintenance` do: the routes of each node's proxy, and having a service's answer 503."""

from __future__ import annotations

import asyncio

from mcpctl.actions.operation_progress import change
from mcpctl.actions.query import Query
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, View, listing
from mcpctl.ui.rows.routes import RouteRow, route_rows
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

_HEADERS = ("NODE", "ROUTE", "TO", "STATE", "CERTIFICATE")
_WIDE_HEADERS = ("MODE", "CONTAINERS")
_FIT = Fit(spare=("ROUTE",))
# The port of a route that nobody needs to be told.
_USUAL_PORT = 443


def routes(query: Query) -> int:
    """Raises CliError."""
    service = query.service()
    request = v1.ListRoutesRequest(service=service)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_routes(request)))
    rows = [row for answer in found.answers for row in route_rows(answer)]
    view = View(_HEADERS, _cells, _url, _WIDE_HEADERS, _wide_cells, _FIT)
    listing(rows, query.how, view, found.nothing(f"no routes of {service} found" if service else "no routes found"))
    for answer in found.answers:
        if answer.reason:
            render.note(f"{answer.node}: the proxy does not have the routes that it should have: {answer.reason}")
        for each in answer.warnings:
            render.note(f"{answer.node}: {each}")
    return found.status


def maintenance(settings: Settings, service: str, node: str, how: How, *, on: bool, wait: bool) -> int:
    """``node`` "": the one that the definition names. Raises CliError."""
    where = node or definition.load(settings, service).service.node
    request = v1.SetMaintenanceRequest(service=service, on=on, wait=wait)
    return change(settings, where, lambda stub: stub.set_maintenance(request), how)


def _url(row: RouteRow) -> str:
    port = "" if row.listen == _USUAL_PORT else f":{row.listen}"
    return f"{row.host}{port}{'' if row.path == '/' else row.path}"


def _cells(row: RouteRow) -> tuple[str, ...]:
    ends = render.moment(row.certificate_ends_at) if row.certificate_ends_at else ""
    return row.node, _url(row), full_name(row.service, row.component), _state(row), ends


def _state(row: RouteRow) -> str:
    return f"{row.state}, not in the proxy" if row.problem else row.state


def _wide_cells(row: RouteRow) -> tuple[str, ...]:
    servers = [f"{each.container} ({'draining, ' if each.draining else ''}{each.address})" for each in row.servers]
    return row.mode, ", ".join(servers)
