"""operations, attach, cancel: their signatures; what they do is in `mcpctl.actions.operations`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import operations as action
from mcpctl.commands.options import COMMON, Common, Nodes, OneNode, ledger_id
from mcpctl.errors import UsageError


def operations(
    service: Annotated[str, Parameter(help="Only those of this service.")] = "",
    /,
    *,
    running: Annotated[bool, Parameter(negative="", help="Only those that are not over.")] = False,
    limit: Annotated[int, Parameter(help="At most so many of each node, the newest.")] = action.DEFAULT_OPERATIONS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List what is being changed on the nodes, and what was.

    For example: `mcpctl operations web --running`
    """
    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of operations")
    return action.operations(common.query(service, node), running=running, limit=limit)


def attach(
    operation: Annotated[int, Parameter(name="ID", help="The operation's id, as `mcpctl operations` shows it.")],
    /,
    *,
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Follow an operation, from its first step to its end.

    Each node counts its own operations: with several nodes, --node says whose it is.

    For example: `mcpctl attach 17 --node rift`
    """
    ledger_id(operation, "operation")
    settings = common.settings()
    where = settings.one_node(node, "operations")
    return action.attach(settings, where, operation, common.how)


def cancel(
    operation: Annotated[int, Parameter(name="ID", help="The operation's id, as `mcpctl operations` shows it.")],
    /,
    *,
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Take a running deploy back: everything is as it was before.

    Whatever it waits for, it stops waiting; a step that was begun is ended first. What is past its commit point, or is
    no deploy, is refused and goes on.

    For example: `mcpctl cancel 17 --node rift`
    """
    ledger_id(operation, "operation")
    settings = common.settings()
    where = settings.one_node(node, "operations")
    return action.cancel(settings, where, operation, common.how)
