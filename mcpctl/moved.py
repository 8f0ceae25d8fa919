"""A definition that names another node than it did: who still has the service there is told, before it runs twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl.config import Node, Settings
from mcpctl.errors import CliError
from mcpctl.fanout import ask_each
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# What is done does not wait for nodes that it is not about.
_DEADLINE_S = 2.0


async def warnings(settings: Settings, homes: Mapping[str, str], *, but: Collection[str] = ()) -> list[str]:
    """A line for each active node that has a service although its definition names another node.

    ``homes``: the nodes that definitions name, by service; nodes called as one of ``but`` are not asked. One that does
    not answer in time is left out: it is no part of what is being done.
    """
    others = [
        node
        for node in settings.active_nodes
        if node.name not in but and any(name != node.name for name in homes.values())
    ]
    said = await ask_each(settings, others, lambda stub, node: told(stub, node, homes), deadline=_DEADLINE_S)
    return [line for _, answer in said if not isinstance(answer, CliError) for line in answer]


async def told(stub: AgentServiceStub, node: Node, homes: Mapping[str, str]) -> list[str]:
    """What there is to warn of on ``node``; nothing when it does not say."""
    # Of one service a node need not list all that it has.
    only = next(iter(homes)) if len(homes) == 1 else ""
    try:
        answer = await stub.list_services(v1.ListServicesRequest(service=only), timeout=_DEADLINE_S)
    except (GRPCError, ProtocolError, StreamTerminatedError, TimeoutError, OSError):
        return []
    return [_line(node.name, each.name, homes[each.name]) for each in answer.services if _is_left(node, each, homes)]


def _is_left(node: Node, service: v1.ServiceInfo, homes: Mapping[str, str]) -> bool:
    # What was undeployed, and is only remembered, has no component.
    return bool(service.components) and homes.get(service.name, node.name) != node.name


def _line(node: str, service: str, home: str) -> str:
    return (
        f"node {node} still has {service}, which its definition puts on {home}: it may run twice; "
        f"`mcpctl undeploy {service} --node {node}` removes it there"
    )
