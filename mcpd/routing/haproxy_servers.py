"""The servers of a worker of HAProxy's: how they differ from a table, and what makes them the same. Pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mcpd.routing import haproxy_config
from mcpd.routing.haproxy_master import not_understood, rows
from mcpd.routing.table import Backend, Server

SHOW = "show servers state"
# srv_admin_state (HAProxy's management guide, 9.3, "show servers state"): maintenance of whatever kind; and draining.
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10


class Loaded(NamedTuple):
    """A server, as a worker has it. ``takes_new``: it gets its share of what is new."""

    host: str
    port: int
    takes_new: bool
    maintenance: bool


# By backend and name.
Servers = Mapping[tuple[str, str], Loaded]


def changes(backends: tuple[Backend, ...], found: Servers) -> Iterator[str]:
    """The commands that make a worker with ``found`` have what ``backends`` say. What is new comes first.

    What leaves is put into maintenance: it gets nothing new, what it has goes on, and idle connections to it are
    closed at once. ("Drain" keeps those: half of them for another second, and so on.) Then it is deleted, which HAProxy
    refuses as long as something goes on there.
    """
    leaving: list[str] = []
    for backend in backends:
        wanted = {server.name: server for server in backend.servers}
        for server in backend.servers:
            if not server.draining:
                yield from _make_ready(backend, server, found.get((backend.name, server.name)))
        for (where, name), loaded in found.items():
            if where != backend.name or (name in wanted and not wanted[name].draining):
                continue
            if not loaded.maintenance:
                leaving.append(f"set server {where}/{name} state maint")
            if name not in wanted:
                leaving.append(f"del server {where}/{name}")
    yield from leaving


def different_servers(backends: tuple[Backend, ...], found: Servers) -> Iterator[str]:
    """How a worker with ``found`` differs from what ``backends`` say, a sentence each."""
    for backend in backends:
        wanted = {server.name: server for server in backend.servers}
        for server in backend.servers:
            loaded = found.get((backend.name, server.name))
            if server.draining:
                if loaded is not None and loaded.takes_new:
                    yield f"{backend.name} sends new connections to {server.name}, which is draining"
            elif loaded is None:
                yield f"{backend.name} has no server {server.name}"
            elif not _is_at(loaded, server):
                yield (
                    f"{backend.name} has the server {server.name} at {loaded.host}:{loaded.port} in place of"
                    f" {haproxy_config.address(server)}"
                )
            elif not loaded.takes_new:
                yield f"{backend.name} sends nothing to its server {server.name}"
        for (where, name), loaded in found.items():
            if where == backend.name and name not in wanted and not loaded.maintenance:
                yield f"{backend.name} has a server {name} too many"


def _make_ready(backend: Backend, server: Server, loaded: Loaded | None) -> Iterator[str]:
    name = f"{backend.name}/{server.name}"
    if loaded is None:
        yield f"add server {name} {haproxy_config.address(server)}{haproxy_config.keywords(backend.mode)}"
    elif not _is_at(loaded, server):
        yield f"set server {name} addr {server.host} port {server.port}"
    if loaded is None or not loaded.takes_new:
        yield f"set server {name} weight 100%"
        yield f"set server {name} state ready"


def _is_at(loaded: Loaded, server: Server) -> bool:
    return loaded.port == server.port and _same_host(loaded.host, server.host)


def _same_host(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other


def parsed(answer: str) -> Servers:
    """The servers in the answer to ``show servers state``. Raises ProxyError."""
    _, header, table = answer.partition("# ")
    try:
        found = dict(_loaded(row) for row in rows(table, " "))
    except (KeyError, ValueError):
        raise not_understood(SHOW, answer) from None
    if not header:
        raise not_understood(SHOW, answer)
    return found


def _loaded(row: Mapping[str, str]) -> tuple[tuple[str, str], Loaded]:
    """Raises KeyError and ValueError."""
    admin = int(row["srv_admin_state"])
    loaded = Loaded(
        host=row["srv_fqdn"] if row["srv_fqdn"] != "-" else row["srv_addr"],
        port=int(row["srv_port"]),
        takes_new=not admin & (_MAINTENANCE | _DRAINING)
        and row["srv_op_state"] != "0"
        and row["srv_uweight"] == row["srv_iweight"],
        maintenance=bool(admin & _MAINTENANCE),
    )
    return (row["be_name"], row["srv_name"]), loaded


def is_consent(answer: str) -> bool:
    """Whether a worker has done what a command said, in its own words."""
    return answer.startswith(("New server registered", "IP changed", "no need to change", "port changed"))
