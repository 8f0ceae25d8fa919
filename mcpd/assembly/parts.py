"""Builds what lives as long as the daemon, and what needs its operations: the monitor, its intent, supervision."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from mcpd.assembly.proxy import router
from mcpd.changes.config_files import ConfigFiles
from mcpd.changes.images.pushes import Pushes
from mcpd.changes.jobs.keeper import Jobs
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.config import settings as config
from mcpd.config.settings import AuthMode, Config
from mcpd.errors import ConfigError
from mcpd.identity.mcias import Mcias
from mcpd.identity.tokens import TokenFile
from mcpd.metrics.counts import Counts
from mcpd.node.disk_space import Space
from mcpd.node.intent import NodeIntent
from mcpd.node.restore_report import tell_of_missing
from mcpd.node.systemd import Manager, Supervision
from mcpd.registry import lock
from mcpd.registry.audit import AuditLog
from mcpd.registry.job_ledger import JobLedger
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc.authentication import Authenticator
from mcpd.rpc.certificate import Certificate
from mcpd.runtime.podman import Podman
from mcpd.runtime.podman_service import PodmanLink
from mcpd.sessions.exec import Executions
from mcpd.sessions.places import Places
from mcpd.sessions.runs import Runs
from mcpd.status.summary import sentence
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Sighting
from monitor.watch import Monitor, Settings

# Containers that operations have started, and that the monitor has not been told of yet.
_STARTED_AT_ONCE = 1000
# The folder with the configs of services, beside the database.
_CONFIGS = "configs"
# And the one for what podman has while it pulls: on a disk, and not in memory, as /tmp may be.
_PODMANS_TEMPORARY = "podman-tmp"


class CurrentConfig:
    """The configuration that is in force. SIGHUP replaces ``settings``, of which some keys count at once."""

    def __init__(self, settings: Config) -> None:
        self.at_start = self.settings = settings

    @property
    def rules(self) -> config.Monitor:
        """The monitor's rules, the alert command, retention and the free space that is asked for."""
        return self.settings.monitor


class Parts(NamedTuple):
    """What is there before the first task runs. ``sightings``: what operations saw of containers that they started."""

    config: CurrentConfig
    manager: Manager
    certificate: Certificate
    authenticator: Authenticator
    registry: Registry
    podman: Podman
    link: PodmanLink
    ledger: MonitorLedger
    node: Node
    sightings: trio.MemoryReceiveChannel[Sighting]
    audit: AuditLog
    counts: Counts
    disks: Space
    dispatcher: Dispatcher
    places: Places
    executions: Executions
    runs: Runs
    pushes: Pushes

    def intent(self, operations: Operations) -> NodeIntent:
        return NodeIntent(self.node, operations, self.sightings)

    def jobs(self, operations: Operations, intent: NodeIntent) -> Jobs:
        ledger = JobLedger(self.registry, self.ledger, self.node.name)
        return Jobs(self.node, operations, ledger, self.dispatcher.submit, lambda: intent.is_booting)

    def monitor(self, intent: NodeIntent) -> Monitor:
        rules = monitor_settings(self.config.rules)
        return Monitor(self.node.name, self.podman, intent, self.ledger, self.dispatcher, rules)

    def supervision(self, monitor: Monitor) -> Supervision:
        return Supervision(self.manager, monitor.progressed, lambda: sentence(monitor.drifts(), self.link.state))


@asynccontextmanager
async def open_parts(settings: Config) -> AsyncIterator[Parts]:
    """Opens what must be closed, in this order: authentication, the database's lock, the registry, podman.

    Raises ConfigError or RegistryError.
    """
    database = settings.database.path
    current = CurrentConfig(settings)
    certificate = Certificate(settings.server.tls_cert, settings.server.tls_key)
    tell_of_missing(database)
    manager = Manager.from_environment(os.environ)
    async with (
        _open_authenticator(settings) as authenticator,
        lock.hold(database),
        Registry.open(database) as registry,
        Podman.connect(settings.podman_socket) as podman,
    ):
        counts = Counts()
        podman.observe_with(counts.asked)
        ledger = MonitorLedger(registry, settings.node.name)
        started, sightings = trio.open_memory_channel[Sighting](_STARTED_AT_ONCE)
        node = Node(
            name=settings.node.name,
            podman=podman,
            registry=registry,
            journal=Journal(registry, settings.database.revisions),
            started=started,
            configs=ConfigFiles(database.parent / _CONFIGS),
            router=router(settings.proxy, registry, podman, database.parent),
            heal=settings.monitor.heal,
        )
        places = Places(settings.sessions)
        yield Parts(
            config=current,
            manager=manager,
            certificate=certificate,
            authenticator=authenticator,
            registry=registry,
            podman=podman,
            link=PodmanLink(
                *(podman, settings.podman_socket, database.parent / _PODMANS_TEMPORARY),
                run_service=not settings.podman.socket,
            ),
            ledger=ledger,
            node=node,
            sightings=sightings,
            audit=AuditLog(registry),
            counts=counts,
            disks=Space({"the database": database, "services' files": settings.files.root}, podman),
            dispatcher=Dispatcher(
                ledger, lambda: current.rules.alert_command, settings.monitor.alert_timeout.total_seconds()
            ),
            places=places,
            executions=Executions(node, places),
            runs=Runs(node, places),
            pushes=Pushes(node),
        )


def monitor_settings(rules: config.Monitor) -> Settings:
    return Settings(
        drift_grace=rules.drift_grace.total_seconds(),
        flap_threshold=rules.flap_threshold,
        flap_window=rules.flap_window.total_seconds(),
        cooldown=rules.cooldown.total_seconds(),
        resync_interval=rules.resync_interval.total_seconds(),
    )


@asynccontextmanager
async def _open_authenticator(settings: Config) -> AsyncIterator[Authenticator]:
    """Raises ConfigError."""
    if settings.auth.mode is AuthMode.TOKENS:
        yield TokenFile(settings.auth.tokens_path)
    elif settings.mcias is None:
        raise ConfigError('auth.mode = "mcias" needs a section: [mcias] server_url = "https://..."')
    else:
        async with Mcias.connect(settings.mcias.server_url, settings.mcias.ca_cert) as mcias:
            yield mcias
