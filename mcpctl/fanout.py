"""Asks all active nodes at once; a dead one costs its deadline, not the command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from mcpctl import render
from mcpctl.client import READ_DEADLINE_S, agent
from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import DONE, PARTIAL, CliError, UnknownServiceError, UnreachableError, UsageError
from protos.mcp.v1 import AgentServiceStub

T = TypeVar("T")


class Answers(NamedTuple, Generic[T]):
    """What the nodes said, in the order of the configuration, and whether all of them could be asked.

    ``answered`` has the node of each answer; ``unreachable`` those that may answer another time.
    """

    answers: list[T]
    status: int
    answered: list[Node]
    unreachable: list[Node]


async def ask(
    settings: Settings, names: tuple[str, ...], question: Callable[[AgentServiceStub], Awaitable[T]]
) -> Answers[T]:
    """Asks the nodes called ``names``, or every active one.

    Says on stderr which nodes were skipped or did not answer. Raises UnknownServiceError when all answered and none
    knows the service, CliError when all refused, UsageError when there is no node to ask or we cannot ask it.
    """
    nodes = _chosen(settings, names)

    async def one(node: Node) -> T | CliError:
        try:
            async with agent(settings, node, deadline=READ_DEADLINE_S) as stub:
                return await question(stub)
        except CliError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(node)) for node in nodes]
    found = [task.result() for task in tasks]
    answers = [each for each in found if not isinstance(each, CliError)]
    answered = [node for node, each in zip(nodes, found, strict=True) if not isinstance(each, CliError)]
    unreachable = [node for node, each in zip(nodes, found, strict=True) if isinstance(each, UnreachableError)]
    unknown = [each for each in found if isinstance(each, UnknownServiceError)]
    failed = [each for each in found if isinstance(each, CliError) and each not in unknown]
    # 1. Our own side is wrong (no token, no CA): nothing that a node says changes that.
    # 2. Every node refused: the refusal is the answer.
    # 3. The nodes answered, and none knows the service.
    wrong = [each for each in failed if isinstance(each, UsageError)]
    refused = [] if answers or any(isinstance(each, UnreachableError) for each in failed) else failed
    for error in (*wrong, *refused, *([] if answers or failed else unknown)):
        raise error
    for error in failed:
        render.note(f"mcpctl: {error}")
    return Answers(answers, PARTIAL if failed else DONE, answered, unreachable)


def _chosen(settings: Settings, names: tuple[str, ...]) -> list[Node]:
    if names:
        return [settings.node(name) for name in dict.fromkeys(names)]
    active = [node for node in settings.nodes if node.state is NodeState.ACTIVE]
    for node in settings.nodes:
        if node.state is not NodeState.ACTIVE:
            render.note(f"mcpctl: node {node.name} is {node.state} in {settings.path.name}: skipped")
    if not active:
        raise UsageError(f"{settings.path} has no active node; `mcpctl node add NAME ADDRESS` adds one")
    return active
