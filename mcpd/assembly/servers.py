"""Builds what clients reach: the gRPC server with its methods, and the metrics endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcpd.assembly.parts import Parts
from mcpd.changes.jobs.keeper import Jobs
from mcpd.changes.operations import Operations
from mcpd.config.settings import Config
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.alerts import AlertMethods
from mcpd.rpc.audit import AuditMethods
from mcpd.rpc.changes import ChangeMethods
from mcpd.rpc.files import FileMethods
from mcpd.rpc.image_push import ImagePushMethods
from mcpd.rpc.images import ImageMethods
from mcpd.rpc.jobs import JobMethods
from mcpd.rpc.logs import LogMethods
from mcpd.rpc.operations import OperationMethods
from mcpd.rpc.processes import ProcessMethods
from mcpd.rpc.redaction import redacted, redacted_memory
from mcpd.rpc.routes import RouteMethods
from mcpd.rpc.secrets import SecretMethods
from mcpd.rpc.server import RpcServer
from mcpd.rpc.sessions import SessionMethods
from mcpd.rpc.snapshots import SnapshotMethods
from mcpd.rpc.status import StatusMethods
from monitor.watch import Monitor

if TYPE_CHECKING:
    from mcpd.metrics.endpoint import Endpoint


def rpc_server(settings: Config, parts: Parts, operations: Operations, monitor: Monitor, jobs: Jobs) -> RpcServer:
    name, node, podman, registry = parts.node.name, parts.node, parts.podman, parts.registry
    status = StatusMethods(
        *(name, podman, parts.link, registry, operations, monitor, node.router, settings.database.path.parent),
        lambda: parts.certificate.facts.expires_at,
    )
    sessions = SessionMethods(parts.executions, parts.runs)
    methods = (
        ChangeMethods(node, operations).methods
        | status.methods
        | ImageMethods(node, operations).methods
        | AlertMethods(name, parts.ledger, monitor.look_again).methods
        | AuditMethods(name, parts.audit).methods
        | OperationMethods(name, node.journal, operations).methods
        | JobMethods(name, jobs).methods
        | SnapshotMethods(settings.database.path).methods
        | RouteMethods(node, operations, settings.proxy.kind if settings.proxy else "").methods
        | SecretMethods(node).methods
        | LogMethods(name, podman, registry).methods
        | sessions.methods
        | ProcessMethods(name, podman, registry).methods
        | FileMethods(settings.files.root, settings.files.max_size).methods
    )

    def called(entry: AuditEntry) -> None:
        parts.audit.note(entry)
        parts.counts.called(entry)

    return RpcServer(
        *(settings.server.grpc_addr, lambda: parts.certificate.tls, parts.authenticator, called),
        *(
            redacted(methods) | sessions.conversations | ImagePushMethods(parts.pushes).conversations,
            redacted_memory(status.from_memory),
        ),
    )


def metrics_endpoint(
    settings: Config, address: tuple[str, int], parts: Parts, operations: Operations, monitor: Monitor, jobs: Jobs
) -> Endpoint:
    # Imported only where there is somebody to ask for them: 20 ms of a start.
    from mcpd.metrics.endpoint import Endpoint
    from mcpd.metrics.scrape import Scrape

    scrape = Scrape(
        *(
            parts.node.name,
            parts.counts,
            parts.places,
            parts.pushes,
            parts.registry,
            parts.ledger,
            monitor,
            operations,
            parts.link,
            parts.disks,
        ),
        parts.node.router,
        jobs,
        *(settings.database.path, lambda: parts.certificate.facts.expires_at),
    )
    return Endpoint(address, scrape.text)
