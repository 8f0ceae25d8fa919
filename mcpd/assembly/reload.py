"""SIGHUP: what the daemon reads again while it runs. Token files are read again by themselves."""

from __future__ import annotations

from pathlib import Path

import structlog

from mcpd.assembly.parts import Parts, monitor_settings
from mcpd.config import settings as config
from mcpd.errors import ConfigError
from mcpd.identity.mcias import Mcias
from mcpd.rpc.certificate import Certificate
from monitor.watch import Monitor

log = structlog.get_logger()


def reload(path: Path, parts: Parts, monitor: Monitor) -> None:
    """Reads the certificate, and the configuration at ``path``. When one cannot be read, the old one stays."""
    _reload_certificate(parts.certificate)
    _reload_config(path, parts, monitor)


def _reload_certificate(certificate: Certificate) -> None:
    try:
        certificate.load()
        log.info("certificate reloaded")
    except ConfigError as error:
        log.error("the certificate was not reloaded; the old one stays in use", error=str(error))


def _reload_config(path: Path, parts: Parts, monitor: Monitor) -> None:
    """Takes what `config.READ_AGAIN` names, all of it or nothing, and says which other keys wait for a restart."""
    try:
        fresh = config.load(path)
        if isinstance(parts.authenticator, Mcias) and fresh.mcias:
            parts.authenticator.trust(fresh.mcias.ca_cert)
    except ConfigError as error:
        log.error("the configuration was not reloaded; the old one stays in use", error=str(error))
        return
    parts.config.settings = fresh
    parts.dispatcher.timeout = fresh.monitor.alert_timeout.total_seconds()
    monitor.follow_rules(monitor_settings(fresh.monitor))
    log.info("configuration reloaded: the monitor's rules and the alert command")
    if waiting := config.needs_restart(parts.config.at_start, fresh):
        log.warning("these keys have changed; they take effect when mcpd restarts", keys=waiting)
