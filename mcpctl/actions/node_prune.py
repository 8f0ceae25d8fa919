"""What `mcpctl node prune` does: removes the images that nothing on a node uses."""

from __future__ import annotations

import asyncio

from mcpctl.config import Settings
from mcpctl.errors import DONE
from mcpctl.nodes.client import CHANGE_DEADLINE_S, agent
from mcpctl.ui import render
from mcpctl.ui.output import How, put
from mcpctl.ui.rows.nodes import ImageRow, PruneRow, prune_row
from protos.mcp import v1

_HEADERS = ("IMAGE", "ID", "SIZE", "AGE", "RESULT", "REASON")
# As many digits as `podman images` shows.
_SHORT_ID = 12
# What the contract can carry.


def prune(settings: Settings, name: str, keep: int | None, how: How, *, dry_run: bool) -> int:
    """Raises CliError."""
    node = settings.usable_node(name)
    request = v1.PruneImagesRequest(keep=keep, dry_run=dry_run)

    async def command() -> PruneRow:
        async with agent(settings, node, deadline=CHANGE_DEADLINE_S) as stub:
            return prune_row(node.name, await stub.prune_images(request), dry_run=dry_run)

    row = asyncio.run(command())
    if how.structured:
        put(how, row)
        return DONE
    if how.quiet:
        return DONE
    if row.images:
        render.table(_HEADERS, [_cells(each, dry_run=dry_run) for each in row.images])
    render.say(_total(row))
    return DONE


def _cells(row: ImageRow, *, dry_run: bool) -> tuple[str, ...]:
    result = ("would be removed" if dry_run else "removed") if row.removed else "kept"
    names = ", ".join(row.names) or "-"
    return names, row.id[:_SHORT_ID], render.size(row.size), render.age(row.created_at), result, row.reason


def _total(row: PruneRow) -> str:
    gone = sum(each.removed for each in row.images)
    images = "1 image" if gone == 1 else f"{gone} images"
    verb = "would be removed" if row.dry_run else "removed"
    return f"{images} {verb}, {render.size(row.bytes)}; {len(row.images) - gone} kept"
