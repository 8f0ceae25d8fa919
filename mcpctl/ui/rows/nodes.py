"""How nodes and their snapshots are printed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class SnapshotRow(msgspec.Struct, frozen=True):
    """A node's registry, brought to ``file``; ``size`` in bytes, ``sha256`` in hexadecimal digits."""

    node: str
    file: str
    size: int
    sha256: str


class LinkRow(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    detail: str
    since: datetime | None


class NodeRow(msgspec.Struct, frozen=True):
    node: str
    mcpd_version: str
    podman_version: str
    started_at: datetime | None
    services: int
    components: int
    operations_running: int
    disk_free_bytes: int
    disk_total_bytes: int
    memory_available_bytes: int
    memory_total_bytes: int
    load_average: float
    cpus: int
    certificate_expires_at: datetime | None
    links: tuple[LinkRow, ...]


class ListedNodeRow(msgspec.Struct, frozen=True):
    """A node of the configuration, and how it is. ``status`` None: it was not asked, or did not answer.

    ``reachable`` None: it was not asked. ``problem``: why there is no status; ``waited_s``: how long it was waited for.
    """

    name: str
    address: str
    state: str
    reachable: bool | None = None
    problem: str = ""
    waited_s: float = 0.0
    status: NodeRow | None = None


def node_row(status: v1.NodeStatusResponse) -> NodeRow:
    return NodeRow(
        node=status.node,
        mcpd_version=status.mcpd_version,
        podman_version=status.podman_version,
        started_at=instant(status.started_at),
        services=status.services,
        components=status.components,
        operations_running=status.operations_running,
        disk_free_bytes=status.disk_free_bytes,
        disk_total_bytes=status.disk_total_bytes,
        memory_available_bytes=status.memory_available_bytes,
        memory_total_bytes=status.memory_total_bytes,
        load_average=status.load_average,
        cpus=status.cpus,
        certificate_expires_at=instant(status.certificate_expires_at),
        links=tuple(LinkRow(each.name, each.ok, each.detail, instant(each.since)) for each in status.links),
    )
