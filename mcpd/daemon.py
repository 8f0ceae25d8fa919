"""The whole life of mcpd. What is nested below ends before what surrounds it.

    parts        MCIAS client, the database's lock, registry, podman client (`mcpd.assembly.parts`)
    └─ links        the podman link, housekeeping, certificates, disk space, the proxy, the monitor (`monitor.watch`)
       └─ work      operations: they end as completed or reverted, whoever watches; and whoever starts jobs
          └─ front  the gRPC server, metrics, and the signals that end it

SIGTERM cancels the front, which drains; then operations get their grace; then the links go. Containers live on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from mcpd import __version__
from mcpd.assembly.parts import open_parts
from mcpd.assembly.reload import reload
from mcpd.assembly.servers import metrics_endpoint, rpc_server
from mcpd.changes.crash_recovery import take_up_what_was_left
from mcpd.changes.operations import Operations
from mcpd.config.settings import Config
from mcpd.node import boot, disk_space, housekeeping
from mcpd.node.restore_report import tell_of_restore
from mcpd.node.systemd import Supervision
from mcpd.registry.adoptions import Adoptions
from mcpd.rpc import certificate
from mcpd.rpc.probe import answers

log = structlog.get_logger()

# After the front has drained, what still runs gets this long to complete before it is cancelled, and then reverts.
_OPERATIONS_GRACE_S = 10.0


async def serve(settings: Config, path: Path) -> None:
    """Runs the daemon until SIGTERM or SIGINT; ``path`` is where ``settings`` are from, and read again on SIGHUP.

    Raises ConfigError or RegistryError when it cannot start.
    """
    async with open_parts(settings) as parts:
        node, ledger, messenger, config = parts.node, parts.ledger, parts.dispatcher, parts.config
        is_another_boot = await boot.is_another_boot(ledger)
        async with trio.open_nursery() as links:
            await links.start(parts.link.run)
            links.start_soon(housekeeping.run, (ledger, node.journal, parts.audit), lambda: config.rules.retention)
            links.start_soon(parts.audit.run)
            links.start_soon(parts.podman.secrets.keep)
            links.start_soon(certificate.watch, parts.certificate, ledger, messenger)
            links.start_soon(
                disk_space.watch, parts.disks, lambda: config.rules.disk_free_warning, node.name, ledger, messenger
            )
            async with trio.open_nursery() as work:
                operations = Operations(work, node.journal)
                parts.podman.label(await Adoptions(parts.registry).labels())
                await take_up_what_was_left(node, operations)
                links.start_soon(parts.executions.keep)
                links.start_soon(parts.runs.keep)
                await links.start(parts.pushes.keep)
                intent = parts.intent(operations)
                intent.is_booting = is_another_boot
                node.router.is_busy = intent.is_busy
                links.start_soon(node.router.keep, ledger, messenger)
                monitor = parts.monitor(intent)
                await links.start(monitor.run)
                supervision = parts.supervision(monitor)
                links.start_soon(supervision.run)
                jobs = parts.jobs(operations, intent)
                work.start_soon(jobs.run)
                if intent.is_booting:
                    work.start_soon(boot.resume, node, operations, monitor, intent)
                work.start_soon(tell_of_restore, node, ledger)
                server = rpc_server(settings, parts, operations, monitor, jobs)
                async with trio.open_nursery() as front:
                    # First, since the address may be long in coming.
                    front.start_soon(
                        _until_signalled, front.cancel_scope, supervision, partial(reload, path, parts, monitor)
                    )
                    if settings.metrics:
                        metrics = metrics_endpoint(settings, settings.metrics.address, parts, operations, monitor, jobs)
                        front.start_soon(metrics.run)
                    host, port = await front.start(server.run)
                    log.info("mcpd runs", version=__version__, node=node.name, address=host, port=port, pid=os.getpid())
                    await supervision.ready(partial(answers, host, port))
                await operations.drain(_OPERATIONS_GRACE_S)
                work.cancel_scope.cancel()
            links.cancel_scope.cancel()
    log.info("mcpd stopped; containers keep running")


async def _until_signalled(front: trio.CancelScope, supervision: Supervision, read_again: Callable[[], None]) -> None:
    """Cancels ``front`` on SIGTERM or SIGINT; on SIGHUP calls ``read_again``."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number != signal.SIGHUP:
                log.info("shutting down", signal=signal.Signals(number).name)
                break
            with supervision.reloading():
                read_again()
    supervision.stopping()
    front.cancel()
