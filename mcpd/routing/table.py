"""The table of routes, as a proxy should have it: values only.

It says nothing of how a proxy writes it down; an adapter (`mcpd.routing.proxy.Proxy`) does. Entries are sorted, so that
equal tables are equal values.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from protos.parts import Mode


class Listener(msgspec.Struct, frozen=True, order=True):
    """A port where the proxy takes connections. ``tls``: it ends TLS there, and passes some through by their name."""

    port: int
    address: str
    tls: bool


class Server(msgspec.Struct, frozen=True, order=True):
    """A container behind the proxy. ``draining``: it gets nothing new, and finishes what it has.

    ``name`` is of one container and no other; ``host`` and ``port`` are where it listens, on this node.
    """

    name: str
    host: str
    port: int
    draining: bool = False


class Backend(msgspec.Struct, frozen=True, order=True):
    """The containers that answer for one port of a component. Without servers that are not draining it answers 503.

    ``name``: ``SERVICE.COMPONENT.PORT``, where the port is its number, or the name of the route that has none.
    """

    name: str
    mode: Mode
    servers: tuple[Server, ...] = ()


class Entry(msgspec.Struct, frozen=True, order=True):
    """What is sent to which backend: by host, exact or ``*.`` and a domain, and by the beginning of the path.

    Of two that match, an exact host comes before a wildcard, and a longer path before a shorter one. ``path`` is ``/``
    or begins with one and has none at its end; ``/api`` matches ``/api`` and ``/api/x``, and not ``/apis``. With the
    mode ``tls`` there is no path, and the host is the name that the client says in its TLS greeting.
    """

    listen: int
    host: str
    path: str
    backend: str


class Certificate(msgspec.Struct, frozen=True, order=True):
    """A certificate with its chain and its key, in one PEM file. ``names``: the hosts that it is for."""

    path: Path
    names: tuple[str, ...]
    until: datetime
    fingerprint: str


class Table(msgspec.Struct, frozen=True):
    """Everything that a proxy should have of ours."""

    listeners: tuple[Listener, ...] = ()
    entries: tuple[Entry, ...] = ()
    backends: tuple[Backend, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    def backend(self, name: str) -> Backend:
        return next(each for each in self.backends if each.name == name)
