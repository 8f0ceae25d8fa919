"""node prune: makes room on a node's disk."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import node_prune as action
from mcpctl.commands.options import COMMON, Common, DryRun
from mcpctl.errors import UsageError

_LARGEST_KEEP = 2**32 - 1


def prune(
    name: Annotated[str, Parameter(name="NODE", help="The node.")],
    /,
    *,
    keep: Annotated[
        int | None, Parameter(help="Keep this many of the newest images of each repository. [default: 3]")
    ] = None,
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Remove unused images from a node, except the newest ones.

    Images that a container, running or not, or a recorded component uses are kept. So are the newest images of each
    repository, so that you can go back to them. Nothing is removed while an operation runs on the node.

    For example: `mcpctl node prune rift --dry-run`
    """
    if keep is not None and not 0 <= keep <= _LARGEST_KEEP:
        raise UsageError(f"--keep must be 0 to {_LARGEST_KEEP}, not {keep}")
    return action.prune(common.settings(), name, keep, common.how, dry_run=dry_run)
