"""Following operations on a node: what they report is drawn, written line by line, or printed as JSON.

An operation belongs to its node: it ends there by itself, whatever becomes of who follows it. So whatever cuts the
following short says how to take it up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, FAILED, CliError, InterruptedByUserError, UnreachableError
from mcpctl.nodes import client
from mcpctl.ui import output, render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How
from mcpctl.ui.progress import Board, Screen
from mcpctl.ui.rows.changes import OperationRow, OutcomeRow, ReportRow, deploy_report, outcome_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

S = TypeVar("S", v1.DeployResponse, v1.RecoverResponse, v1.WatchOperationResponse)
Show = Callable[[ReportRow], None]

# Results that are no success.
BAD = ("failed", "reverted")
# Of the table of several services; see `outcome_cells`.
OUTCOME_HEADERS = ("NODE", "SERVICE", "COMPONENT", "RESULT", "DETAIL")
# What a drawing shows changes by itself once a second.
_TICK_S = 1.0


def watch(
    settings: Settings,
    node: Node,
    call: Callable[[AgentServiceStub], AsyncIterator[S]],
    read: Callable[[S], ReportRow],
    *,
    subject: str,
    how: How,
    operation: str = "",
    kind: str = "",
) -> int:
    """Follows one operation on ``node`` to its end, and prints how it ended for each component.

    ``operation`` and ``kind``: its id, and whether it is a deploy, where those are known beforehand; ``subject``: what
    it is called until then. Raises CliError, which says how to follow it again when it is not over.
    """
    outcomes: list[OutcomeRow] = []

    def keep(row: ReportRow, show: Show) -> None:
        nonlocal operation, kind
        kind = row.info.kind if row.info else kind
        if not operation:
            announce(node, row.operation, subject, how)
        operation = row.operation
        if row.outcome:
            outcomes.append(row.outcome)
        show(row)

    async def command() -> None:
        async with (
            shown(how) as show,
            client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub,
        ):
            await follow(call(stub), read, lambda row: keep(row, show), ended_early(node, subject))

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        if not operation:
            raise
        raise InterruptedByUserError(f"interrupted; {left_alone(settings, node, operation, kind)}") from None
    except UnreachableError as error:
        if not operation:
            raise
        again = _at(settings, node, "attach", operation)
        raise UnreachableError(
            f"{error}\noperation {operation} continues on the node until it completes or rolls back: "
            f"`{again}` follows it"
        ) from None
    finally:
        if not how.structured and not is_seen(how):
            print_outcomes(outcomes, quiet=how.quiet)
    return DONE


def follow_deploy(settings: Settings, node: Node, request: v1.DeployRequest, subject: str, how: How) -> int:
    """Asks for a deploy, and follows it as `watch` does."""
    return watch(
        settings, node, lambda stub: stub.deploy(request), deploy_report, subject=subject, how=how, kind="deploy"
    )


def is_seen(how: How) -> bool:
    """Whether what `shown` draws stays where the results would be printed, too."""
    return not how.quiet and render.is_terminal(sys.stderr) and render.is_terminal(sys.stdout)


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


def announce(node: Node, operation: str, subject: str, how: How) -> None:
    """Says which number an operation has, for whoever wants to follow it elsewhere, or to cancel it."""
    if not how.structured and not how.quiet:
        render.note(f"mcpctl: node {node.name}: {subject} is operation {operation}")


def left_alone(settings: Settings, node: Node, operation: str, kind: str) -> str:
    """What becomes of an operation that is followed no more, and what to do about it."""
    again, back = _at(settings, node, "attach", operation), _at(settings, node, "cancel", operation)
    text = f"operation {operation} continues on {node.name}: `{again}` follows it again"
    return f"{text}, `{back}` rolls it back" if kind == "deploy" else text


def ended_early(node: Node, subject: str) -> UnreachableError:
    return UnreachableError(f"node {node.name}: the connection closed before {subject} ended")


@asynccontextmanager
async def shown(how: How, *, several: bool = False) -> AsyncIterator[Show]:
    """How reports are shown here. ``several``: nodes, so that each line names its own."""
    if how.structured:
        yield lambda row: output.later(row, how)
    elif how.quiet:
        yield lambda _: None
    elif render.is_terminal(sys.stderr):
        screen = Screen(Board(), sys.stderr)
        ticking = asyncio.create_task(_tick(screen))
        wholes: set[str] = set()
        told = ""
        try:
            yield lambda row: _draw(screen, row, several, wholes)
            _pass(screen, wholes, well=True)
        except CliError as error:
            told = str(error)
            # What goes on there is not over.
            if not isinstance(error, UnreachableError):
                _pass(screen, wholes, well=False)
            raise
        finally:
            ticking.cancel()
            screen.finish(told)
    else:
        yield lambda row: _write(row, several)


def outcome_cells(node: str, service: str, row: OutcomeRow) -> tuple[str, ...]:
    """A row under ``OUTCOME_HEADERS``."""
    return node, service, row.component, row.result, row.message


def print_outcomes(rows: Iterable[OutcomeRow], *, quiet: bool = False) -> None:
    """``quiet``: only what went wrong."""
    rows = [row for row in rows if row.result in BAD or not quiet]
    if rows:
        cells = [(row.component, row.result, row.message) for row in rows]
        # Why something failed is what one came for: it is never cut.
        render.table(("COMPONENT", "RESULT", "DETAIL"), cells, whole=True)


def change(
    settings: Settings,
    node_name: str,
    call: Callable[[AgentServiceStub], Awaitable[Any]],
    how: How,
    *,
    lines: bool = False,
) -> int:
    """``lines``: as JSON, a line for each, since others were printed before."""
    node = settings.usable_node(node_name)

    async def command() -> int:
        async with client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub:
            response = await call(stub)
        rows = [outcome_row(each) for each in response.outcomes]
        if how.structured and lines:
            for row in rows:
                output.later(row, how)
        elif how.structured:
            output.structured(rows, how, rows)
        else:
            print_outcomes(rows, quiet=how.quiet)
        return FAILED if any(row.result in BAD for row in rows) else DONE

    return client.run(command())


def _pass(screen: Screen, wholes: Iterable[str], *, well: bool) -> None:
    for name in wholes:
        screen.board.passed(name, screen.clock(), well=well)


def _draw(screen: Screen, row: ReportRow, several: bool, wholes: set[str]) -> None:
    """``wholes``: the names of steps that are whole operations', to be added to."""
    whole = _name(row, "", several)
    if row.info:
        _introduce(row.info)
    elif row.progress and not row.progress.component:
        wholes.add(whole)
    else:
        screen.board.passed(whole, screen.clock())
    if row.outcome:
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
    target = full_name(info.service, info.component)
    when = f"{info.state}, since {render.moment(info.started_at)}"
    render.note(f"mcpctl: node {info.node}: operation {info.id}: {info.kind} {target} by {info.caller}; {when}")


def _name(row: ReportRow, component: str, several: bool) -> str:
    name = full_name(row.service, component) if row.service else component
    return f"{row.node}: {name}" if several else name


def _at(settings: Settings, node: Node, command: str, operation: str) -> str:
    where = f" --node {node.name}" if len(settings.active_nodes) > 1 else ""
    return f"mcpctl {command} {operation}{where}"
