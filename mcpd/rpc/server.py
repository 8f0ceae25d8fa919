"""The gRPC server: TLS 1.3 on one address, health and reflection beside the agent's service, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import NoReturn

import structlog
import trio
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, timestamp_pb2
from grpclib.config import Configuration
from grpclib.const import Handler
from grpclib.health.service import Health
from grpclib.reflection.service import ServerReflection
from grpclib.server import Server

from mcpd.registry.audit import AuditEntry
from mcpd.rpc.authentication import Authenticator
from mcpd.rpc.authorization import LOOK_AGAIN_S, OpenCalls
from mcpd.rpc.connections import SWEEP_S, Connection, Connections
from mcpd.rpc.gate import Gate
from mcpd.rpc.listener import Reception, bind
from mcpd.rpc.methods import AnyMethod, FromMemory
from mcpd.rpc.open_calls import Calls
from mcpd.rpc.streams import WINDOW_BYTES
from mcpd.rpc.trio_bridge import in_asyncio, open_loop
from protos import lean_frames
from protos.mcp.v1 import AgentServiceBase

log = structlog.get_logger()

# Calls in flight get this long after SIGTERM; a deploy that takes longer is undone or finished without its watcher.
DRAIN_GRACE_S = 20.0
# Closing what is left: handlers that were cancelled, connections that are told to go.
_CLOSE_DEADLINE_S = 5.0
_FAREWELL_S = 0.5


class RpcServer:
    """Serves ``address`` when run; ``tls`` is asked for every connection, so that a certificate may be replaced."""

    def __init__(
        self,
        address: tuple[str, int],
        tls: Callable[[], ssl.SSLContext],
        authenticator: Authenticator,
        audit: Callable[[AuditEntry], None],
        methods: Mapping[str, AnyMethod],
        from_memory: Mapping[str, FromMemory],
    ) -> None:
        self._address = address
        self._tls = tls
        self._authenticator = authenticator
        self._audit = audit
        self._methods = methods
        self._from_memory = from_memory

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled, then drains. Started with the address that it listens on."""
        async with open_loop():
            gate = Gate(self._authenticator, self._audit)
            connections = Connections()
            server = await in_asyncio(_make_server, gate, self._methods, self._from_memory, connections)
            reception = Reception(self._tls, connections, server.make_protocol)
            listeners = await bind(*self._address)
            task_status.started(self._address)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(reception.serve, listeners)
                    nursery.start_soon(_sweep, server)
                    nursery.start_soon(_look_again, gate.open_calls)
            finally:
                with trio.CancelScope(shield=True):
                    await in_asyncio(_drain, server, gate)


async def _sweep(server: _Server) -> NoReturn:
    while True:
        await trio.sleep(SWEEP_S)
        await in_asyncio(server.sweep)


async def _look_again(open_calls: OpenCalls) -> NoReturn:
    while True:
        await trio.sleep(LOOK_AGAIN_S)
        await open_calls.look_again()


class _Methods(dict[str, Handler]):
    """grpclib answers an unknown path in a way that clients report as a missing header; this answers with a status."""

    def __init__(self, gate: Gate, handlers: Mapping[str, Handler]) -> None:
        super().__init__(handlers)
        self._gate = gate

    def get(self, path: str, default: object = None) -> Handler:
        return self[path] if path in self else self._gate.unknown(path)


class _Server(Server):
    """grpclib's server with handlers, connections and an end of our making; `start` is never called."""

    def __init__(self, handlers: _Methods, gate: Gate, connections: Connections) -> None:
        lean_frames.use()
        window = Configuration(http2_connection_window_size=WINDOW_BYTES, http2_stream_window_size=WINDOW_BYTES)
        super().__init__([], config=window)
        self._mapping = handlers
        self._gate = gate
        self.connections = connections
        self._busy: set[Calls] = set()

    def make_protocol(self) -> Connection:
        calls = Calls(self._mapping, self._codec, self.__dispatch__, self._gate.log.ended, self._busy)
        return Connection(calls, self._config, self._h2_config, self.connections)

    async def sweep(self) -> None:
        """Ends what stands still, and tells of what was counted."""
        await self.connections.sweep()
        now = time.monotonic()
        for calls in list(self._busy):
            calls.end_stalled(now)
        self._gate.log.tell_counted()

    def cancel_calls(self) -> None:
        for calls in list(self._busy):
            calls.close()

    async def answered(self) -> None:
        """After `cancel_calls`: waits until every cancelled call has ended."""
        for calls in list(self._busy):
            await calls.wait_closed()


async def _make_server(
    gate: Gate,
    methods: Mapping[str, AnyMethod],
    from_memory: Mapping[str, FromMemory],
    connections: Connections,
) -> _Server:
    """In the asyncio loop, which grpclib takes hold of."""
    _register_descriptors()
    handlers = gate.agent(AgentServiceBase().__mapping__(), methods, from_memory)
    agent = _Mapped(handlers)
    shipped: dict[str, Handler] = {}
    for service in ServerReflection.extend([agent, Health()]):
        if service is not agent:
            shipped |= service.__mapping__()
    return _Server(_Methods(gate, handlers | gate.library(shipped)), gate, connections)


class _Mapped:
    """What grpclib takes for a service: something with a mapping."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> dict[str, Handler]:
        return self._handlers


async def _drain(server: _Server, gate: Gate) -> None:
    await gate.drain(DRAIN_GRACE_S)
    server.cancel_calls()
    with contextlib.suppress(TimeoutError):
        # The answers to cancelled calls must leave before their connections do.
        await asyncio.wait_for(server.answered(), _CLOSE_DEADLINE_S)
    # Whoever had a call closes its connection when it has the answer; ours, right behind it, could overtake it there.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.connections.all_gone(), _FAREWELL_S)
    server.connections.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.connections.all_gone(), _CLOSE_DEADLINE_S)
    gate.log.tell_counted(all_of_them=True)


def _register_descriptors() -> None:
    """Gives reflection the contract, which betterproto's generated code does not register."""
    pool = descriptor_pool.Default()
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString(files("protos.mcp.v1").joinpath("agent.binpb").read_bytes())
    present = {duration_pb2.DESCRIPTOR.name, timestamp_pb2.DESCRIPTOR.name}
    for file in described.file:
        if file.name not in present and not _knows(pool, file.name):
            pool.AddSerializedFile(file.SerializeToString())


def _knows(pool: descriptor_pool.DescriptorPool, name: str) -> bool:
    try:
        pool.FindFileByName(name)
    except KeyError:
        return False
    return True
