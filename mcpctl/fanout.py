"""Asks all active nodes at once; a dead one costs its deadline, not the command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mcpctl import render
from mcpctl.client import READ_DEADLINE_S, agent
from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import (
    DONE,
    PARTIAL,
    CliError,
    MciasError,
    MciasUnreachableError,
    SilentError,
    UnknownServiceError,
    UnreachableError,
    UsageError,
)
from protos import grammar
from protos.mcp.v1 import AgentServiceStub

T = TypeVar("T")

# Nodes that a sentence names before it counts them.
_NAMED = 2


class Answers(NamedTuple, Generic[T]):
    """What the nodes said, in the order of the configuration, and whether all of them could be asked.

    ``answered`` has the node of each answer; ``unreachable`` those that may answer another time.
    """

    answers: list[T]
    status: int
    answered: list[Node]
    unreachable: list[Node]

    def nothing(self, words: str) -> str:
        """That the nodes which answered have nothing: ``words`` on rift; on rift and orion; on any of 7 nodes.

        Empty when none answered: nobody knows what they have.
        """
        names = [each.name for each in self.answered]
        where = " and ".join(names) if len(names) <= _NAMED else f"any of {len(names)} nodes"
        return f"{words} on {where}" if names else ""


# What each node said, or why it said nothing.
Said = list[tuple[Node, T | CliError]]


async def ask(
    settings: Settings,
    names: tuple[str, ...],
    question: Callable[[AgentServiceStub], Awaitable[T]],
    *,
    service: str = "",
) -> Answers[T]:
    """Asks the nodes called ``names``, or every active one. ``service``: what is asked about, when it is one.

    Says on stderr which nodes were skipped or did not answer. Raises as `settled` does, and UsageError when there is no
    node to ask.
    """
    said = await ask_each(settings, chosen(settings, names), lambda stub, _: question(stub))
    try:
        return settled(said)
    except UnknownServiceError as error:
        from mcpctl import definition

        raise UnknownServiceError(f"{error}{definition.nearest(settings, service)}") from None


async def ask_each(
    settings: Settings,
    nodes: Sequence[Node],
    question: Callable[[AgentServiceStub, Node], Awaitable[T]],
    *,
    deadline: float | None = None,
) -> Said[T]:
    """Asks ``nodes``, each with ``deadline`` seconds for everything, from the connection on; None: `read_deadline`.

    Raises UsageError.
    """
    patience = read_deadline() if deadline is None else deadline
    now = asyncio.get_running_loop().time
    # One clock for all: a node that answers late because ours was busy with the others has as long as they have.
    start = now()

    async def one(node: Node) -> T | CliError:
        try:
            async with agent(settings, node, deadline=patience) as stub, asyncio.timeout_at(start + patience):
                return await question(stub, node)
        except UnreachableError as error:
            error.waited_s = now() - start
            return error
        except CliError as error:
            return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(node)) for node in nodes]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [(node, task.result()) for node, task in zip(nodes, tasks, strict=True)]


def read_deadline() -> float:
    """Seconds that a node has for what changes nothing: ``MCP_TIMEOUT``, else `READ_DEADLINE_S`. Raises UsageError."""
    text = os.environ.get("MCP_TIMEOUT", "")
    if not text:
        return READ_DEADLINE_S
    try:
        return grammar.positive_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"MCP_TIMEOUT: {error}") from None


def settled(said: Said[T]) -> Answers[T]:
    """What that comes to; says on stderr which nodes did not answer.

    Raises UnknownServiceError when all answered and none knows the service, CliError when all refused; UsageError,
    MciasError, MciasUnreachableError when we cannot ask.
    """
    answers = [each for _, each in said if not isinstance(each, CliError)]
    answered = [node for node, each in said if not isinstance(each, CliError)]
    unreachable = [node for node, each in said if isinstance(each, UnreachableError)]
    unknown = [each for _, each in said if isinstance(each, UnknownServiceError)]
    failed = [each for _, each in said if isinstance(each, CliError) and each not in unknown]
    # 1. Our own side is wrong (no token, no login, no CA): nothing that a node says changes that.
    # 2. Every node refused: the refusal is the answer.
    # 3. The nodes answered, and none knows the service.
    wrong = [each for each in failed if on_our_side(each)]
    refused = [] if answers or any(isinstance(each, UnreachableError) for each in failed) else failed
    for error in (*wrong, *refused, *([] if answers or failed else unknown)):
        raise error
    for error in failed:
        render.note(f"mcpctl: {error}{_waited(error)}")
    return Answers(answers, PARTIAL if failed else DONE, answered, unreachable)


def on_our_side(error: CliError) -> bool:
    """Whether we could not ask: no token, no login, no CA, nobody to tell who we are."""
    is_ours = isinstance(error, (UsageError, MciasError, MciasUnreachableError))
    return is_ours and not isinstance(error, UnknownServiceError)


def _waited(error: CliError) -> str:
    """How long a node was waited for, where its error does not say so itself."""
    if not isinstance(error, UnreachableError) or isinstance(error, SilentError):
        return ""
    return f" (waited {render.took(1000 * error.waited_s)})"


def chosen(settings: Settings, names: tuple[str, ...]) -> list[Node]:
    """The nodes called ``names``, or every active one; says which are skipped. Raises UsageError."""
    if names:
        return [settings.node(name) for name in dict.fromkeys(names)]
    for node in settings.nodes:
        if node.state is not NodeState.ACTIVE:
            render.note(f"mcpctl: node {node.name} is {node.state} in {settings.path.name}: skipped")
    if not settings.active_nodes:
        raise settings.no_active_node()
    return settings.active_nodes


def changeable(settings: Settings, names: tuple[str, ...]) -> list[Node]:
    """As `chosen`, to be told something. Raises CliError for a node that is named and not active."""
    for name in names:
        settings.usable_node(name)
    return chosen(settings, names)
