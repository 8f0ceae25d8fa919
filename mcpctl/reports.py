"""Following operations on a node: what they report is drawn, written line by line, or printed as JSON.

An operation belongs to its node: it ends there by itself, whatever becomes of who follows it. So whatever cuts the
following short says how to take it up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from mcpctl import client, render
from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, InterruptedByUserError, UnreachableError
from mcpctl.looking import what
from mcpctl.progress import Board, Screen
from mcpctl.rows import OperationRow, OutcomeRow, ReportRow
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

S = TypeVar("S", v1.DeployResponse, v1.RecoverResponse, v1.WatchOperationResponse)
Show = Callable[[ReportRow], None]

# Results that are no success.
BAD = ("failed", "reverted")
# What a drawing shows changes by itself once a second.
_TICK_S = 1.0


def watch(
    settings: Settings,
    node: Node,
    call: Callable[[AgentServiceStub], AsyncIterator[S]],
    read: Callable[[S], ReportRow],
    *,
    subject: str,
    json: bool,
    operation: str = "",
) -> int:
    """Follows one operation on ``node`` to its end, and prints how it ended for each component.

    ``operation``: its id, where that is known beforehand; ``subject``: what it is called until then. Raises CliError,
    which says how to follow it again when it is not over.
    """
    outcomes: list[OutcomeRow] = []

    def keep(row: ReportRow, show: Show) -> None:
        nonlocal operation
        operation = row.operation
        if row.outcome:
            outcomes.append(row.outcome)
        show(row)

    async def command() -> None:
        async with shown(json=json) as show, client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub:
            await follow(call(stub), read, lambda row: keep(row, show), ended_early(node, subject))

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        if not operation:
            raise
        again = _attach(settings, node, operation)
        raise InterruptedByUserError(
            f"interrupted; operation {operation} goes on by itself on {node.name}: `{again}` follows it again"
        ) from None
    except UnreachableError as error:
        if not operation:
            raise
        again = _attach(settings, node, operation)
        raise UnreachableError(
            f"{error}\noperation {operation} ends there by itself, completed or undone: `{again}` tells how"
        ) from None
    finally:
        if outcomes and not json:
            print_outcomes(outcomes)
    return DONE


async def follow(stream: AsyncIterator[S], read: Callable[[S], ReportRow], show: Show, early: UnreachableError) -> None:
    """Shows what ``stream`` reports. Raises ``early`` when it ends before its operation does."""
    completed = False
    async for response in stream:
        completed = response.is_set("completed")
        if not completed:
            show(read(response))
    if not completed:
        # grpclib takes a connection that closes right behind an error for the end of a good stream.
        raise early


def ended_early(node: Node, subject: str) -> UnreachableError:
    return UnreachableError(f"node {node.name}: the connection ended before {subject} did")


@asynccontextmanager
async def shown(*, json: bool, several: bool = False) -> AsyncIterator[Show]:
    """How reports are shown here. ``several``: nodes, so that each line names its own."""
    if json:
        yield render.as_json_line
    elif render.is_terminal(sys.stderr):
        screen = Screen(Board(), sys.stderr)
        ticking = asyncio.create_task(_tick(screen))
        try:
            yield lambda row: _draw(screen, row, several)
        finally:
            ticking.cancel()
            screen.draw()
    else:
        yield lambda row: _write(row, several)


def print_outcomes(rows: Iterable[OutcomeRow]) -> None:
    render.table(("COMPONENT", "RESULT", "DETAIL"), [(row.component, row.result, row.message) for row in rows])


def _draw(screen: Screen, row: ReportRow, several: bool) -> None:
    if row.info:
        _introduce(row.info)
    elif row.outcome:
        screen.board.outcome(_name(row, row.outcome.component, several), row.outcome, screen.clock())
    elif row.progress:
        screen.board.step(_name(row, row.progress.component, several), row.progress, screen.clock())
    screen.draw()


async def _tick(screen: Screen) -> None:
    # A terminal that is gone is noticed by whoever draws next.
    with contextlib.suppress(OSError):
        while True:
            await asyncio.sleep(_TICK_S)
            screen.draw()


def _write(row: ReportRow, several: bool) -> None:
    if row.info:
        _introduce(row.info)
    elif step := row.progress:
        render.note(f"{_name(row, step.component, several):16} {step.step:8} {step.message}")


def _introduce(info: OperationRow) -> None:
    target = what(info.service, info.component)
    when = f"{info.state}, since {render.moment(info.started_at)}"
    render.note(f"mcpctl: node {info.node}: operation {info.id}: {info.kind} {target} by {info.caller}; {when}")


def _name(row: ReportRow, component: str, several: bool) -> str:
    name = what(row.service, component) if row.service else component
    return f"{row.node}: {name}" if several else name


def _attach(settings: Settings, node: Node, operation: str) -> str:
    where = f" --node {node.name}" if len(settings.active_nodes) > 1 else ""
    return f"mcpctl attach {operation}{where}"
