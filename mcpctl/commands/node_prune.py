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
        int | None, Parameter(help="So many images of each repository stay, the newest, for a way back. [default: 3]")
    ] = None,
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Remove the images that nothing on a node uses, but for the newest.

    An image stays that a container has, running or not, or that a recorded component names; and so do the newest ones
    of each repository. Nothing is removed while something is being changed on the node.

    For example: `mcpctl node prune rift --dry-run`
    """
    if keep is not None and not 0 <= keep <= _LARGEST_KEEP:
        raise UsageError(f"--keep: {keep} is not a number of images")
    return action.prune(common.settings(), name, keep, common.how, dry_run=dry_run)
