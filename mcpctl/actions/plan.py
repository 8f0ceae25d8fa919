"""What `plan` and `deploy --dry-run` do: ask the nodes what a deploy would change, and print it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from mcpctl.actions import relocation
from mcpctl.config import Node, NodeState, Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, FAILED, PARTIAL, CliError, UnreachableError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import on_our_side
from mcpctl.ui import output, render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How
from mcpctl.ui.rows.changes import ComponentPlanRow, FieldChangeRow, PlanRow, plan_row
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
_DIFF_COLOUR = {"+": "green", "-": "red", "@": "grey"}
# Actions that do nothing; what a newer agent does is "to" be done, too.
_SUMMARY = {"none": "unchanged", "ignore": "left alone"}
# How a reason without a subject begins.
_VERBS = ("is ", "should ", "has ", "must ", "does ")


class Wanted(msgspec.Struct, frozen=True):
    """What to deploy; ``component`` "" is all of them. ``verb`` and ``options`` are the words that made it so.

    ``built``: those of its components whose images were just built.
    """

    service: Definition
    component: str = ""
    force: bool = False
    options: str = ""
    verb: str = "deploy"
    built: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        return self.service.service.node

    @property
    def name(self) -> str:
        return full_name(self.service.service.name, self.component)

    def request(self) -> v1.PlanRequest:
        return v1.PlanRequest(service=service_spec(self.service.service), component=self.component, force=self.force)

    def command(self) -> str:
        force = " --force" if self.force else ""
        return f"mcpctl {self.verb} {self.name}{self.options}{force}"


def plan_one(settings: Settings, wanted: Wanted, *, how: How) -> int:
    """Raises CliError."""
    return _plan(settings, [wanted], DONE, how=how)


def plan_all(settings: Settings, *, force: bool, how: How) -> int:
    """Every service that is defined rightly and lives on an active node. Raises CliError when no node answered."""
    found, wrong = definition.without_clashes(settings, *definition.every(settings))
    for error in wrong:
        render.note(f"mcpctl: {error}")
    return plan_several(settings, [Wanted(each, force=force) for each in found], FAILED if wrong else DONE, how=how)


def plan_several(settings: Settings, several: Sequence[Wanted], status: int = DONE, *, how: How) -> int:
    """Those on active nodes. ``status``: what it comes to when every node answers. Raises as `plan_all`."""
    return _plan(settings, on_active_nodes(settings, several), status, how=how)


def on_active_nodes(settings: Settings, several: Iterable[Wanted]) -> list[Wanted]:
    """Those that can be planned; says of the others why not. Raises UsageError when there is none."""
    wanted = []
    for each in several:
        node = settings.node(each.node)
        if node.state is NodeState.ACTIVE:
            wanted.append(each)
        else:
            render.note(f"mcpctl: {each.name}: node {node.name} is {node.state}: skipped")
    if not wanted:
        raise UsageError(f"{settings.services_dir} has no definition to plan")
    return wanted


def preview(settings: Settings, several: Sequence[Wanted], *, how: How) -> dict[str, PlanRow]:
    """Asks for the plans, shows what they would change, and returns them by what they are of.

    Raises CliError when there is none.
    """
    rows, failed, elsewhere = asyncio.run(_ask(settings, several))
    if not rows:
        raise next(iter(failed.values()))
    if not how.structured and not how.quiet:
        _preview(rows)
    _complain(rows, failed, elsewhere)
    names = [each.name for each in several if each.name not in failed]
    return dict(zip(names, rows, strict=True))


def changes(row: PlanRow) -> bool:
    """Whether there is anything to do."""
    return any(each.action not in _SUMMARY for each in row.components)


def _preview(rows: Sequence[PlanRow]) -> None:
    for row in rows:
        if changes(row):
            _print_components(row)
            _print_losses(row)
    counts = Counter(changes(row) for row in rows)
    if counts[False]:
        render.say(f"{counts[False]} of {len(rows)} services unchanged")


def _complain(rows: Iterable[PlanRow], failed: Mapping[str, CliError], elsewhere: Iterable[str]) -> None:
    for error in dict.fromkeys(map(str, failed.values())):
        render.note(f"mcpctl: {error}")
    for row in rows:
        for warning in row.warnings:
            render.note(f"mcpctl: node {row.node}: {warning}")
    for warning in elsewhere:
        render.note(f"mcpctl: {warning}")


def _plan(settings: Settings, several: Sequence[Wanted], status: int, *, how: How) -> int:
    """``status``: what it comes to when every node answers."""
    rows, failed, elsewhere = asyncio.run(_ask(settings, several))
    if not rows:
        raise next(iter(failed.values()))
    _show(list(zip(rows, [each.command() for each in several if each.name not in failed], strict=True)), how)
    _complain(rows, failed, elsewhere)
    # 1. Something is wrong, or was refused: asking again does not help.
    # 2. A node could not be asked.
    if status == DONE and failed:
        return PARTIAL if all(map(_could_not_be_asked, failed.values())) else FAILED
    return status


def check(settings: Settings, several: Sequence[Wanted]) -> None:
    """Raises the CliError of the first of which there is no plan, which a deploy would end with as well."""
    for error in asyncio.run(_ask(settings, several)).failed.values():
        raise error


def differences(settings: Settings, wanted: Wanted) -> list[str]:
    """What a deploy would change, and should be known, in lines; empty when it would change nothing. Raises CliError.

    Of a text that differs only the name.
    """
    rows, failed, _ = asyncio.run(_ask(settings, [wanted]))
    if not rows:
        raise next(iter(failed.values()))
    (row,) = rows
    lines = []
    for each in row.components:
        if each.action not in _SUMMARY:
            word, reason = what_happens(each)
            lines.append(f"{full_name(row.service, each.component)}: {word}{reason}")
            lines += [f"    {_change(change)}" for change in each.changes]
    return [*lines, *row.warnings]


def _could_not_be_asked(error: CliError) -> bool:
    return isinstance(error, UnreachableError) or on_our_side(error)


def _show(plans: Sequence[tuple[PlanRow, str]], how: How) -> None:
    """Each with the command that does exactly that. ``quiet``: what there is to do something about."""
    rows = [row for row, _ in plans]
    if how.structured:
        output.structured(rows, how, rows)
        return
    if how.quiet:
        parts = [(row.service, each) for row in rows for each in row.components]
        output.names(full_name(service, each.component) for service, each in parts if each.action not in _SUMMARY)
        return
    for index, (row, command) in enumerate(plans):
        if index:
            print()
        _print(row, command)


class _Answers(NamedTuple):
    """The plans in the order that was asked for, why there is none, by service, and who else has a service."""

    rows: list[PlanRow]
    failed: dict[str, CliError]
    elsewhere: list[str]


async def _ask(settings: Settings, several: Sequence[Wanted]) -> _Answers:
    """Nodes at once, and each service of a node in turn."""
    nodes = {each.node: settings.usable_node(each.node) for each in several}
    homes = {each.service.service.name: each.node for each in several}
    found: dict[str, PlanRow | CliError] = {}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(relocation.warnings(settings, homes, but=nodes))]
            for node in nodes.values():
                ours = [each for each in several if each.node == node.name]
                tasks.append(group.create_task(_ask_node(settings, node, ours, homes, found)))
    except BaseExceptionGroup as exceptions:
        raise exceptions.exceptions[0] from None
    answers = [(each.name, found[each.name]) for each in several]
    rows = [answer for _, answer in answers if isinstance(answer, PlanRow)]
    failed = {name: answer for name, answer in answers if isinstance(answer, CliError)}
    return _Answers(rows, failed, [line for task in tasks for line in task.result()])


async def _ask_node(
    settings: Settings,
    node: Node,
    several: Sequence[Wanted],
    homes: Mapping[str, str],
    found: dict[str, PlanRow | CliError],
) -> list[str]:
    """Puts into ``found``, by service, the plan or why there is none. Returns what the node has and should not have.

    A refusal ends the connection, and the next service is asked about over another one.
    """
    waiting = list(several)
    while waiting:
        each = waiting[0]
        try:
            async with client.agent(settings, node, deadline=client.read_deadline()) as stub:
                while waiting:
                    each = waiting[0]
                    found[each.name] = plan_row(node.name, each.service.service.name, await stub.plan(each.request()))
                    del waiting[0]
                is_alone = all(home == node.name for home in homes.values())
                return [] if is_alone else await relocation.warnings_from(stub, node, homes)
        except CliError as error:
            if _could_not_be_asked(error):
                # A node that is down costs its deadline once.
                found.update((other.name, error) for other in waiting)
                break
            found[each.name] = error
            del waiting[0]
    return []


def _print(row: PlanRow, command: str) -> None:
    _print_components(row)
    render.say(_summary(row.components) or "nothing to do")
    _print_losses(row)
    # A node that compares less than a deploy does (for a viewer) gives its plan no id.
    if row.plan_id:
        command += " --accept-loss" if row.losses else ""
        render.say(f"plan {row.plan_id}: `{command} --plan {row.plan_id}` applies exactly this")


def _print_components(row: PlanRow) -> None:
    for each in row.components:
        word, reason = what_happens(each)
        name = full_name(row.service, each.component)
        render.say(f"{name}: ", (word, _ACTION_COLOUR.get(each.action, "")), reason)
        for change in each.changes:
            render.say(f"    {_change(change)}")
            for line in change.diff.splitlines():
                render.say("      ", (line, _DIFF_COLOUR.get(line[:1], "")))


def _print_losses(row: PlanRow) -> None:
    if row.losses:
        render.say("a deploy would drop these settings, which the definition does not have:")
    for loss in row.losses:
        render.say("    ", (loss, "red"))


def what_happens(plan: ComponentPlanRow) -> tuple[str, str]:
    """What a deploy does with a component, and why: ``("start", " (it is exited)")``, ``("unchanged", "")``.

    The reason is in the node's words, and some of them lack a subject.
    """
    word = _SUMMARY.get(plan.action, plan.action)
    reason = f"it {plan.reason}" if plan.reason.startswith(_VERBS) else plan.reason
    return word, f" ({reason})" if reason and reason != word else ""


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
