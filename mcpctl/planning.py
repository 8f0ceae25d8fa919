"""What `plan` and `deploy --dry-run` do: ask the nodes what a deploy would change, and print it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from mcpctl import client, definition, render
from mcpctl.config import NodeState, Settings
from mcpctl.definition import Definition
from mcpctl.errors import DONE, FAILED, PARTIAL, CliError, UnreachableError, UsageError
from mcpctl.looking import what
from mcpctl.rows import ComponentPlanRow, FieldChangeRow, PlanRow, plan_row
from protos.mcp import v1
from protos.wire import service_spec

_ACTION_COLOUR = {
    "create": "green",
    "start": "green",
    "replace": "yellow",
    "rename": "yellow",
    "update": "yellow",
    "stop": "red",
    "none": "grey",
    "ignore": "grey",
}
# In the summary; what a newer agent does is "to" be done, too.
_SUMMARY = {"none": "unchanged", "ignore": "left alone"}


class Wanted(msgspec.Struct, frozen=True):
    """What to deploy; ``component`` "" is all of them. ``options`` are the words that made it so."""

    service: Definition
    component: str = ""
    force: bool = False
    options: str = ""

    @property
    def node(self) -> str:
        return self.service.service.node

    @property
    def name(self) -> str:
        return what(self.service.service.name, self.component)

    def request(self) -> v1.PlanRequest:
        return v1.PlanRequest(service=service_spec(self.service.service), component=self.component, force=self.force)

    def command(self) -> str:
        force = " --force" if self.force else ""
        return f"mcpctl deploy {self.name}{self.options}{force}"


def plan_one(settings: Settings, wanted: Wanted, *, json: bool) -> int:
    """Raises CliError."""
    return _plan(settings, [wanted], DONE, json=json)


def plan_all(settings: Settings, *, force: bool, json: bool) -> int:
    """Every service that is defined rightly and lives on an active node. Raises CliError when no node answered."""
    found, wrong = definition.every(settings)
    for error in wrong:
        render.note(f"mcpctl: {error}")
    wanted = []
    for each in found:
        node = settings.node(each.service.node)
        if node.state is NodeState.ACTIVE:
            wanted.append(Wanted(each, force=force))
        else:
            render.note(f"mcpctl: {each.service.name}: node {node.name} is {node.state}: skipped")
    if not wanted:
        raise UsageError(f"{settings.services_dir} has no definition that can be planned")
    return _plan(settings, wanted, FAILED if wrong else DONE, json=json)


def _plan(settings: Settings, several: Sequence[Wanted], status: int, *, json: bool) -> int:
    """``status``: what it comes to when every node answers."""
    rows, failed = asyncio.run(_ask(settings, several))
    if not rows:
        raise next(iter(failed.values()))
    for error in dict.fromkeys(map(str, failed.values())):
        render.note(f"mcpctl: {error}")
    if json:
        render.as_json(rows)
    else:
        commands = {each.service.service.name: each.command() for each in several}
        for index, row in enumerate(rows):
            if index:
                print()
            _print(row, commands[row.service])
    for row in rows:
        for warning in row.warnings:
            render.note(f"mcpctl: node {row.node}: {warning}")
    # 1. Something is wrong, or was refused: asking again does not help.
    # 2. A node could not be asked.
    if status == DONE and failed:
        return PARTIAL if all(isinstance(each, UnreachableError) for each in failed.values()) else FAILED
    return status


async def _ask(settings: Settings, several: Sequence[Wanted]) -> tuple[list[PlanRow], dict[str, CliError]]:
    """The plans, one after the other, and why there is none, by service."""
    rows: list[PlanRow] = []
    failed: dict[str, CliError] = {}
    # A node that is down costs its deadline once.
    down: dict[str, UnreachableError] = {}
    for each in several:
        node = settings.usable_node(each.node)
        try:
            if error := down.get(node.name):
                raise error
            async with client.agent(settings, node, deadline=client.READ_DEADLINE_S) as stub:
                answer = await stub.plan(each.request())
            rows.append(plan_row(node.name, each.service.service.name, answer))
        except UnreachableError as error:
            down[node.name] = failed[each.name] = error
        except CliError as error:
            failed[each.name] = error
    return rows, failed


def _print(row: PlanRow, command: str) -> None:
    for each in row.components:
        name = what(row.service, each.component)
        render.say(f"{name}: ", (each.action, _ACTION_COLOUR.get(each.action, "")), f" {each.reason}".rstrip())
        for change in each.changes:
            render.say(f"    {_change(change)}")
    render.say(_summary(row.components) or "nothing to do")
    render.say(f"plan {row.plan_id}; {command} --plan {row.plan_id} does exactly this")


def _change(change: FieldChangeRow) -> str:
    if not change.before:
        text = f"+ {change.field}: {change.after}"
    elif not change.after:
        text = f"- {change.field}: {change.before}"
    else:
        text = f"{change.field}: {change.before} -> {change.after}"
    return f"{text}   ({change.source})" if change.source else text


def _summary(components: Iterable[ComponentPlanRow]) -> str:
    """What is to be done first, then what is not."""
    counts = Counter(each.action for each in components)
    words = sorted((action in _SUMMARY, index, action) for index, action in enumerate(counts))
    return ", ".join(f"{counts[action]} {_SUMMARY.get(action, f'to {action}')}" for _, _, action in words)
