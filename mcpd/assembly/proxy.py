"""Builds the router of a node, with the adapter for its kind of proxy."""

from __future__ import annotations

from pathlib import Path

from mcpd.config import settings as config
from mcpd.config.settings import ProxyKind
from mcpd.registry.store import Registry
from mcpd.routing.command_proxy import CommandProxy
from mcpd.routing.haproxy import HAProxy
from mcpd.routing.proxy import Proxy
from mcpd.routing.router import Router
from mcpd.routing.shelf import CertificateFolder
from mcpd.routing.table import Listener
from mcpd.routing.traefik import Traefik
from mcpd.runtime.podman import Podman

# Beside the database: what mcpd makes of certificates whose chain and key are in several files.
_CERTIFICATES = "route-certificates"


def router(settings: config.Proxy | None, registry: Registry, podman: Podman, state: Path) -> Router:
    """``state``: the folder of what mcpd keeps."""
    if settings is None:
        return Router(registry, podman)
    listeners = [Listener(each.port, each.address[0], each.tls) for each in settings.listeners]
    folder = settings.certificates
    if folder:
        (state / _CERTIFICATES).mkdir(mode=0o700, exist_ok=True)
    shelf = CertificateFolder(folder, state / _CERTIFICATES) if folder else None
    return Router(registry, podman, _adapter(settings), listeners, shelf, settings.ports)


def _adapter(settings: config.Proxy) -> Proxy:
    # What each kind needs is there: `mcpd.config` has checked it.
    if settings.kind is ProxyKind.HAPROXY:
        assert settings.file
        assert settings.socket
        return HAProxy(settings.file, settings.socket, settings.program)
    if settings.kind is ProxyKind.TRAEFIK:
        assert settings.file
        assert settings.api
        return Traefik(settings.file, settings.api, settings.resolver)
    return CommandProxy(settings.command, settings.timeout.total_seconds())
