"""One open connection to a node, or to a server with the node's certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable

from grpclib.client import Channel

from protos.mcp import v1
from tests.daemon.conftest import HOST, Daemon
from tests.podman.node import Node


class Client:
    """One open connection to a server with the node's certificate, in an event loop of its own."""

    def __init__(self, node: Node | Daemon, port: int = 0) -> None:
        """``port``: where the server listens, if it is not the node's own."""
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)  # where grpclib looks for it
        self.token = (node.folder / "admin.token").read_text().strip()
        self.host, self.port = address(node)
        self.port = port or self.port
        tls = ssl.create_default_context(cafile=str(node.folder / "certs/ca.pem"))
        tls.set_alpn_protocols(["h2"])
        self._channel = Channel(self.host, self.port, ssl=tls)
        self.stub = v1.AgentServiceStub(self._channel, metadata={"authorization": f"Bearer {self.token}"})

    def run(self, awaitable: Awaitable[object]) -> None:
        async def wait() -> None:
            await awaitable

        self.loop.run_until_complete(wait())

    def close(self) -> None:
        self._channel.close()
        self.loop.close()


def address(node: Node | Daemon) -> tuple[str, int]:
    if isinstance(node, Daemon):
        return HOST, node.port
    (row,) = node.json("node", "list")
    host, _, port = row["address"].rpartition(":")
    return host, int(port)
