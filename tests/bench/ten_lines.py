"""What `mcpctl ps` is measured against: a ten-line client, run as a program."""

import asyncio
import ssl
import sys
from pathlib import Path

from grpclib.client import Channel

from protos.mcp.v1 import AgentServiceStub, LiveCheckRequest


async def main(host: str, port: str, ca: str, token: str) -> None:
    tls = ssl.create_default_context(cafile=ca)
    tls.set_alpn_protocols(["h2"])
    async with Channel(host, int(port), ssl=tls) as channel:
        stub = AgentServiceStub(channel, metadata={"authorization": f"Bearer {token}"})
        for each in (await stub.live_check(LiveCheckRequest())).components:
            print(each.service, each.component, each.container, each.observed)


asyncio.run(main(*sys.argv[1:4], Path(sys.argv[4]).read_text().strip()))
