"""A definition that names another node than it did: who still has the service there is told, before it runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import NamedTuple

from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl.config import Node, Settings
from mcpctl.errors import CliError
from mcpctl.nodes.fanout import ask_each, on_our_side
from mcpctl.ui import render
from mcpctl.ui.rows.wire import word
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# What is done does not wait for nodes that it is not about.
_DEADLINE_S = 2.0
# With these there is a process, or there will be one.
_AT_WORK = ("running", "scheduled")
# With these there is no process.
_DOWN = (
    v1.ObservedState.UNSPECIFIED,
    v1.ObservedState.CREATED,
    v1.ObservedState.EXITED,
    v1.ObservedState.REMOVED,
)


class Left(NamedTuple):
    """``node`` still has ``service``, whose definition puts it on ``home``; ``runs``: it runs, or should."""

    node: str
    service: str
    home: str
    runs: bool

    @property
    def warning(self) -> str:
        refused = "; until then, deploys are refused" if self.runs else ""
        return (
            f"node {self.node} still has {self.service}, but the definition says {self.home}, so it may run twice; "
            f"`mcpctl undeploy {self.service} --node {self.node}` removes it from {self.node}{refused}"
        )


class Elsewhere(NamedTuple):
    """Who has services that definitions put on other nodes, and the nodes that could not be asked."""

    left: tuple[Left, ...]
    silent: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        return [each.warning for each in self.left]


async def survey(settings: Settings, homes: Mapping[str, str], *, but: Collection[str] = ()) -> Elsewhere:
    """Asks the active nodes what they have of what definitions put elsewhere.

    ``homes``: the nodes that definitions name, by service; nodes called as one of ``but`` are not asked.
    """
    others = [
        node
        for node in settings.active_nodes
        if node.name not in but and any(name != node.name for name in homes.values())
    ]
    said = await ask_each(settings, others, lambda stub, node: _left_on(stub, node, homes), deadline=_DEADLINE_S)
    silent = tuple(node.name for node, answer in said if answer is None or isinstance(answer, CliError))
    found = [each for _, answer in said if answer and not isinstance(answer, CliError) for each in answer]
    for _, answer in said:
        # Who may not ask here may not ask there: whatever is done next says so.
        if isinstance(answer, CliError) and on_our_side(answer):
            return Elsewhere(tuple(found), ())
    return Elsewhere(tuple(found), silent)


async def warnings(settings: Settings, homes: Mapping[str, str], *, but: Collection[str] = ()) -> list[str]:
    """A line for each active node that has a service although its definition names another node.

    One that does not answer in time is left out: it is no part of what is being done.
    """
    return (await survey(settings, homes, but=but)).warnings


def check(settings: Settings, homes: Mapping[str, str], verb: str, *, moves: bool = False) -> Elsewhere:
    """Asks who else has services before they are to run on their ``homes``; who cannot be asked is told.

    Raises CliError when another node runs one, unless it ``moves``: it is undeployed there afterwards.
    """
    found, new = asyncio.run(_survey_before(settings, homes))
    running = [each for each in found.left if each.runs]
    if running and not moves:
        raise CliError(
            "\n".join(
                f"node {each.node} still runs {each.service}, but the definition says {each.home}; nothing was changed "
                f"because it would run twice; `mcpctl undeploy {each.service} --node {each.node}` removes it from "
                f"{each.node}, `mcpctl deploy {each.service} --and-undeploy-old` moves it"
                for each in running
            )
        )
    for node in found.silent:
        for name in new:
            render.note(
                f"mcpctl: WARNING: node {node} does not answer and may still run {name}, which is new on "
                f"{homes[name]}; {verb} it anyway; if it runs twice, use `mcpctl undeploy {name} --node {node}`"
            )
    return found


def warn(found: Elsewhere) -> None:
    for warning in found.warnings:
        render.note(f"mcpctl: {warning}")


async def check_all(settings: Settings, homes: Mapping[str, str]) -> list[str]:
    """Before all is synchronized: what another node has, as warnings. ``homes`` as for `survey`.

    Raises CliError when another node runs a service whose own node has it, too, and would start it.
    """
    found = await survey(settings, homes)
    running = [each for each in found.left if each.runs]
    there = {each.home for each in running}
    nodes = [node for node in settings.active_nodes if node.name in there]
    said = await ask_each(settings, nodes, lambda stub, _: _services(stub), deadline=_DEADLINE_S)
    known = {(node.name, name) for node, names in said if not isinstance(names, CliError) for name in names}
    twice = [each.warning for each in running if (each.home, each.service) in known]
    if twice:
        raise CliError("\n".join([*twice, "nothing was sent to any node"]))
    return found.warnings


async def _services(stub: AgentServiceStub) -> frozenset[str]:
    """The services that a node has containers of, as far as it says so in time."""
    try:
        answer = await stub.list_services(v1.ListServicesRequest(), timeout=_DEADLINE_S)
    except (GRPCError, ProtocolError, StreamTerminatedError, TimeoutError, OSError):
        return frozenset()
    return frozenset(each.name for each in answer.services if each.components)


async def _survey_before(settings: Settings, homes: Mapping[str, str]) -> tuple[Elsewhere, list[str]]:
    """As `survey`, and the services that their homes do not have yet: for those a node that is silent matters."""
    nodes = {home: settings.node(home) for home in homes.values()}
    found = await survey(settings, homes, but=nodes if len(nodes) == 1 else ())
    if not found.silent:
        return found, []
    said = await ask_each(settings, list(nodes.values()), lambda stub, _: _services(stub), deadline=_DEADLINE_S)
    known = {node.name: names for node, names in said if not isinstance(names, CliError)}
    return found, [name for name, home in homes.items() if home in known and name not in known[home]]


async def warnings_from(stub: AgentServiceStub, node: Node, homes: Mapping[str, str]) -> list[str]:
    """What there is to warn of on ``node``; nothing when it does not say."""
    return [each.warning for each in await _left_on(stub, node, homes) or ()]


async def _left_on(stub: AgentServiceStub, node: Node, homes: Mapping[str, str]) -> list[Left] | None:
    """None when the node does not say."""
    # Of one service a node need not list all that it has.
    only = next(iter(homes)) if len(homes) == 1 else ""
    try:
        answer = await stub.list_services(v1.ListServicesRequest(service=only), timeout=_DEADLINE_S)
    except GRPCError as error:
        return [] if error.status is Status.NOT_FOUND else None
    except (ProtocolError, StreamTerminatedError, TimeoutError, OSError):
        return None
    return [
        Left(node.name, each.name, homes[each.name], any(map(_runs, each.components)))
        for each in answer.services
        if _is_left(node, each, homes)
    ]


def _runs(component: v1.ComponentInfo) -> bool:
    # What is no longer declared there (a sync saw to that) may run all the same.
    return word(v1.DesiredState, component.desired) in _AT_WORK or component.observed not in _DOWN


def _is_left(node: Node, service: v1.ServiceInfo, homes: Mapping[str, str]) -> bool:
    # What was undeployed, and is only remembered, has no component.
    return bool(service.components) and homes.get(service.name, node.name) != node.name
