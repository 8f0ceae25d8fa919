"""What a call is measured against: a plain asyncio grpclib server. Run as a program."""

from __future__ import annotations

import asyncio
import ssl
import sys

from grpclib.server import Server

from protos.mcp.v1 import AgentServiceBase, ListServicesRequest, ListServicesResponse


class Plain(AgentServiceBase):
    """Answers with the bytes that it was given, as a service would that does nothing else."""

    def __init__(self, answer: ListServicesResponse) -> None:
        self._answer = answer

    async def list_services(self, list_services_request: ListServicesRequest) -> ListServicesResponse:
        return self._answer


async def serve(port: int, certificate: str, key: str, answer: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    server = Server([Plain(ListServicesResponse().parse(answer))])
    await server.start("127.0.0.1", port, ssl=context)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.stdin.buffer.read()))
