"""What a long log costs the others: calls beside somebody who has one read, against the same calls alone."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Row, compare, timed
from tests.podman.node import Node
from tests.support.waiting import until

MIB = 64
CALLS = 200
# All of it is read, backwards and then forwards, and none of it is of that time: nothing is sent.
ALL_OF_IT = v1.LogsRequest(service="long", tail=2**31 - 1, since=datetime.now(UTC) + timedelta(days=1))


def beside_a_log(node: Node) -> Row:
    """The log has no end of line at all, the worst that a program can print."""
    program = f"head -c {MIB * 1024 * 1024} /dev/zero | tr '\\0' x; printf done; sleep 6000"
    options = ["--log-driver", "k8s-file", "--log-opt", "max-size=1gb"]
    node.podman("run", "--detach", "--name", "long-x", *options, "localhost/mcp-demo:v1", "/bin/sh", "-c", program)
    node.mcpctl("adopt", "long", "--node", node.name)
    until(lambda: node.mcpctl("logs", "long", "--tail", "1", "--quiet").stdout.endswith("done\n"), "all is printed")
    with contextlib.closing(Client(node)) as client:

        async def calls() -> None:
            for _ in range(CALLS):
                await client.stub.list_services(v1.ListServicesRequest())

        async def reads() -> None:
            while True:
                async for _ in client.stub.logs(ALL_OF_IT):
                    pass

        async def beside() -> None:
            reading = asyncio.create_task(reads())
            await calls()
            reading.cancel()
            await asyncio.wait([reading])

        row = compare(
            f"unary RPC beside a read of a {MIB} MiB log",
            "alone",
            3.0,
            lambda: timed(lambda: client.run(beside())) / CALLS,
            lambda: timed(lambda: client.run(calls())) / CALLS,
            pairs=9,
        )
    node.clear()
    return row
