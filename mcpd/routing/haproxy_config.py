"""What HAProxy is to have, as it reads it: the table of routes as the text of a configuration. No I/O here.

The text is a structure and servers. The structure has a hash, which the configuration names as its description, so
that a worker says which structure it runs (``show info``). Servers are changed in a running worker, and are in the
file for the next one. HAProxy 2.6 and later.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mcpd.routing import haproxy_certificates
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from protos.parts import Mode

# Backends and frontends of our own begin with it. A backend of the table has two dots, and none of these has.
_OURS = "mcp."
_UNKNOWN_HOST = f"{_OURS}unknown"
_DESCRIPTION = "    description mcp "
_SERVER = "    server "
# The last line of a backend from a table before its servers. Not every way to choose one lets servers come and go.
_BALANCE = "    balance roundrobin"
_HASH_LENGTH = 16
# A worker that has given up root connects to a socket that root has made.
_SHARED = " mode 666"

# A command line of HAProxy 2.6 has 64 words at most, so certificates are in a list of their own.
_LIST_SUFFIX = "certificates"

_HEAD = """\
# mcpd writes this file, from the routes of the services. What is changed here is undone: settings of your own belong
# into another file, which HAProxy reads as well (haproxy -f THIS -f OTHER).
global
{description}{hash}
    # Workers from before a reload would otherwise live as long as the longest connection, and there may be many.
    hard-stop-after 1h
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults mcp
    mode http
    log global
    # Only what was never sent is sent again, and to another server, where there is one.
    retries 3
    retry-on conn-failure
    option redispatch 1
    http-reuse safe
    # A worker that is being replaced answers once more where a client keeps its connection, and then closes it. To
    # close it at once would lose the request that is under way.
    option idle-close-on-response
    timeout connect 5s
    # The request's head; idle clients; a request or an answer that stands still; WebSockets and what is passed through.
    timeout http-request 30s
    timeout http-keep-alive 30s
    timeout client 5m
    timeout server 5m
    timeout tunnel 1h

backend {unknown} from mcp
    http-request return status 404 content-type text/plain string "No route has this host and path."
"""

# What applications believe of a client is what we saw, and not what the client says of itself.
_HTTP = """\
    option httplog
    option forwardfor
    http-request del-header Forwarded
    http-request del-header X-Forwarded-For
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http if !{ ssl_fc }
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
"""
_ROUTING = """\
    http-request set-var(txn.host) req.hdr(host),field(1,:),lower,rtrim(.)
    http-request set-var(txn.path) path,concat(/)
"""

# gRPC's streams are quiet for as long as they like.
_QUIET = "1h"


def text(table: Table, config: Path) -> str:
    """The whole configuration; ``config`` is the file that it is for."""
    return with_servers(_structure(table, config), table.backends)


def with_servers(configuration: str, backends: Iterable[Backend]) -> str:
    """``configuration``, a text of ours, with the present servers in those of ``backends`` that it has."""
    known = {backend.name: backend for backend in backends}
    lines: list[str] = []
    inside: Backend | None = None
    for line in configuration.splitlines():
        if not line.startswith(" "):
            inside = known.get(line.split()[1]) if line.startswith("backend ") else None
        if inside is not None and line.startswith(_SERVER):
            continue
        lines.append(line)
        if inside is not None and line == _BALANCE:
            lines += (
                f"{_SERVER}{server.name} {address(server)}{keywords(inside.mode)}"
                for server in inside.servers
                if not server.draining
            )
    return "\n".join(lines) + "\n"


def description(configuration: str) -> str:
    """What a worker that runs ``configuration`` says as its description; empty: it is none of ours."""
    for line in configuration.splitlines():
        if line.startswith(_DESCRIPTION):
            return line.removeprefix("    description ")
    return ""


def is_intact(configuration: str) -> bool:
    """Whether its structure is as mcpd wrote it."""
    return bool(description(configuration)) and description(configuration) == f"mcp {_hash(configuration)}"


def certificate_list(table: Table) -> str:
    """The text of the crt-list."""
    return haproxy_certificates.listed(table.certificates, _hosts(table))


def shared_certificates(table: Table) -> tuple[Certificate, ...]:
    """Those that stand in for one another: which one is served is a question of their order."""
    return haproxy_certificates.shared(table.certificates, _hosts(table))


def certificate_list_path(table: Table, config: Path) -> Path:
    """Where the crt-list is: beside ``config``, under a name of its content, so that a file and its list agree."""
    name = hashlib.sha256(certificate_list(table).encode()).hexdigest()[:_HASH_LENGTH]
    return config.with_name(f"{config.name}.{name}.{_LIST_SUFFIX}")


def other_lists(table: Table, config: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Of the ``names`` in the folder of ``config``, crt-lists of ours that ``table`` has no use for."""
    ours = re.compile(rf"{re.escape(config.name)}\.[0-9a-f]{{{_HASH_LENGTH}}}\.{_LIST_SUFFIX}")
    needed = certificate_list_path(table, config).name if served_certificates(table) else ""
    return tuple(name for name in names if ours.fullmatch(name) and name != needed)


def served_certificates(table: Table) -> tuple[Certificate, ...]:
    """Those that a worker loads: all, where something is terminated."""
    terminated = any(_ends_tls(table, port) for port in _ports(table))
    return table.certificates if terminated else ()


def frontends(table: Table) -> Mapping[str, int]:
    """The frontends that must be open, with their ports."""
    return {name: port for port in _ports(table) for name in _frontend_names(table, port)}


def own_ports(names: Iterable[str]) -> frozenset[int]:
    """The ports of those of ``names`` that are frontends of ours."""
    found = (re.fullmatch(rf"{re.escape(_OURS)}(\d+)", name) for name in names)
    return frozenset(int(each[1]) for each in found if each)


def is_in_both_families(table: Table, listener: Listener) -> bool:
    """Whether it has its port in both families: ``::`` does, unless the port has an address of IPv4 as well."""
    return listener.address == "::" and " v6only" not in "".join(_addresses(table, listener.port))


def keywords(mode: Mode) -> str:
    """What a server has besides its address, in a file and in ``add server``.

    Half of the idle connections that there are too many are closed each time: 60 within some two seconds. They are no
    load, then, on a container that has to end, and the container, which closes them in the end, hardly does so just
    when HAProxy sends a request there.
    """
    match mode:
        case Mode.GRPC:
            return " proto h2 pool-purge-delay 200ms"
        case Mode.HTTP:
            return " pool-purge-delay 200ms"
        case Mode.TLS:
            return ""


def address(server: Server) -> str:
    return f"{_bracketed(server.host)}:{server.port}"


def _structure(table: Table, config: Path) -> str:
    parts = [_HEAD.format(description=_DESCRIPTION, hash="", unknown=_UNKNOWN_HOST)]
    parts += ("\n" + "".join(f"{line}\n" for line in _backend(backend)) for backend in table.backends)
    for port in _ports(table):
        parts += ("\n" + "".join(f"{line}\n" for line in lines) for lines in _port(table, port, config))
    blank = "".join(parts)
    return blank.replace(f"{_DESCRIPTION}\n", f"{_DESCRIPTION}{_hash(blank)}\n", 1)


def _hash(configuration: str) -> str:
    """Of everything but the servers of backends that came from a table, and the hash itself."""
    structure, ours = [], False
    for line in configuration.splitlines():
        if not line.startswith(" "):
            ours = line.startswith("backend ") and not line.split()[1].startswith(_OURS)
        if line.startswith(_DESCRIPTION) or (ours and line.startswith(_SERVER)):
            continue
        structure.append(line)
    return hashlib.sha256("\n".join(structure).encode()).hexdigest()[:_HASH_LENGTH]


def _backend(backend: Backend) -> Iterator[str]:
    yield f"backend {backend.name} from mcp"
    match backend.mode:
        case Mode.TLS:
            yield "    mode tcp"
        case Mode.GRPC:
            yield f"    timeout server {_QUIET}"
        case Mode.HTTP:
            pass
    yield _BALANCE


def _port(table: Table, port: int, config: Path) -> Iterator[Iterable[str]]:
    """The sections for a port, each as its lines."""
    names = _frontend_names(table, port)
    if not _passed(table, port):
        if names:
            yield _http_frontend(table, port, names[0], _binds(table, port, config))
            yield from _relay(table, port, config)
        return
    inside = f"{_OURS}{port}-http"
    yield _tls_frontend(table, port, f"{_OURS}{port}", inside if inside in names else None)
    if inside in names:
        socket = _socket(config, f"{port}-http")
        yield (f"backend {inside} from mcp", "    mode tcp", f"    server inside {socket} send-proxy-v2")
        yield _http_frontend(table, port, inside, [f"{socket}{_SHARED} accept-proxy{_tls(table, port, config)}"])
        yield from _relay(table, port, config)


def _relay(table: Table, port: int, config: Path) -> Iterator[Iterable[str]]:
    """By which a worker that is being replaced sends what still comes over its connections to its successor.

    Such a worker takes no commands about servers any more, so it would send requests to those that are gone since.
    """
    socket = _socket(config, f"{port}-relay")
    yield (
        f"backend {_OURS}{port}-relay from mcp",
        "    use-server grpc if { req.hdr(content-type) -m beg application/grpc }",
        f"    timeout server {_QUIET}",
        f"    server http {socket}",
        f"    server grpc {socket} proto h2 weight 0",
    )
    yield (
        f"frontend {_OURS}{port}-relay from mcp",
        f"    bind {socket}{_SHARED}",
        f"    timeout client {_QUIET}",
        *_ROUTING.splitlines(),
        *_routes(table, port),
    )


def _socket(config: Path, name: str) -> str:
    """A socket between workers. An abstract one would work in a chroot, too, but HAProxy 2.6 cannot pause it: a reload
    that then fails for a port that is taken would end the old worker as well."""
    return f"unix@{config.with_name(f'{config.name}.{name}.sock')}"


def _frontend_names(table: Table, port: int) -> tuple[str, ...]:
    """Those of a port. None: only what needs a certificate is there, and there is none."""
    front = (f"{_OURS}{port}",)
    if not _passed(table, port):
        return front if _takes_http(table, port) else ()
    return (*front, f"{_OURS}{port}-http") if _takes_http(table, port) else front


def _tls_frontend(table: Table, port: int, name: str, inside: str | None) -> Iterator[str]:
    yield f"frontend {name} from mcp"
    yield "    mode tcp"
    yield "    option tcplog"
    yield from (f"    bind {bind}" for bind in _addresses(table, port))
    yield "    tcp-request inspect-delay 5s"
    yield "    tcp-request content accept if { req.ssl_hello_type 1 }"
    # In order of precedence, also between hosts that are passed through and hosts that are not.
    targets = {
        f"    use_backend {target} if {_host('req.ssl_sni', entry.host)}": None
        for entry in sorted(_entries(table, port), key=_precedence)
        if (target := entry.backend if _mode(table, entry) is Mode.TLS else inside)
    }
    yield from targets
    if inside is not None:
        yield f"    default_backend {inside}"


def _http_frontend(table: Table, port: int, name: str, binds: Iterable[str]) -> Iterator[str]:
    yield f"frontend {name} from mcp"
    yield from (f"    bind {bind}" for bind in binds)
    if any(_mode(table, entry) is Mode.GRPC for entry in _http_entries(table, port)):
        yield f"    timeout client {_QUIET}"
    yield from _HTTP.splitlines()
    yield from _ROUTING.splitlines()
    yield f"    use_backend {_OURS}{port}-relay if {{ stopping }}"
    yield from _routes(table, port)


def _http_entries(table: Table, port: int) -> list[Entry]:
    return [entry for entry in _entries(table, port) if _mode(table, entry) is not Mode.TLS]


def _routes(table: Table, port: int) -> Iterator[str]:
    for entry in sorted(_http_entries(table, port), key=_precedence):
        path = "" if entry.path == "/" else f" {{ var(txn.path) -m beg {_escaped(entry.path)}/ }}"
        yield f"    use_backend {entry.backend} if {_host('var(txn.host)', entry.host)}{path}"
    yield f"    default_backend {_UNKNOWN_HOST}"


def _precedence(entry: Entry) -> tuple[bool, str, int, str]:
    """An exact host before a wildcard, a longer path before a shorter one."""
    return entry.host.startswith("*."), entry.host, -len(entry.path), entry.path


def _host(sample: str, host: str) -> str:
    if host.startswith("*."):
        return rf"{{ {sample} -m reg -i ^[^.]+{re.escape(host[1:])}$ }}".replace("\\", "\\\\")
    return f"{{ {sample} -m str -i {host} }}"


def _escaped(path: str) -> str:
    """As a word of HAProxy's. Of what a route's path may have, only an apostrophe means something there."""
    return path.replace("'", "\\'")


def _binds(table: Table, port: int, config: Path) -> list[str]:
    return [f"{bind}{_tls(table, port, config)}" for bind in _addresses(table, port)]


def _tls(table: Table, port: int, config: Path) -> str:
    if not _ends_tls(table, port):
        return ""
    return f" ssl crt-list {certificate_list_path(table, config)} alpn h2,http/1.1"


def _addresses(table: Table, port: int) -> list[str]:
    listeners = sorted(_listeners(table, port))
    both = len({":" in listener.address for listener in listeners}) > 1
    return [
        f"{_bracketed(listener.address) or '*'}:{port}{' v6only' if both and ':' in listener.address else ''}"
        for listener in listeners
    ]


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def _ports(table: Table) -> tuple[int, ...]:
    return tuple(sorted({listener.port for listener in table.listeners}))


def _listeners(table: Table, port: int) -> tuple[Listener, ...]:
    return tuple(listener for listener in table.listeners if listener.port == port)


def _entries(table: Table, port: int) -> tuple[Entry, ...]:
    return tuple(entry for entry in table.entries if entry.listen == port)


def _hosts(table: Table) -> frozenset[str]:
    return frozenset(entry.host for entry in table.entries)


def _mode(table: Table, entry: Entry) -> Mode:
    return table.backend(entry.backend).mode


def _passed(table: Table, port: int) -> bool:
    return any(_mode(table, entry) is Mode.TLS for entry in _entries(table, port))


def _is_tls(table: Table, port: int) -> bool:
    return any(listener.tls for listener in _listeners(table, port))


def _ends_tls(table: Table, port: int) -> bool:
    return _is_tls(table, port) and _takes_http(table, port)


def _takes_http(table: Table, port: int) -> bool:
    """Whether HTTP is served there: something is routed, or nothing is passed through, and TLS has a certificate."""
    if _is_tls(table, port) and not table.certificates:
        return False
    return not _passed(table, port) or any(_mode(table, entry) is not Mode.TLS for entry in _entries(table, port))
