"""Several services changed by one command: nodes at once, the services of a node one after the other.

One that fails stops no other: each is whole by itself, and a deploy that fails is put back by its node. A node that
does not answer is asked no more. At the end each has a line that says what became of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from mcpctl.actions.operation_progress import BAD, OUTCOME_HEADERS, outcome_cells
from mcpctl.actions.plan import Wanted
from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import DONE, FAILED, PARTIAL, CliError, UnreachableError
from mcpctl.nodes import client
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, structured
from mcpctl.ui.rows.changes import OutcomeRow, ServiceOutcomeRow
from protos.mcp.v1 import AgentServiceStub
from protos.program_output import headline

T = TypeVar("T")

# Asks a node for a change; each outcome is kept as soon as it is known.
Do = Callable[[AgentServiceStub, Callable[[OutcomeRow], None]], Awaitable[None]]


class Job(msgspec.Struct, frozen=True):
    """One change of a service, or of one ``component`` of it. ``later``: what settles it when its node is back."""

    node: Node
    service: str
    component: str
    do: Do
    later: str = ""

    @property
    def name(self) -> str:
        return full_name(self.service, self.component)


class Done(msgspec.Struct):
    """What became of a job. ``error`` None: it is done. ``is_begun``: its node was asked."""

    job: Job
    outcomes: list[OutcomeRow] = []
    error: CliError | None = None
    is_begun: bool = False

    @property
    def has_failed(self) -> bool:
        return self.error is not None or any(each.result in BAD for each in self.outcomes)

    @property
    def row(self) -> ServiceOutcomeRow:
        job = self.job
        return ServiceOutcomeRow(job.node.name, job.service, tuple(self.outcomes), (), str(self.error or ""))


async def run(settings: Settings, jobs: Sequence[Job], done: list[Done]) -> None:
    """Puts into ``done``, which is in the order of the jobs from the beginning, what became of each."""
    done += [Done(each) for each in jobs]

    async def one_node(ours: Iterable[Done]) -> None:
        gone: UnreachableError | None = None
        for each in ours:
            # A node that is down costs its deadline once.
            each.error = gone or await _one(settings, each)
            if isinstance(each.error, UnreachableError):
                gone = each.error

    try:
        async with asyncio.TaskGroup() as group:
            for name in dict.fromkeys(each.node.name for each in jobs):
                group.create_task(one_node([each for each in done if each.job.node.name == name]))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _one(settings: Settings, each: Done) -> CliError | None:
    each.is_begun = True
    try:
        async with client.agent(settings, each.job.node, deadline=client.CHANGE_DEADLINE_S) as stub:
            await each.job.do(stub, each.outcomes.append)
    except UnreachableError as error:
        return UnreachableError(f"{error}\n{each.job.later}") if each.job.later else error
    except CliError as error:
        return error
    return None


def tell(done: Sequence[Done], how: How, *, as_rows: bool = True) -> int:
    """Prints what became of each, and returns what it comes to. ``as_rows``: for a program, too.

    Raises CliError when nothing could be done, for one and the same reason.
    """
    errors = {str(each.error) for each in done}
    if len(errors) == 1 and done[0].error and not any(each.outcomes for each in done):
        raise done[0].error
    if how.structured and as_rows:
        rows = [each.row for each in done]
        structured(rows, how, rows)
    elif not how.structured:
        _print(done, quiet=how.quiet)
    for message in dict.fromkeys(str(each.error) for each in done if each.error):
        render.note(f"mcpctl: {message}")
    return status(done)


def status(done: Iterable[Done]) -> int:
    """FAILED when something was refused or put back, PARTIAL when only nodes could not be asked."""
    failed = [each for each in done if each.has_failed]
    if all(isinstance(each.error, UnreachableError) for each in failed):
        return PARTIAL if failed else DONE
    return FAILED


def _print(done: Iterable[Done], *, quiet: bool) -> None:
    cells = []
    for each in done:
        job = each.job
        named = [outcome_cells(job.node.name, job.service, row) for row in each.outcomes]
        if each.error and not each.outcomes:
            said = headline(str(each.error))
            named = [(job.node.name, job.service, job.component, "failed" if each.is_begun else "skipped", said)]
        cells += [row for row in named if not quiet or row[3] in (*BAD, "skipped")]
    if cells:
        # Why something failed is what one came for: it is never cut.
        render.table(OUTCOME_HEADERS, cells, whole=True)
    if not quiet:
        render.say(summary(done))


def summary(done: Iterable[Done]) -> str:
    """How many services were changed as asked, and how many were not."""
    counts = Counter(_word(each) for each in done)
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _word(each: Done) -> str:
    if each.error is not None and not each.is_begun:
        return "skipped"
    if each.has_failed:
        return "failed"
    is_unchanged = all(row.result in ("unchanged", "skipped") for row in each.outcomes)
    return "unchanged" if is_unchanged else "done"


def weight(status: int) -> int:
    """Of two ends of one command the one that says more."""
    return (DONE, PARTIAL, FAILED).index(status)


def on_active_nodes(settings: Settings, several: Sequence[tuple[Wanted, T]]) -> tuple[list[tuple[Wanted, T]], bool]:
    """Those on nodes that are active, and whether there are others, of which it is said. Raises CliError for none."""
    active = [each for each in several if settings.node(each[0].node).state is NodeState.ACTIVE]
    for wanted, _ in several:
        node = settings.node(wanted.node)
        if node.state is not NodeState.ACTIVE:
            render.note(f"mcpctl: {wanted.name}: node {node.name} is {node.state}: skipped")
    if not active:
        settings.usable_node(several[0][0].node)
    return active, len(active) < len(several)
