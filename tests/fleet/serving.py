"""Many nodes in one process: on each address a gRPC server with TLS and a certificate of its own.

Run with a folder and the addresses; says which ports they have, as JSON in one line, when all of them listen.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

from grpclib.server import Server

from protos.mcp import v1

COMPONENTS = 3


class Agent(v1.AgentServiceBase):
    """Some containers, and a node that is well."""

    def __init__(self, node: str) -> None:
        self.node = node

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        return v1.LiveCheckResponse(self.node, [self._component(number) for number in range(COMPONENTS)])

    async def node_status(self, node_status_request: v1.NodeStatusRequest) -> v1.NodeStatusResponse:
        return v1.NodeStatusResponse(self.node, "0.1.0", "5.4.2", datetime.now(UTC), cpus=2)

    def _component(self, number: int) -> v1.ComponentInfo:
        return v1.ComponentInfo(
            service="web",
            component=f"c{number}",
            container=f"web-c{number}",
            image="registry.example.net/web:v1",
            version="v1",
            desired=v1.DesiredState.RUNNING,
            observed=v1.ObservedState.RUNNING,
            pid=1000 + number,
            started_at=datetime.now(UTC),
            ports=["127.0.0.1:18443:8443"],
        )


async def serve(folder: Path, addresses: list[str]) -> None:
    servers = []
    ports = {}
    for address in addresses:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / f"{address}.pem")
        tls.set_alpn_protocols(["h2"])
        server = Server([Agent(name(address))])
        await server.start(address, 0, ssl=tls)
        servers.append(server)
        ports[address] = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*(server.wait_closed() for server in servers))


def name(address: str) -> str:
    """Of the node at ``address``."""
    return "n" + address.replace(".", "-")


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
