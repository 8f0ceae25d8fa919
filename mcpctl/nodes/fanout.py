"""Asks all active nodes at once; a dead one costs its deadline, not the command."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import (
    DONE,
    PARTIAL,
    CliError,
    MciasError,
    MciasUnreachableError,
    RejectedError,
    SilentError,
    UnknownServiceError,
    UnreachableError,
    UsageError,
)
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.ui import render
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
    nodes = chosen(settings, names)
    said = await ask_each(settings, nodes, lambda stub, _: question(stub))
    try:
        return settled(said)
    except UnknownServiceError as error:
        from mcpctl.definitions import definition

        raise definition.unknown(settings, service, error, [each.name for each in nodes]) from None


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


def settled(said: Said[T]) -> Answers[T]:
    """What that comes to; says on stderr why nodes did not answer.

    Raises UnknownServiceError when all answered and none knows the service; CliError when none answered and none may
    do so another time: what is wrong on our own side, or their refusal.
    """
    answers = [each for _, each in said if not isinstance(each, CliError)]
    answered = [node for node, each in said if not isinstance(each, CliError)]
    unreachable = [node for node, each in said if isinstance(each, UnreachableError)]
    unknown = [each for _, each in said if isinstance(each, UnknownServiceError)]
    failed = [(node, each) for node, each in said if isinstance(each, CliError) and each not in unknown]
    error = None if answers else _only_answer([each for _, each in failed], unknown)
    for line in _complaints(failed if error is None else _others(failed, error)):
        render.note(f"mcpctl: {line}")
    if error:
        raise error
    return Answers(answers, PARTIAL if failed else DONE, answered, unreachable)


def _only_answer(failed: Sequence[CliError], unknown: Sequence[UnknownServiceError]) -> CliError | None:
    """The error that is the answer of a command to which no node gave one; None: they may do so another time."""
    refused = [each for each in failed if not on_our_side(each)]
    # 1. All were asked, and none knows the service.
    if not failed:
        return unknown[0] if unknown else None
    # 2. Some do not know it, and the others could not say.
    if unknown:
        return None
    # 3. We could ask none of them: no token, no login, no CA.
    # 4. All that could be asked refused.
    if not refused:
        return failed[0]
    return None if any(isinstance(each, UnreachableError) for each in failed) else refused[0]


def _others(failed: Sequence[tuple[Node, CliError]], error: CliError) -> list[tuple[Node, CliError]]:
    """Those that failed on another side than ``error``, which would not be heard of."""
    return [(node, each) for node, each in failed if on_our_side(each) is not on_our_side(error)]


def _complaints(failed: Iterable[tuple[Node, CliError]]) -> list[str]:
    """A line for each way in which nodes failed, with the names of those that did."""
    names = defaultdict[str, list[str]](list)
    for node, error in failed:
        names[f"{error}{_waited(error)}"].append(node.name)
    return [text if _is_named(text, nodes) else f"{_nodes(nodes)}: {text}" for text, nodes in names.items()]


def _is_named(text: str, nodes: Sequence[str]) -> bool:
    return len(nodes) == 1 and f"node {nodes[0]}:" in text


def _nodes(names: Sequence[str]) -> str:
    return f"node{'s' if len(names) > 1 else ''} {', '.join(names)}"


def on_our_side(error: CliError) -> bool:
    """Whether we could not ask: no token, no login, no CA, nobody to tell who we are."""
    is_ours = isinstance(error, (UsageError, MciasError, MciasUnreachableError))
    return is_ours and not isinstance(error, (UnknownServiceError, RejectedError))


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
    for line in same_address(settings.active_nodes):
        render.note(f"mcpctl: {line}; mcpctl contacts each of them")
    if not settings.active_nodes:
        raise settings.no_active_node()
    return settings.active_nodes


def same_address(nodes: Sequence[Node]) -> list[str]:
    """The beginning of a sentence for each address that several of ``nodes`` have."""
    found = defaultdict[tuple[str, int], list[Node]](list)
    for node in nodes:
        found[node.host_port].append(node)
    several = [each for each in found.values() if len(each) > 1]
    return [f"{_nodes([node.name for node in each])} have the same address, {each[0].address}" for each in several]


def changeable(settings: Settings, names: tuple[str, ...]) -> list[Node]:
    """As `chosen`, to be told something. Raises CliError for a node that is named and not active."""
    for name in names:
        settings.usable_node(name)
    return chosen(settings, names)
