"""node prune: makes room on a node's disk."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from mcpctl.commands.options import COMMON, Common, DryRun
from mcpctl.errors import DONE, UsageError
from mcpctl.nodes.client import CHANGE_DEADLINE_S, agent
from mcpctl.ui import render
from mcpctl.ui.rows import ImageRow, PruneRow, prune_row
from protos.mcp import v1

_HEADERS = ("IMAGE", "ID", "SIZE", "AGE", "RESULT", "WHY")
# As many digits as `podman images` shows.
_SHORT_ID = 12
# What the contract can carry.
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
    settings = common.settings()
    node = settings.usable_node(name)
    request = v1.PruneImagesRequest(keep=keep, dry_run=dry_run)

    async def command() -> PruneRow:
        async with agent(settings, node, deadline=CHANGE_DEADLINE_S) as stub:
            return prune_row(node.name, await stub.prune_images(request), dry_run=dry_run)

    row = asyncio.run(command())
    if common.json:
        common.put(row)
        return DONE
    if common.quiet:
        return DONE
    if row.images:
        render.table(_HEADERS, [_cells(each, dry_run=dry_run) for each in row.images])
    render.say(_total(row))
    return DONE


def _cells(row: ImageRow, *, dry_run: bool) -> tuple[str, ...]:
    result = ("would go" if dry_run else "removed") if row.removed else "kept"
    names = ", ".join(row.names) or "-"
    return names, row.id[:_SHORT_ID], render.size(row.size), render.age(row.created_at), result, row.reason


def _total(row: PruneRow) -> str:
    gone = sum(each.removed for each in row.images)
    images = "1 image" if gone == 1 else f"{gone} images"
    verb = "would be removed" if row.dry_run else "removed"
    return f"{images} {verb}, {render.size(row.bytes)}; {len(row.images) - gone} kept"
