"""operations, attach, cancel: their signatures; what they do is in `mcpctl.actions.operations`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import operations as action
from mcpctl.commands.options import COMMON, Common, Nodes, OneNode, ledger_id
from mcpctl.errors import UsageError


def operations(
    service: Annotated[str, Parameter(help="Show only operations of this service. [default: all]")] = "",
    /,
    *,
    running: Annotated[bool, Parameter(negative="", help="Show only operations that are still running.")] = False,
    limit: Annotated[int, Parameter(help="Show at most this many per node, the newest.")] = action.DEFAULT_OPERATIONS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List operations on the nodes: deploys and other changes.

    For example: `mcpctl operations web --running`
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    return action.operations(common.query(service, node), running=running, limit=limit)


def attach(
    operation: Annotated[int, Parameter(name="ID", help="The ID of the operation, from `mcpctl operations`.")],
    /,
    *,
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Follow an operation until it ends.

    Shows all steps from the first. Each node numbers its own operations. If you have several nodes, give --node as
    well.

    For example: `mcpctl attach 17 --node rift`
    """
    ledger_id(operation, "operation")
    settings = common.settings()
    where = settings.one_node(node, "each node numbers its own operations")
    return action.attach(settings, where, operation, common.how)


def cancel(
    operation: Annotated[int, Parameter(name="ID", help="The ID of the operation, from `mcpctl operations`.")],
    /,
    *,
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Cancel a running deploy and roll it back.

    The deploy stops waiting at once; a step that has begun is finished first. A deploy past its commit point and any
    other operation cannot be cancelled: it continues.

    For example: `mcpctl cancel 17 --node rift`
    """
    ledger_id(operation, "operation")
    settings = common.settings()
    where = settings.one_node(node, "each node numbers its own operations")
    return action.cancel(settings, where, operation, common.how)
