"""The gRPC server: TLS 1.3 on one address, health and reflection beside the agent's service, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Callable, Mapping
from importlib.resources import files

import structlog
import trio
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, timestamp_pb2
from grpclib.config import Configuration
from grpclib.const import Handler
from grpclib.health.service import Health
from grpclib.protocol import AbstractHandler, H2Protocol
from grpclib.reflection.service import ServerReflection
from grpclib.server import Server
from h2.config import H2Configuration

from mcpd.config import Server as ServerConfig
from mcpd.errors import ConfigError
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.bridge import in_asyncio, open_loop
from mcpd.rpc.gate import Authenticator, FromMemory, Gate, Method
from protos.mcp.v1 import AgentServiceBase

log = structlog.get_logger()

# Calls in flight get this long after SIGTERM; a deploy that takes longer is undone or finished without its watcher.
DRAIN_GRACE_S = 20.0
# Closing what is left: handlers that were cancelled, connections that are told to go.
_CLOSE_DEADLINE_S = 5.0
_FAREWELL_S = 0.5
# The overlay network may come up after us (audit S2).
_BIND_RETRY_S = 1.0


class RpcServer:
    """Listens when run; `reload_certificate` takes effect for the connections that come after it."""

    def __init__(
        self,
        config: ServerConfig,
        authenticator: Authenticator,
        audit: Callable[[AuditEntry], None],
        methods: Mapping[str, Method],
        from_memory: Mapping[str, FromMemory],
    ) -> None:
        self._config = config
        self._tls = _tls_context(config)
        self._authenticator = authenticator
        self._audit = audit
        self._methods = methods
        self._from_memory = from_memory

    def reload_certificate(self) -> None:
        """Raises ConfigError, and keeps the certificate that it has."""
        # Tried elsewhere first: a key that does not fit leaves a context with half of the new pair.
        _tls_context(self._config)
        _load_certificate(self._tls, self._config)

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled, then drains. Started with the address that it listens on."""
        async with open_loop():
            gate = Gate(self._authenticator, self._audit)
            server = await in_asyncio(_make_server, gate, self._methods, self._from_memory)
            await self._bind(server)
            task_status.started(self._config.grpc_addr)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await in_asyncio(_drain, server, gate)

    async def _bind(self, server: _Server) -> None:
        host, port = self._config.grpc_addr
        waiting = False
        while True:
            try:
                await in_asyncio(server.listen, host, port, self._tls)
                break
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise ConfigError(
                        f"mcpd cannot listen on {host} port {port}: {error.strerror}; is another mcpd running?"
                    ) from error
                if not waiting:
                    log.warning("waiting for the address to exist on this machine", address=host)
                waiting = True
                await trio.sleep(_BIND_RETRY_S)
        log.info("listening", address=host, port=port)


class _Methods(dict[str, Handler]):
    """grpclib answers an unknown path in a way that clients report as a missing header; this answers with a status."""

    def __init__(self, gate: Gate, handlers: Mapping[str, Handler]) -> None:
        super().__init__(handlers)
        self._gate = gate

    def get(self, path: str, default: object = None) -> Handler:
        return self[path] if path in self else self._gate.unknown(path)


class _Server(Server):
    """grpclib's server with handlers of our making, and with an end that it lacks on Python 3.12 and later."""

    def __init__(self, handlers: _Methods) -> None:
        super().__init__([])
        self._mapping = handlers
        self._connections: set[asyncio.Transport] = set()
        self._one_gone = asyncio.Event()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        await self.start(host, port, ssl=tls)

    def stop_accepting(self) -> None:
        assert self._server is not None
        self._server.close()

    def _protocol_factory(self) -> H2Protocol:
        plain = super()._protocol_factory()
        return _TrackedProtocol(plain.handler, plain.config, plain.h2_config, self._connections, self._one_gone)

    async def answered(self) -> None:
        """After `close`: waits until every cancelled call has ended."""
        for handler in list(self._handlers):
            await handler.wait_closed()

    async def all_gone(self) -> None:
        """Waits until no client is connected."""
        while self._connections:
            self._one_gone.clear()
            await self._one_gone.wait()

    def close_connections(self) -> None:
        for transport in list(self._connections):
            transport.close()


class _TrackedProtocol(H2Protocol):
    """Notes its transport in ``connections`` while it is open, and sets ``gone`` afterwards."""

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        h2_config: H2Configuration,
        connections: set[asyncio.Transport],
        gone: asyncio.Event,
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._connections = connections
        self._gone = gone
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._connections.add(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._transport:
            self._connections.discard(self._transport)
            self._gone.set()
        super().connection_lost(exc)


async def _make_server(gate: Gate, methods: Mapping[str, Method], from_memory: Mapping[str, FromMemory]) -> _Server:
    """In the asyncio loop, which grpclib takes hold of."""
    _register_descriptors()
    handlers = gate.agent(AgentServiceBase().__mapping__(), methods, from_memory)
    agent = _Mapped(handlers)
    shipped: dict[str, Handler] = {}
    for service in ServerReflection.extend([agent, Health()]):
        if service is not agent:
            shipped |= service.__mapping__()
    return _Server(_Methods(gate, handlers | gate.library(shipped)))


class _Mapped:
    """What grpclib takes for a service: something with a mapping."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> dict[str, Handler]:
        return self._handlers


async def _drain(server: _Server, gate: Gate) -> None:
    server.stop_accepting()
    await gate.drain(DRAIN_GRACE_S)
    server.close()
    with contextlib.suppress(TimeoutError):
        # The answers to cancelled calls must leave before their connections do.
        await asyncio.wait_for(server.answered(), _CLOSE_DEADLINE_S)
    # Whoever had a call closes its connection when it has the answer; ours, right behind it, could overtake it there.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.all_gone(), _FAREWELL_S)
    server.close_connections()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), _CLOSE_DEADLINE_S)


def _register_descriptors() -> None:
    """Gives reflection the contract, which betterproto's generated code does not register."""
    pool = descriptor_pool.Default()
    present = {duration_pb2.DESCRIPTOR.name, timestamp_pb2.DESCRIPTOR.name}
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString(files("protos.mcp.v1").joinpath("agent.binpb").read_bytes())
    for file in described.file:
        if file.name not in present:
            pool.AddSerializedFile(file.SerializeToString())


def _tls_context(config: ServerConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    _load_certificate(context, config)
    return context


def _load_certificate(context: ssl.SSLContext, config: ServerConfig) -> None:
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{config.tls_cert} and {config.tls_key} are not a certificate and its key: {error.reason}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{config.tls_cert} or {config.tls_key} cannot be read: {error.strerror}") from None
