"""From an accepted socket to an HTTP/2 connection: the TLS handshake, and limits for those that wait in it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

import structlog
import trio

from mcpd.errors import ConfigError
from mcpd.rpc.connections import MAX_HANDSHAKES, Connection, Connections
from mcpd.rpc.trio_bridge import in_asyncio

log = structlog.get_logger()

# From the accepted connection to the end of the handshake: two round trips and some milliseconds of arithmetic.
HANDSHAKE_S = 10.0
# For the client's part of the orderly end of TLS.
_SHUTDOWN_S = 5.0
# Connections that the kernel holds while we are at others: more than all clients of a node starting over at once.
_BACKLOG = 512
# What asyncio reads at once from a TLS connection, and keeps a buffer for as long as that lasts: its own 256 KiB would
# be most of what a client costs. Four TLS records (RFC 8446, section 5.1), so that a push of a file still streams.
_TLS_BUFFER_BYTES = 64 * 1024
# The overlay network may come up after us (audit S2).
_BIND_RETRY_S = 1.0


async def bind(host: str, port: int) -> list[trio.SocketListener]:
    """Waits for the address to exist. Raises ConfigError when it cannot be listened on."""
    waiting = False
    while True:
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
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
    return listeners


class Reception:
    """Takes connections through their handshake. Those that are in it are counted apart from those that are done.

    Each costs a task; asyncio's TLS buffers only once it has said something.
    """

    def __init__(
        self, tls: Callable[[], ssl.SSLContext], connections: Connections, make_protocol: Callable[[], Connection]
    ) -> None:
        SSLProtocol.max_size = _TLS_BUFFER_BYTES
        self._tls = tls
        self._connections = connections
        self._make_protocol = make_protocol
        # Oldest first.
        self._handshakes: dict[trio.CancelScope, str] = {}

    async def serve(self, listeners: list[trio.SocketListener]) -> NoReturn:
        """Accepts until cancelled. What is accepted outlives it; what is in its handshake does not."""
        await trio.serve_listeners(self._receive, listeners)

    async def _receive(self, stream: trio.SocketStream) -> None:
        try:
            peer = str(stream.socket.getpeername()[0])
        except OSError:
            return  # gone already
        if why := self._connections.refusal(peer):
            self._connections.tell(peer, why)
            return
        self._make_room()
        with trio.move_on_after(HANDSHAKE_S) as scope:
            self._handshakes[scope] = peer
            try:
                await trio.lowlevel.wait_readable(stream.socket)
                await in_asyncio(self._secure, socket.socket(fileno=stream.socket.detach()))
            except OSError:
                pass  # ssl.SSLError is one: no TLS, or none that we speak, or gone
            finally:
                self._handshakes.pop(scope, None)

    def _make_room(self) -> None:
        """When all places are taken, ends the oldest handshake of the peer that has most of them."""
        if len(self._handshakes) < MAX_HANDSHAKES:
            return
        ((crowd, _),) = Counter(self._handshakes.values()).most_common(1)
        scope = next(scope for scope, peer in self._handshakes.items() if peer == crowd)
        del self._handshakes[scope]
        scope.cancel()
        self._connections.tell(crowd, f"{MAX_HANDSHAKES} TLS handshakes are in progress; the oldest are dropped")

    async def _secure(self, accepted: socket.socket) -> None:
        """In the asyncio loop. A handshake that is cancelled or fails closes the socket."""
        await asyncio.get_running_loop().connect_accepted_socket(
            self._make_protocol,
            accepted,
            ssl=self._tls(),
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
