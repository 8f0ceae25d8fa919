"""The whole life of mcpd: what outlives what is the nesting below.

    MCIAS client, registry, podman client
    └─ links        the podman link, housekeeping, the certificate, room on disks, the monitor (see `monitor.watch`)
       └─ work      operations: they end as completed or reverted, whoever watches
          └─ front  the gRPC server, metrics, and the signals that end it

SIGTERM cancels the front, which drains; then operations get their grace; then the links go. Containers live on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
import trio

from mcpd import __version__, boot, config, housekeeping, space, systemd
from mcpd import certificate as certificates
from mcpd.certificate import Certificate
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.changes.recovery import take_up_what_was_left
from mcpd.config import AuthMode, Config
from mcpd.errors import ConfigError
from mcpd.identity.mcias import Mcias
from mcpd.identity.tokens import TokenFile
from mcpd.metrics.counts import Counts
from mcpd.registry import lock
from mcpd.registry.adoptions import Adoptions
from mcpd.registry.audit import AuditEntry, AuditLog
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.restored import tell_of_missing, tell_of_restore
from mcpd.rpc.alerts import AlertMethods
from mcpd.rpc.audit import AuditMethods
from mcpd.rpc.changes import ChangeMethods
from mcpd.rpc.discretion import discreet, discreet_memory
from mcpd.rpc.files import FileMethods
from mcpd.rpc.gate import Authenticator
from mcpd.rpc.images import ImageMethods
from mcpd.rpc.logs import LogMethods
from mcpd.rpc.operations import OperationMethods
from mcpd.rpc.probe import answers
from mcpd.rpc.server import RpcServer
from mcpd.rpc.snapshots import SnapshotMethods
from mcpd.rpc.status import StatusMethods
from mcpd.runtime.link import PodmanLink
from mcpd.runtime.podman import Podman
from mcpd.space import Space
from mcpd.systemd import Supervision
from mcpd.watching import NodeIntent
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Sighting
from monitor.watch import Monitor
from monitor.watch import Settings as MonitorSettings

log = structlog.get_logger()

# After the front has drained, what still runs gets this long to complete before it is cancelled, and then reverts.
_OPERATIONS_GRACE_S = 10.0
# Containers that operations have started, and that the monitor has not been told of yet.
_STARTED_AT_ONCE = 1000


async def serve(settings: Config, path: Path) -> None:
    """Runs the daemon until SIGTERM or SIGINT; ``path`` is where ``settings`` are from, and read again on SIGHUP.

    Raises ConfigError or RegistryError when it cannot start.
    """
    name, socket, rules = settings.node.name, settings.podman_socket, settings.monitor
    certificate = Certificate(settings.server.tls_cert, settings.server.tls_key)
    tell_of_missing(settings.database.path)
    manager = systemd.Manager.from_environment(os.environ)
    async with (
        _authenticator(settings) as authenticator,
        lock.hold(settings.database.path),
        Registry.open(settings.database.path) as registry,
        Podman.connect(socket) as podman,
    ):
        link = PodmanLink(podman, socket, run_service=not settings.podman.socket)
        ledger = MonitorLedger(registry, name)
        started, seen_started = trio.open_memory_channel[Sighting](_STARTED_AT_ONCE)
        node = Node(name, podman, registry, Journal(registry), started, rules.heal)
        audit = AuditLog(registry)
        counts = Counts()
        podman.observe_with(counts.asked)
        disks = Space({"the database": settings.database.path, "services' files": settings.files.root}, podman)
        now = _Current(settings)
        dispatcher = Dispatcher(ledger, lambda: now.rules.alert_command, rules.alert_timeout.total_seconds())
        async with trio.open_nursery() as links:
            await links.start(link.run)
            links.start_soon(housekeeping.run, (ledger, node.journal, audit), lambda: now.rules.retention)
            links.start_soon(audit.run)
            links.start_soon(certificates.watch, certificate, ledger, dispatcher)
            links.start_soon(space.watch, disks, lambda: now.rules.disk_free_warning, name, ledger, dispatcher)
            async with trio.open_nursery() as work:
                operations = Operations(work, node.journal)
                podman.label(await Adoptions(registry).labels())
                await take_up_what_was_left(node, operations)
                intent = NodeIntent(node, operations, seen_started)
                intent.is_booting = await boot.is_another_boot(ledger)
                monitor = Monitor(name, podman, intent, ledger, dispatcher, _monitor_settings(rules))
                await links.start(monitor.run)
                supervision = Supervision(
                    manager, monitor.progressed, lambda: systemd.sentence(monitor.drifts(), link.state)
                )
                links.start_soon(supervision.run)

                async def resume() -> None:
                    lost = await boot.start_what_should_run(node, operations)
                    await monitor.tell_of_reboot(lost)
                    intent.is_booting = False

                if intent.is_booting:
                    work.start_soon(resume)
                work.start_soon(tell_of_restore, node, ledger)
                status = StatusMethods(
                    *(name, podman, link, registry, operations, monitor, settings.database.path.parent),
                    lambda: certificate.facts.expires_at,
                )
                methods = (
                    ChangeMethods(node, operations).methods
                    | status.methods
                    | ImageMethods(node, operations).methods
                    | AlertMethods(name, ledger, monitor.look_again).methods
                    | AuditMethods(name, audit).methods
                    | OperationMethods(name, node.journal, operations).methods
                    | SnapshotMethods(settings.database.path).methods
                    | LogMethods(name, podman, registry).methods
                    | FileMethods(settings.files.root, settings.files.max_size).methods
                )

                def called(entry: AuditEntry) -> None:
                    audit.note(entry)
                    counts.called(entry)

                address = settings.server.grpc_addr
                server = RpcServer(
                    *(address, lambda: certificate.tls, authenticator, called),
                    *(discreet(methods), discreet_memory(status.from_memory)),
                )
                async with trio.open_nursery() as front:

                    def read_again() -> None:
                        with supervision.reloading():
                            _read_certificate_again(certificate)
                            _read_config_again(path, now, authenticator, dispatcher, monitor)

                    async def until_told_to_end() -> None:
                        await _until_told_to_end(read_again)
                        supervision.stopping()
                        front.cancel_scope.cancel()

                    # First, since the address may be long in coming.
                    front.start_soon(until_told_to_end)
                    if settings.metrics:
                        # Imported where there is somebody to ask for them: 20 ms of a start.
                        from mcpd.metrics.endpoint import Endpoint
                        from mcpd.metrics.scrape import Scrape

                        scrape = Scrape(
                            *(name, counts, registry, ledger, monitor, operations, link, disks, settings.database.path),
                            lambda: certificate.facts.expires_at,
                        )
                        front.start_soon(Endpoint(settings.metrics.address, scrape.text).run)
                    host, port = await front.start(server.run)
                    log.info("mcpd runs", version=__version__, node=name, address=host, port=port, pid=os.getpid())
                    await supervision.ready(partial(answers, host, port))
                await operations.drain(_OPERATIONS_GRACE_S)
                work.cancel_scope.cancel()
            links.cancel_scope.cancel()
    log.info("mcpd ended; containers run on")


def _monitor_settings(rules: config.Monitor) -> MonitorSettings:
    return MonitorSettings(
        drift_grace=rules.drift_grace.total_seconds(),
        flap_threshold=rules.flap_threshold,
        flap_window=rules.flap_window.total_seconds(),
        cooldown=rules.cooldown.total_seconds(),
        resync_interval=rules.resync_interval.total_seconds(),
    )


async def _until_told_to_end(read_again: Callable[[], None]) -> None:
    """Returns on SIGTERM or SIGINT; on SIGHUP calls ``read_again`` (token files are read again by themselves)."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number != signal.SIGHUP:
                log.info("shutting down", signal=signal.Signals(number).name)
                return
            read_again()


class _Current:
    """The configuration that is in force; SIGHUP puts another one in its place, of which some keys count."""

    def __init__(self, settings: Config) -> None:
        self.at_start = self.settings = settings

    @property
    def rules(self) -> config.Monitor:
        return self.settings.monitor


def _read_certificate_again(certificate: Certificate) -> None:
    try:
        certificate.load()
        log.info("certificate read again")
    except ConfigError as error:
        log.error("the certificate was not read again; the old one stays", error=str(error))


def _read_config_again(
    path: Path, now: _Current, authenticator: Authenticator, dispatcher: Dispatcher, monitor: Monitor
) -> None:
    """Takes what `config.READ_AGAIN` names, all of it or nothing, and says which other keys wait for a restart."""
    try:
        fresh = config.load(path)
        if isinstance(authenticator, Mcias) and fresh.mcias:
            authenticator.trust(fresh.mcias.ca_cert)
    except ConfigError as error:
        log.error("the configuration was not read again; the old one stays", error=str(error))
        return
    now.settings = fresh
    dispatcher.timeout = fresh.monitor.alert_timeout.total_seconds()
    monitor.follow_rules(_monitor_settings(fresh.monitor))
    log.info("configuration read again: the rules of the monitor, and the alert command")
    if waiting := config.needs_restart(now.at_start, fresh):
        log.warning("these keys have changed, and are read only when mcpd starts", keys=waiting)


@asynccontextmanager
async def _authenticator(settings: Config) -> AsyncIterator[Authenticator]:
    """Raises ConfigError."""
    if settings.auth.mode is AuthMode.TOKENS:
        yield TokenFile(settings.auth.tokens_path)
    elif settings.mcias is None:
        raise ConfigError('auth.mode = "mcias" needs a section: [mcias] server_url = "https://..."')
    else:
        async with Mcias.connect(settings.mcias.server_url, settings.mcias.ca_cert) as mcias:
            yield mcias
