"""The table of routes in Traefik's words: its dynamic configuration, as a file. Decides only; does no I/O.

All names in it begin with ``mcp-``. How Traefik decides between a route of ours and one of the operator's that match
the same request: by priority. Ours have some 500 (wildcards) and 1,000 (exact hosts); a route that says none has the
length of its rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from mcpd.routing.claims import certificate_for
from mcpd.routing.table import Backend, Certificate, Entry, Server, Table
from protos.parts import Mode

OURS = "mcp-"
TRANSPORT = "mcp-transport"

# mcpd takes a container that is drained for finished when nobody is connected to it; of its own, Traefik keeps a
# connection that nobody uses for 90 s. And it is shorter than the patience of servers (gunicorn: 2 s, nodejs: 5 s), so
# that a request meets no connection that its server is about to close: Traefik repeats a GET then, and answers 502 to
# what has a body.
_IDLE = "1s"
# Go's default, 2, would close a connection after most requests; this is that of Traefik's own transport.
_IDLE_CONNECTIONS = 200

_SCHEMES = {Mode.HTTP: "http", Mode.GRPC: "h2c"}
# Above what a rule without a priority usually has, and apart by more than a path is long (200 characters).
_WILDCARD_PRIORITY, _EXACT_PRIORITY = 500, 1000

_VERSION = re.compile(r"mcp-version-[0-9a-f]{16}")
# The file provider takes the file for a template of Go's.
_TEMPLATE = re.compile(r"\{(?=\{)")
_HEADER = "# Written by mcpd, which writes it again: what is changed here is lost. docs/routes.md says what it is.\n"


class Written(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Part of the file. What is empty is left out: Traefik refuses a section with nothing in it."""


class Tls(Written, frozen=True):
    """Empty: TLS ends here, with a certificate that Traefik has."""

    passthrough: bool = False
    cert_resolver: str = ""


class Router(Written, frozen=True):
    rule: str = ""
    service: str = ""
    entry_points: tuple[str, ...] = ()
    priority: int = 0
    tls: Tls | None = None


class Target(Written, frozen=True):
    """A server: ``url`` for HTTP, ``address`` for TCP."""

    url: str = ""
    address: str = ""


class LoadBalancer(Written, frozen=True, omit_defaults=False):
    """Written with its servers also when there are none: it answers 503 then."""

    servers: tuple[Target, ...] = ()
    servers_transport: str = ""


class Service(Written, frozen=True):
    load_balancer: LoadBalancer


class ForwardingTimeouts(Written, frozen=True):
    idle_conn_timeout: str


class Transport(Written, frozen=True):
    max_idle_conns_per_host: int
    forwarding_timeouts: ForwardingTimeouts


class Http(Written, frozen=True):
    services: dict[str, Service]
    servers_transports: dict[str, Transport]
    routers: dict[str, Router] = {}


class Tcp(Written, frozen=True):
    services: dict[str, Service]
    routers: dict[str, Router] = {}


class CertificateFiles(Written, frozen=True):
    cert_file: str
    key_file: str


class Certificates(Written, frozen=True):
    certificates: tuple[CertificateFiles, ...]


class Document(Written, frozen=True):
    """Traefik's dynamic configuration."""

    http: Http
    tcp: Tcp | None = None
    tls: Certificates | None = None


def version(token: str) -> str:
    """The name of a service that nothing uses: where Traefik lists it, it has read the file in which it stands.

    ``token``: 16 hexadecimal digits, of one writing of the file and no other.
    """
    return f"{OURS}version-{token}"


def version_in(text: str) -> str:
    """The `version` of a file; empty if it has none."""
    found = _VERSION.search(text)
    return found[0] if found else ""


def document(table: Table, entry_points: Mapping[int, str], resolver: str, version: str) -> Document:
    """The table, with the entry point of each of its ports. ``resolver``: who issues certificates; empty: nobody."""
    modes = {each.name: each.mode for each in table.backends}
    tls = {each.port for each in table.listeners if each.tls}
    http: dict[str, Router] = {}
    tcp: dict[str, Router] = {}
    for entry in table.entries:
        passes = modes[entry.backend] is Mode.TLS
        secured = Tls(True) if passes else Tls(cert_resolver=resolver) if entry.listen in tls else None
        router = Router(
            _sni_rule(entry) if passes else _rule(entry),
            _service_name(entry.backend),
            (entry_points[entry.listen],),
            _priority(entry),
            secured,
        )
        (tcp if passes else http)[_router_name(entry)] = router
    services = {_service_name(each.name): _service(each) for each in table.backends if each.mode is not Mode.TLS}
    services[version] = Service(LoadBalancer(servers_transport=TRANSPORT))
    streams = {_service_name(each.name): _service(each) for each in table.backends if each.mode is Mode.TLS}
    transport = Transport(_IDLE_CONNECTIONS, ForwardingTimeouts(_IDLE))
    files = tuple(CertificateFiles(str(each.path), str(each.path)) for each in chosen(table.certificates))
    return Document(
        Http(services, {TRANSPORT: transport}, http),
        Tcp(streams, tcp) if streams else None,
        Certificates(files) if files else None,
    )


def render(document: Document, certificates: Iterable[Certificate]) -> str:
    """The file: JSON, which is YAML as well, with comments.

    It names what the certificates are, so that it changes with their content.
    """
    comments = "".join(f"# {json.dumps(str(each.path))}: {each.fingerprint}\n" for each in chosen(certificates))
    encoded = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2).decode()
    return _TEMPLATE.sub(r"\\u007b", f"{_HEADER}{comments}{encoded}\n")


def chosen(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Those that are the one for a host, exact or a wildcard, that they name (`certificate_for`); sorted.

    Of several that it has, Traefik would take the first of those with the same names, and an exact name before a
    wildcard, whichever lasts longest.
    """
    every = tuple(certificates)
    best = {certificate_for(name, every) for name in {name for each in every for name in each.names}}
    return tuple(sorted(each for each in best if each))


def _router_name(entry: Entry) -> str:
    # As in the file; what follows an @ would be the name of a provider.
    path = "" if entry.path == "/" else entry.path.replace("@", "%40")
    return f"{OURS}{entry.listen}-{entry.host}{path}"


def _service_name(backend: str) -> str:
    return OURS + backend


def _rule(entry: Entry) -> str:
    host = f"HostRegexp(`{_one_label(entry.host)}`)" if _is_wildcard(entry) else f"Host(`{entry.host}`)"
    if entry.path == "/":
        return host
    return f"{host} && (Path(`{entry.path}`) || PathPrefix(`{entry.path}/`))"


def _sni_rule(entry: Entry) -> str:
    return f"HostSNIRegexp(`{_one_label(entry.host)}`)" if _is_wildcard(entry) else f"HostSNI(`{entry.host}`)"


def _one_label(host: str) -> str:
    return r"^[^.]+\." + host.removeprefix("*.").replace(".", r"\.") + "$"


def _is_wildcard(entry: Entry) -> bool:
    return entry.host.startswith("*.")


def _priority(entry: Entry) -> int:
    return (_WILDCARD_PRIORITY if _is_wildcard(entry) else _EXACT_PRIORITY) + len(entry.path)


def _service(backend: Backend) -> Service:
    serving = [each for each in backend.servers if not each.draining]
    if backend.mode is Mode.TLS:
        return Service(LoadBalancer(tuple(Target(address=_address(each)) for each in serving)))
    scheme = _SCHEMES[backend.mode]
    targets = tuple(Target(f"{scheme}://{_address(each)}") for each in serving)
    return Service(LoadBalancer(targets, TRANSPORT))


def _address(server: Server) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"
