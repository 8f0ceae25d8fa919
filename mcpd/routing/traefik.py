"""Traefik: a file that its file provider reads, and its API, which says what it has made of it.

Traefik 3. Its static configuration is the operator's: entry points, the API, the folder that the file provider watches,
and who issues certificates (docs/routes.md). `mcpd.routing.traefik_file` says what the file has in it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar, TypeVarTuple

import httpx
import msgspec
import trio

from mcpd.errors import ConfigError
from mcpd.routing import traefik_file
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Certificate, Table
from mcpd.routing.traefik_file import OURS, Document, LoadBalancer, Router, Service
from protos import atomic

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# Traefik answers from memory; what takes longer hangs.
_ANSWER_S = 5.0
# From the written file to the API that shows it. Traefik waits for `providersThrottleDuration`, 2 s unless told
# otherwise, for more changes, and may be in the middle of such a wait; a busy node needs some more for many routes.
_TAKEN_S = 15.0
_POLL_S = 0.02
# A thousand routes are some 400 KiB.
_MOST_BYTES = 64 << 20
# Everything in one page: between two, something may change.
_ALL = "per_page=1000000"
# What the API puts behind the names in the file.
_PROVIDER = "@file"
# How many differences an error names.
_MOST_NAMED = 3
_LONGEST_ERROR = 300
_PORT = re.compile("[0-9]{1,5}")
# Reading or writing a file waits for the disk.
_WRITE_S = 30.0

# Traefik, which may run as another user, reads it as a member of the folder's group. It holds no secret.
_FILE_MODE = 0o640
# What the file provider reads as YAML. It leaves alone what `atomic.write` writes beside.
_SUFFIXES = (".yml", ".yaml")


class _SeenRouter(Router, frozen=True):
    """``error`` says why Traefik does not use it as it is."""

    name: str = ""
    error: tuple[str, ...] = ()

    def as_written(self) -> Router:
        return Router(self.rule, self.service, self.entry_points, self.priority, self.tls)


class _SeenService(msgspec.Struct, frozen=True, rename="camel"):
    """``error`` as for a router. ``load_balancer``: None where a service of the operator's is of another kind."""

    name: str
    error: tuple[str, ...] = ()
    load_balancer: LoadBalancer | None = None

    def as_written(self) -> Service:
        found = self.load_balancer or LoadBalancer()
        return Service(LoadBalancer(found.servers, found.servers_transport.removesuffix(_PROVIDER)))


class _SeenCertificate(msgspec.Struct, frozen=True, rename="camel"):
    cert_fingerprint: str = ""


class _EntryPoint(msgspec.Struct, frozen=True):
    name: str
    address: str = ""


class _State(NamedTuple):
    """What Traefik has of ours, by name. ``certificates``: fingerprints, and None where this Traefik does not say."""

    http_routers: dict[str, _SeenRouter]
    http_services: dict[str, _SeenService]
    tcp_routers: dict[str, _SeenRouter]
    tcp_services: dict[str, _SeenService]
    certificates: frozenset[str] | None


class Traefik:
    """A Traefik, by the file that is ours and the URL of its API, as ``http://127.0.0.1:8080``.

    ``file`` is in the folder that the file provider watches, and ends in .yml or .yaml. ``resolver``: the name of one
    of Traefik's certificate resolvers, for what has no certificate here. Raises ConfigError.
    """

    def __init__(self, file: Path, api: str, resolver: str = "") -> None:
        if file.suffix not in _SUFFIXES:
            raise ConfigError(f"{file}: Traefik reads it only with a name that ends in {' or '.join(_SUFFIXES)}")
        self._file = file
        self._api = api.rstrip("/")
        self._resolver = resolver
        # As last heard, so that the file is right also for a Traefik that starts later.
        self._entry_points: dict[int, str] = {}
        # A disk that hangs holds up one thread of ours, and no second one.
        self._disk = trio.CapacityLimiter(1)

    async def differences(self, table: Table) -> tuple[str, ...]:
        """As `Proxy.differences`: of the file, and of what Traefik says. Waits for nothing."""
        async with _Api.connect(self._api) as api:
            self._entry_points = await api.entry_points()
            state = await api.state()
        text = await self._read()
        wanted, wanted_text = self._document(table, traefik_file.version_in(text))
        return (
            *self._file_differences(text, wanted_text),
            *_state_differences(state, wanted, table.certificates),
        )

    async def apply(self, table: Table) -> None:
        """As `Proxy.apply`. Takes as long as Traefik's `providersThrottleDuration`, which is 2 s by default.

        A Traefik that does not run gets the file all the same, if it has answered before, and begins with it.
        """
        async with _Api.connect(self._api) as api:
            try:
                self._entry_points = await api.entry_points()
            except ProxyError:
                if self._entry_points:
                    await self._write(table)
                raise
            document, version = await self._write(table)
            with trio.move_on_after(_TAKEN_S):
                await self._until_taken(api, version, document, table.certificates)
                return
        raise ProxyError(
            f"Traefik at {self._api} has not taken {self._file} within {_TAKEN_S:.0f} s: it must watch the folder "
            "(providers.file.directory), be allowed to read the file, and find no error in any other file there; its "
            "log says what it finds"
        )

    async def _until_taken(
        self, api: _Api, version: str, document: Document, certificates: tuple[Certificate, ...]
    ) -> None:
        """Returns when Traefik has the document. Raises ProxyError, also when it has read it and has something else."""
        while not await api.has_service(version):  # noqa: ASYNC110 - only Traefik knows
            await trio.sleep(_POLL_S)
        # Its API is reached through an entry point like any other, and they are switched one after the other, within
        # microseconds: when it has answered once more, all of them have been.
        state = await api.state()
        if differences := tuple(_state_differences(state, document, certificates)):
            named = "; ".join(differences[:_MOST_NAMED])
            more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
            raise ProxyError(f"Traefik at {self._api} has read {self._file}, and has not all of it: {named}{more}")

    def _document(self, table: Table, version: str) -> tuple[Document, str]:
        """What the file says, and the file."""
        for port in sorted({each.port for each in table.listeners} | {each.listen for each in table.entries}):
            if port not in self._entry_points:
                have = ", ".join(f"{name} (:{number})" for number, name in sorted(self._entry_points.items())) or "none"
                raise ProxyError(
                    f"Traefik at {self._api} has no entry point for port {port}: add "
                    f'`--entryPoints.NAME.address=":{port}"` to its static configuration; it has {have}'
                )
        document = traefik_file.document(table, self._entry_points, self._resolver, version)
        try:
            text = traefik_file.render(document, table.certificates)
            text.encode()
        except UnicodeEncodeError:
            raise ProxyError(f"{self._file} cannot be written: the path of a certificate is not UTF-8") from None
        return document, text

    async def _write(self, table: Table) -> tuple[Document, str]:
        """Writes the file, and returns what it says, and its version."""
        version = traefik_file.version(secrets.token_hex(8))
        document, text = self._document(table, version)
        try:
            await self._on_disk(_write, self._file, text)
        except trio.TooSlowError:
            raise ProxyError(f"{self._file} could not be written within {_WRITE_S:.0f} s: the disk hangs") from None
        # ValueError: NUL in the path.
        except (OSError, ValueError) as error:
            raise ProxyError(
                f"{self._file} cannot be written: {_why(error)}; mcpd needs the right to write into the folder that "
                "Traefik's file provider watches"
            ) from None
        return document, version

    async def _read(self) -> str:
        """The file; empty when there is none."""
        try:
            content = await self._on_disk(_read, self._file)
        except FileNotFoundError:
            return ""
        except trio.TooSlowError:
            raise ProxyError(f"{self._file} could not be read within {_WRITE_S:.0f} s: the disk hangs") from None
        except (OSError, ValueError) as error:
            raise ProxyError(f"{self._file} cannot be read: {_why(error)}") from None
        return content.decode("utf-8", "replace")

    async def _on_disk(self, do: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Does it in a thread. Raises TooSlowError, also while one before it still hangs."""
        with trio.fail_after(_WRITE_S):
            return await trio.to_thread.run_sync(do, *args, abandon_on_cancel=True, limiter=self._disk)

    def _file_differences(self, text: str, wanted: str) -> Iterator[str]:
        if not text:
            yield f"{self._file} is missing or empty"
        elif text != wanted:
            yield f"{self._file} is not what mcpd would write"


class _Api:
    """Traefik's API. Raises ProxyError."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    @staticmethod
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[_Api]:
        # Each answer has a deadline; a certificate there is none, on loopback.
        async with httpx.AsyncClient(verify=False, timeout=None, trust_env=False) as client:  # noqa: S501, S113
            yield _Api(client, url)

    async def entry_points(self) -> dict[int, str]:
        """The names of those for TCP, by their port."""
        found = await self._get("/api/entrypoints", list[_EntryPoint])
        named: dict[int, str] = {}
        for each in found or ():
            address, _, protocol = each.address.partition("/")
            port = address.rpartition(":")[2]
            if protocol != "udp" and _PORT.fullmatch(port):
                named.setdefault(int(port), each.name)
        return named

    async def has_service(self, name: str) -> bool:
        found = await self._get(f"/api/http/services?{_ALL}&search={name}", list[_SeenService])
        return name in _ours(found)

    async def state(self) -> _State:
        certificates = await self._get(f"/api/certificates?{_ALL}", list[_SeenCertificate], optional=True)
        return _State(
            _ours(await self._get(f"/api/http/routers?{_ALL}", list[_SeenRouter])),
            _ours(await self._get(f"/api/http/services?{_ALL}", list[_SeenService])),
            _ours(await self._get(f"/api/tcp/routers?{_ALL}", list[_SeenRouter])),
            _ours(await self._get(f"/api/tcp/services?{_ALL}", list[_SeenService])),
            None if certificates is None else frozenset(each.cert_fingerprint for each in certificates),
        )

    async def _get(self, path: str, form: type[list[_T]], *, optional: bool = False) -> list[_T] | None:
        """The answer; None when it is ``optional`` and this Traefik knows no such question."""
        try:
            with trio.fail_after(_ANSWER_S):
                status, body = await self._ask(path)
        except trio.TooSlowError:
            raise self._silent(f"it has not answered within {_ANSWER_S:.0f} s; does it hang?") from None
        except httpx.HTTPError as error:
            raise self._silent(f"{str(error) or type(error).__name__}; does it run?") from None
        except ProxyError:
            raise
        # Strange URLs and answers: httpx and what is below it list nowhere what they raise.
        except Exception as error:
            raise self._silent(f"{str(error) or type(error).__name__}; is this the API of Traefik?") from error
        if status == httpx.codes.NOT_FOUND and optional:
            return None
        if status == httpx.codes.NOT_FOUND:
            raise self._silent(
                "there is no API (HTTP status 404): `--api.insecure=true` in Traefik's static configuration, with "
                "`--entryPoints.traefik.address=127.0.0.1:PORT`, opens it on that port; a Traefik that has just been "
                "started has none yet"
            )
        if status != httpx.codes.OK:
            raise self._silent(f"it answers with the HTTP status {status}; is this the API of Traefik?")
        try:
            return msgspec.json.decode(body, type=form)
        # RecursionError: lists in lists in lists.
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._silent(f"the answer to {path} is not that of a Traefik 3: {error}") from None

    async def _ask(self, path: str) -> tuple[int, bytes]:
        async with self._client.stream("GET", self._url + path) as response:
            body = bytearray()
            # Cancelled, and not broken off: httpx's generators close only what an exception passes through.
            with trio.CancelScope() as reading:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        reading.cancel()
        if len(body) > _MOST_BYTES:
            raise self._silent(f"its answer to {path} has more than {_MOST_BYTES} bytes")
        return response.status_code, bytes(body)

    def _silent(self, why: str) -> ProxyError:
        return ProxyError(f"Traefik at {self._url} cannot be asked: {why}")


_S = TypeVar("_S", _SeenRouter, _SeenService)


def _ours(found: Iterable[_S] | None) -> dict[str, _S]:
    """Those of our file, by their names in it. What is from another file of the operator's has another name."""
    return {
        each.name.removesuffix(_PROVIDER): each
        for each in found or ()
        if each.name.startswith(OURS) and each.name.endswith(_PROVIDER)
    }


def _state_differences(state: _State, wanted: Document, certificates: Iterable[Certificate]) -> Iterator[str]:
    yield from _router_differences(state.http_routers, wanted.http.routers)
    yield from _router_differences(state.tcp_routers, wanted.tcp.routers if wanted.tcp else {})
    yield from _service_differences(state.http_services, wanted.http.services)
    yield from _service_differences(state.tcp_services, wanted.tcp.services if wanted.tcp else {})
    if state.certificates is not None:
        for each in traefik_file.chosen(certificates):
            if each.fingerprint not in state.certificates:
                yield f"Traefik does not have the certificate {each.path} for {', '.join(each.names)}"


def _router_differences(found: Mapping[str, _SeenRouter], wanted: Mapping[str, Router]) -> Iterator[str]:
    for name in sorted(found.keys() - wanted.keys()):
        yield f"Traefik has the route {name}, which is not in the table"
    for name, router in sorted(wanted.items()):
        seen = found.get(name)
        if seen is None:
            yield f"Traefik does not have the route {name}"
        elif seen.error:
            yield f"Traefik does not serve the route {name}: {_first(seen.error)}"
        elif seen.as_written() != router:
            yield f"Traefik has the route {name} with another rule, backend, entry point, priority or TLS"


def _service_differences(found: Mapping[str, _SeenService], wanted: Mapping[str, Service]) -> Iterator[str]:
    for name in sorted(found.keys() - wanted.keys()):
        if not traefik_file.version_in(name):
            yield f"Traefik has the backend {name}, which is not in the table"
    for name, service in sorted(wanted.items()):
        seen = found.get(name)
        if seen is None:
            is_version = traefik_file.version_in(name)
            yield (
                "Traefik has not read the file since it was last written"
                if is_version
                else f"Traefik does not have the backend {name}"
            )
        elif seen.error:
            yield f"Traefik does not serve the backend {name}: {_first(seen.error)}"
        elif (has := _servers(seen.as_written())) != (should := _servers(service)):
            yield f"Traefik has the backend {name} with {_named(has)} in place of {_named(should)}"
        elif seen.as_written().load_balancer.servers_transport != service.load_balancer.servers_transport:
            yield f"Traefik has the backend {name} with another transport"


def _servers(service: Service) -> tuple[str, ...]:
    return tuple(sorted(each.url or each.address for each in service.load_balancer.servers))


def _named(servers: tuple[str, ...]) -> str:
    return ", ".join(servers) or "no server"


def _first(errors: tuple[str, ...]) -> str:
    """The first of what Traefik says, cut off where a sentence of ours would be lost in it."""
    return errors[0] if len(errors[0]) <= _LONGEST_ERROR else errors[0][:_LONGEST_ERROR] + "..."


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _read(file: Path) -> bytes:
    # Not to wait for a writer, should it be a pipe.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        return opened.read(_MOST_BYTES)


def _write(file: Path, text: str) -> None:
    atomic.write(file, text.encode(), mode=_FILE_MODE)
