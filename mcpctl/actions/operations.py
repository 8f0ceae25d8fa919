"""What `mcpctl operations`, `attach` and `cancel` do: what is being changed on the nodes, and what was."""

from __future__ import annotations

import asyncio

from mcpctl.actions.operation_progress import watch
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, FAILED, InterruptedByUserError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.cells import LONG_AGO, full_name
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.changes import OperationRow, operation_row, watch_report
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

DEFAULT_OPERATIONS = 20
_TAKEN_BACK = "reverted"
_HEADERS = ("NODE", "ID", "OPERATION", "TARGET", "BY", "STARTED", "TOOK", "STATE", "STEP/DETAIL")
_WIDE_HEADERS = ("ENDED", "STEP", "DETAIL")
_FIT = Fit(spare=("BY",))


def operations(query: Query, *, running: bool, limit: int) -> int:
    """Lists them, the newest ``limit`` of each node. Raises CliError."""
    request = v1.ListOperationsRequest(service=query.service(), running_only=running, limit=limit)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_operations(request)))
    rows = [operation_row(answer.node, each) for answer in found.answers for each in answer.operations]
    # As with events: within a node the ledger's order stands, between nodes there are only the clocks.
    if len(found.answers) > 1:
        rows.sort(key=lambda row: row.started_at or LONG_AGO)
    nothing = found.nothing("no operations running") if running else found.nothing("no operations found")
    listing(rows, query.how, View(_HEADERS, _cells, lambda row: str(row.id), _WIDE_HEADERS, _wide_cells, _FIT), nothing)
    return found.status


def attach(settings: Settings, where: Node, operation: int, how: How) -> int:
    """Follows an operation to its end. Raises CliError."""
    return watch(
        settings,
        where,
        lambda stub: stub.watch_operation(v1.WatchOperationRequest(id=operation)),
        lambda response: watch_report(where.name, operation, response),
        subject=f"operation {operation}",
        how=how,
        operation=str(operation),
    )


def cancel(settings: Settings, where: Node, operation: int, how: How) -> int:
    """Asks for a deploy to be taken back. Raises CliError."""

    async def command() -> v1.CancelOperationResponse:
        async with client.agent(settings, where, deadline=client.CHANGE_DEADLINE_S) as stub:
            return await stub.cancel_operation(v1.CancelOperationRequest(id=operation))

    try:
        row = operation_row(where.name, asyncio.run(command()).operation)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"interrupted; node {where.name} may have received the request and cancel operation {operation}; "
            "see `mcpctl operations`"
        ) from None
    if how.structured:
        put(how, row)
    elif not how.quiet or row.state != _TAKEN_BACK:
        render.say(f"node {row.node}: operation {row.id} is {row.state}: {row.message}")
    return DONE if row.state == _TAKEN_BACK else FAILED


def _wide_cells(row: OperationRow) -> tuple[str, ...]:
    return render.moment(row.ended_at), row.step, row.message


def _cells(row: OperationRow) -> tuple[str, ...]:
    started, took = render.moment(row.started_at), render.age(row.started_at, row.ended_at)
    target = full_name(row.service, row.component)
    return row.node, str(row.id), row.kind, target, row.caller, started, took, row.state, row.message or row.step
