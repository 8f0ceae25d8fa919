"""What top does: the processes of components, and of what run has made of them."""

from __future__ import annotations

import asyncio

from mcpctl.actions.query import Query
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import UnknownServiceError
from mcpctl.nodes.fanout import Answers, ask_each, chosen, settled
from mcpctl.ui import output, render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import View, structured, table
from mcpctl.ui.rows.processes import ComponentProcessesRow, ProcessRow, process_rows
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

_HEADERS = ("NODE", "COMPONENT", "RUN", "PID", "USER", "CPU", "MEMORY", "ELAPSED", "COMMAND")
_WIDE_HEADERS = ("CONTAINER", "HOST PID")
_FIT = Fit(spare=("RUN",))
_Pair = tuple[ComponentProcessesRow, ProcessRow]


def top(query: Query) -> int:
    """Raises CliError."""
    service, component = query.service_and_component()
    request = v1.ListProcessesRequest(service, component)
    found = asyncio.run(_ask(query.settings(), query.nodes, request))
    rows = [row for answer in found.answers for row in process_rows(answer)]
    if query.json:
        structured(rows, query.how, rows)
        return found.status
    pairs = [(row, process) for row in rows for process in row.processes]
    view = View(_HEADERS, _cells, _name, _WIDE_HEADERS, _wide_cells, _FIT)
    if query.how.quiet:
        output.names(map(_name, pairs))
        return found.status
    if pairs:
        table(pairs, query.how, view)
    elif nothing := found.nothing("no processes found"):
        render.note(f"mcpctl: {nothing}")
    for row in rows:
        if row.message:
            name = full_name(row.service, row.component) + (f" run {row.run}" if row.run else "")
            render.note(f"mcpctl: {name} on {row.node}: {row.message}")
    return found.status


async def _ask(
    settings: Settings, names: tuple[str, ...], request: v1.ListProcessesRequest
) -> Answers[v1.ListProcessesResponse]:
    nodes = chosen(settings, names)
    said = await ask_each(settings, nodes, lambda stub, _: stub.list_processes(request))
    try:
        return settled(said)
    except UnknownServiceError as error:
        asked = [each.name for each in nodes]
        raise definition.unknown(settings, request.service, error, asked, request.component) from None


def _name(pair: _Pair) -> str:
    row, _ = pair
    return full_name(row.service, row.component)


def _cells(pair: _Pair) -> tuple[str, ...]:
    row, process = pair
    return (
        *(row.node, full_name(row.service, row.component), row.run, str(process.pid), process.user),
        *(f"{process.cpu_percent:.1f}%", render.size(process.resident_bytes), render.span(process.elapsed)),
        process.command,
    )


def _wide_cells(pair: _Pair) -> tuple[str, ...]:
    row, process = pair
    return row.container, str(process.host_pid)
