"""What `mcpctl node snapshot` does: brings a copy of a node's registry here."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, InterruptedByUserError
from mcpctl.nodes import client
from mcpctl.nodes.transfer import chunks, local
from mcpctl.ui import render
from mcpctl.ui.meter import Meter
from mcpctl.ui.output import How, put
from mcpctl.ui.rows.nodes import SnapshotRow
from protos.mcp import v1


def snapshot(settings: Settings, name: str, file: str, how: How, *, force: bool) -> int:
    """Raises CliError."""
    node = settings.node(name)
    try:
        row = asyncio.run(_bring(settings, node, file, force=force))
    except KeyboardInterrupt:
        raise InterruptedByUserError("interrupted; no file was left on this machine or on the node") from None
    if how.structured:
        put(how, row)
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
