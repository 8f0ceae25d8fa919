"""What `mcpctl adopt` does: containers that run already come under management, untouched (audit E4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from mcpctl.actions.operation_progress import OUTCOME_HEADERS, outcome_cells
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.errors import DONE, FAILED, UnreachableError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import Answers, Said, ask_each, changeable, settled
from mcpctl.ui import render
from mcpctl.ui.output import put
from mcpctl.ui.rows.changes import OutcomeRow, outcome_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

_ADOPTED = "adopted"


class AdoptionRow(msgspec.Struct, frozen=True):
    """``losses`` are settings of the containers that no definition can say."""

    node: str
    service: str
    dry_run: bool
    outcomes: tuple[OutcomeRow, ...]
    losses: tuple[str, ...]

    @property
    def adopts(self) -> bool:
        return any(each.result == _ADOPTED for each in self.outcomes)


def adopt(query: Query, node: str, *, dry_run: bool) -> int:
    """``node`` "": the definition's, or the one that has such containers. Raises CliError."""
    name = query.service()
    settings, how = query.settings(), query.how
    others = [each for each in definition.defined(settings) if each != name] if settings.services_dir.is_dir() else []
    asking = v1.AdoptRequest(service=name, dry_run=True, defined=others)
    telling = v1.AdoptRequest(service=name, defined=others)
    nodes = _nodes(settings, name, node)
    # Of several nodes one has to be chosen first; one alone is asked and told over one connection.
    is_chosen = len(nodes) == 1 and not dry_run
    where, found = _the_node(_ask(settings, nodes, (asking, telling) if is_chosen else (asking,)), name)
    if found.adopts and not dry_run and not is_chosen:
        (found,) = _answers(_ask(settings, [where], (telling,))).answers
    if how.structured:
        put(how, found)
    else:
        _print(settings, found)
    return DONE if found.adopts or all(each.result == "unchanged" for each in found.outcomes) else FAILED


def _nodes(settings: Settings, service: str, node: str) -> list[Node]:
    if not node and (settings.services_dir / f"{service}.toml").is_file():
        node = definition.load(settings, service).service.node
    return changeable(settings, (node,) if node else ())


def _ask(settings: Settings, nodes: list[Node], requests: Sequence[v1.AdoptRequest]) -> Said[AdoptionRow]:
    """The answer to the last of ``requests``, or to the first one with which nothing is adopted."""

    async def question(stub: AgentServiceStub, node: Node) -> AdoptionRow:
        for request in requests:
            answer = await stub.adopt(request)
            outcomes = tuple(outcome_row(each) for each in answer.outcomes)
            found = AdoptionRow(node.name, request.service, request.dry_run, outcomes, tuple(answer.losses))
            if not found.adopts:
                break
        return found

    return asyncio.run(ask_each(settings, nodes, question, deadline=client.CHANGE_DEADLINE_S))


def _answers(said: Said[AdoptionRow]) -> Answers[AdoptionRow]:
    """As `settled`, with one answer at least. Raises CliError when there is none."""
    failed = [each for _, each in said if isinstance(each, UnreachableError)]
    if len(failed) == len(said):
        raise UnreachableError("\n".join(map(str, failed)))
    return settled(said)


def _the_node(said: Said[AdoptionRow], service: str) -> tuple[Node, AdoptionRow]:
    """The one node that has something to adopt; else the one that has at least something of that name.

    Raises UsageError when there are several.
    """
    answers = _answers(said)
    found = list(zip(answers.answered, answers.answers, strict=True))
    several = [each for each in found if each[1].adopts] or found
    if len(several) > 1:
        names = ", ".join(node.name for node, _ in several)
        raise UsageError(
            f"{names} have containers named after {service}, but a service runs on one node; give --node NAME"
        )
    return several[0]


def _print(settings: Settings, found: AdoptionRow) -> None:
    cells = [outcome_cells(found.node, found.service, each) for each in found.outcomes]
    render.table(OUTCOME_HEADERS, cells, whole=True)
    for each in found.losses:
        render.note(f"mcpctl: a definition cannot express: {each}")
    if found.losses:
        render.note("mcpctl: the containers keep these settings until a deploy recreates them")
    if not found.adopts:
        return
    if found.dry_run:
        render.say("nothing was changed")
    elif not (settings.services_dir / f"{found.service}.toml").is_file():
        render.say(f"`mcpctl service export {found.service}` writes its definition")
