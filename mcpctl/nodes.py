"""What node list does: the configuration, and what its active nodes say of themselves, all asked at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from mcpctl import render
from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import DONE, PARTIAL, CliError, UnreachableError
from mcpctl.fanout import ask_each, on_our_side
from mcpctl.output import How, View, listing
from mcpctl.rows import ListedNodeRow, NodeRow, node_row
from mcpctl.tables import Fit
from protos.mcp import v1


def list_nodes(settings: Settings, how: How, *, offline: bool = False) -> int:
    """PARTIAL when an active node did not answer. Raises CliError when no node can be asked."""
    rows = [_unasked(each) for each in settings.nodes] if offline else asyncio.run(_rows(settings))
    nothing = f"{settings.path} names no nodes; `mcpctl node add NAME ADDRESS` adds one"
    listing(rows, how, _OFFLINE if offline else _NODES, nothing)
    return PARTIAL if any(row.problem for row in rows) else DONE


async def _rows(settings: Settings) -> list[ListedNodeRow]:
    """In the order of the configuration."""
    said = await ask_each(settings, settings.active_nodes, lambda stub, _: stub.node_status(v1.NodeStatusRequest()))
    for _, each in said:
        if isinstance(each, CliError) and on_our_side(each):
            raise type(each)(f"{each}\n`mcpctl node list --offline` asks no node")
    rows = {node.name: _row(node, each) for node, each in said}
    return [rows.get(each.name) or _unasked(each) for each in settings.nodes]


def _row(node: Node, said: v1.NodeStatusResponse | CliError) -> ListedNodeRow:
    if not isinstance(said, CliError):
        return ListedNodeRow(node.name, node.address, node.state, reachable=True, status=node_row(said))
    problem = str(said).removeprefix(f"node {node.name}: ")
    waited = said.waited_s if isinstance(said, UnreachableError) else 0.0
    is_there = not isinstance(said, UnreachableError)
    return ListedNodeRow(node.name, node.address, node.state, is_there, problem, round(waited, 3))


def _unasked(node: Node) -> ListedNodeRow:
    return ListedNodeRow(node.name, node.address, node.state)


def _cells(row: ListedNodeRow) -> tuple[str, ...]:
    status = row.status
    if status is None:
        waited = f" (waited {render.took(1000 * row.waited_s)})" if row.waited_s else ""
        return row.name, row.state, _answers(row), "", "", "", "", "", f"{row.problem}{waited}"
    disk = f"{render.size(status.disk_free_bytes)} of {render.size(status.disk_total_bytes)}"
    load = f"{status.load_average:.2f}/{status.cpus}"
    broken = "; ".join(f"{each.name}: {each.detail}" for each in status.links if not each.ok)
    expires = _expires(status)
    return row.name, row.state, "yes", status.mcpd_version, status.podman_version, load, disk, expires, broken


def _answers(row: ListedNodeRow) -> str:
    if row.reachable is None:
        return "not asked" if row.state != NodeState.ACTIVE else ""
    return "refused" if row.reachable else "unreachable"


def _expires(status: NodeRow) -> str:
    """How long the certificate is good for."""
    end, now = status.certificate_expires_at, datetime.now(UTC)
    if end is None:
        return ""
    return "expired" if end <= now else f"in {render.age(now, end)}"


def _wide_cells(row: ListedNodeRow) -> tuple[str, ...]:
    status = row.status
    if status is None:
        return row.address, "", "", "", ""
    memory = f"{render.size(status.memory_available_bytes)} of {render.size(status.memory_total_bytes)}"
    return row.address, str(status.services), str(status.components), memory, render.age(status.started_at)


_NODES: View[ListedNodeRow] = View(
    ("NODE", "STATE", "ANSWERS", "MCPD", "PODMAN", "LOAD/CPUS", "DISK FREE", "CERTIFICATE ENDS", "PROBLEM"),
    _cells,
    lambda row: row.name,
    ("ADDRESS", "SERVICES", "COMPONENTS", "MEMORY FREE", "UP"),
    _wide_cells,
    Fit(same=(), spare=("LOAD/CPUS", "PODMAN", "DISK FREE", "MCPD", "CERTIFICATE ENDS")),
)
_OFFLINE: View[ListedNodeRow] = View(
    ("NODE", "ADDRESS", "STATE"),
    lambda row: (row.name, row.address, row.state),
    lambda row: row.name,
    fit=Fit(same=()),
)
