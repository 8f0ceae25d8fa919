"""What `mcpctl sync`, `purge` and `recover` do: make whole nodes agree with what is declared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from mcpctl.actions import relocation
from mcpctl.actions.operation_progress import BAD, OUTCOME_HEADERS, ended_early, follow, is_seen, outcome_cells, shown
from mcpctl.actions.plan import what_happens
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.errors import FAILED, InterruptedByUserError, UsageError
from mcpctl.nodes.client import CHANGE_DEADLINE_S
from mcpctl.nodes.fanout import Answers, ask_each, changeable, settled
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, structured
from mcpctl.ui.rows.changes import OutcomeRow, ReportRow, ServiceOutcomeRow, recover_report, service_outcome_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub
from protos.wire import service_spec


def sync(settings: Settings, names: tuple[str, ...], how: How, *, dry_run: bool) -> int:
    """Raises CliError."""
    found, wrong = definition.without_clashes(settings, *definition.every(settings))
    if wrong:
        raise UsageError("\n".join([*map(str, wrong), "nothing was sent to any node"]))

    async def question(stub: AgentServiceStub, node: Node) -> list[ServiceOutcomeRow]:
        answer = await stub.sync(_sync_request(found, node, dry_run=dry_run))
        return [service_outcome_row(node.name, each) for each in answer.services]

    nodes = changeable(settings, names)
    # One that is told of nothing else may run what another is told of.
    homes = {each.service.name: each.service.node for each in found}
    homes = {name: home for name, home in homes.items() if any(each.name == home for each in nodes)}
    for warning in asyncio.run(relocation.check_all(settings, homes)):
        render.note(f"mcpctl: {warning}")
    answers = settled(asyncio.run(ask_each(settings, nodes, question, deadline=CHANGE_DEADLINE_S)))
    rows = _print_services(answers, how)
    if not how.structured and not how.quiet:
        _print_pending(rows)
    return FAILED if _has(rows, BAD) else answers.status


def purge(query: Query, *, dry_run: bool) -> int:
    """Raises CliError."""
    service, component = query.service_and_component()
    settings, how = query.settings(), query.how
    request = v1.PurgeRequest(
        service=service, component=component, dry_run=dry_run, defined=definition.defined(settings)
    )

    async def question(stub: AgentServiceStub, node: Node) -> list[ServiceOutcomeRow]:
        return [service_outcome_row(node.name, each) for each in (await stub.purge(request)).services]

    answers = settled(
        asyncio.run(ask_each(settings, changeable(settings, query.nodes), question, deadline=CHANGE_DEADLINE_S))
    )
    rows = _print_services(answers, how)
    # Who names something wants it gone; without a name, what cannot go is as it should be.
    return FAILED if _has(rows, (*BAD, "skipped") if query.target else BAD) else answers.status


def recover(query: Query, *, dry_run: bool) -> int:
    """Raises CliError."""
    request = v1.RecoverRequest(dry_run=dry_run, service=query.service())
    settings, how = query.settings(), query.how
    nodes = changeable(settings, query.nodes)
    rows: list[ReportRow] = []
    try:
        answers = settled(asyncio.run(_recover(settings, nodes, request, rows, how)))
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            "interrupted; operations that have begun continue: `mcpctl operations --running` lists them"
        ) from None
    finally:
        outcomes = [(each, each.outcome) for each in rows if each.outcome]
        if outcomes and not how.structured and not is_seen(how):
            cells = [outcome_cells(row.node, row.service, outcome) for row, outcome in outcomes]
            _table(cells, quiet=how.quiet)
    return FAILED if any(outcome.result in BAD for _, outcome in outcomes) else answers.status


async def _recover(
    settings: Settings, nodes: Sequence[Node], request: v1.RecoverRequest, rows: list[ReportRow], how: How
) -> list[tuple[Node, object]]:
    async with shown(how, several=len(nodes) > 1) as show:

        def keep(row: ReportRow) -> None:
            rows.append(row)
            show(row)

        async def question(stub: AgentServiceStub, node: Node) -> None:
            reports = stub.recover(request)
            early = ended_early(node, "the recovery")
            await follow(reports, lambda response: recover_report(node.name, response), keep, early)

        return await ask_each(settings, nodes, question, deadline=CHANGE_DEADLINE_S)


def _sync_request(definitions: Iterable[Definition], node: Node, *, dry_run: bool) -> v1.SyncRequest:
    ours = [each.service for each in definitions if each.service.node == node.name]
    return v1.SyncRequest(services=[service_spec(each) for each in ours], dry_run=dry_run)


def _print_services(answers: Answers[list[ServiceOutcomeRow]], how: How) -> list[ServiceOutcomeRow]:
    rows = [row for answer in answers.answers for row in answer]
    if how.structured:
        structured(rows, how, rows)
    else:
        cells = []
        for row in rows:
            cells += [outcome_cells(row.node, row.service, outcome) for outcome in row.outcomes]
            if row.error:
                cells.append(outcome_cells(row.node, row.service, OutcomeRow("", "failed", row.error)))
        _table(cells, quiet=how.quiet)
    return rows


def _table(cells: Iterable[tuple[str, ...]], *, quiet: bool) -> None:
    """``quiet``: only what went wrong."""
    cells = [each for each in cells if each[3] in BAD or not quiet]
    if cells:
        render.table(OUTCOME_HEADERS, cells, whole=True)
    elif not quiet:
        render.note("mcpctl: nothing to do")


def _print_pending(rows: Sequence[ServiceOutcomeRow]) -> None:
    waiting = [row for row in rows if row.pending]
    if not waiting:
        return
    print()
    render.say("these components still need a deploy:")
    for row in waiting:
        for each in row.pending:
            render.say(f"  {full_name(row.service, each.component)}: {''.join(what_happens(each))}")
    for row in waiting:
        render.say(f"run `mcpctl deploy {row.service}`")


def _has(rows: Iterable[ServiceOutcomeRow], results: Sequence[str]) -> bool:
    return any(row.error or any(each.result in results for each in row.outcomes) for row in rows)
