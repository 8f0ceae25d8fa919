"""node snapshot: brings a copy of a node's registry here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.commands.options import COMMON, Common
from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, InterruptedByUserError
from mcpctl.nodes import client
from mcpctl.nodes.transfer import chunks, local
from mcpctl.ui import render
from mcpctl.ui.meter import Meter
from mcpctl.ui.rows import SnapshotRow
from protos.mcp import v1


def snapshot(
    name: Annotated[str, Parameter(name="NODE", help="The node.")],
    file: Annotated[
        str, Parameter(name="FILE", show_default=False, help="Where to. [default: NODE-TIME.db in the current folder]")
    ] = "",
    /,
    *,
    force: Annotated[bool, Parameter(negative="", help="Replace FILE when it is there.")] = False,
    common: Common = COMMON,
) -> int:
    """Bring a snapshot of a node's registry here: whole, checked, and readable by you alone.

    It has everything that was ever declared there, values of environment variables included. `mcpd restore` puts it
    back, on that node or on the one that takes its place.

    For example: `mcpctl node snapshot rift rift.db`
    """
    settings = common.settings()
    node = settings.node(name)
    try:
        row = asyncio.run(_bring(settings, node, file, force=force))
    except KeyboardInterrupt:
        raise InterruptedByUserError("interrupted; nothing was left here, or on the node") from None
    if common.json:
        common.put(row)
    else:
        render.say(f"{row.file}: {render.size(row.size)}, the registry of {row.node}")
    return DONE


async def _bring(settings: Settings, node: Node, file: str, *, force: bool) -> SnapshotRow:
    target = Path(file or f"{node.name}-{render.stamp()}.db")
    local.check_free(target, force=force)
    with Meter(1, 0) as meter, local.Landing(target, force=force) as landing:
        async with client.agent(settings, node, deadline=None) as stub:
            parts = stub.snapshot(v1.SnapshotRequest())
            moved = await chunks.arrive(node, parts, f"the registry of {node.name}", landing, meter)
        landing.place()
    return SnapshotRow(node.name, str(target), moved.size, moved.sha256.hex())
