"""Nodes that say how they are, one more of them, and the commands that ask every node."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from protos.mcp import v1
from tests.support.agent import AT, HOST, Agent


class StatusAgent(Agent):
    """Says how its node is, and what runs there."""

    async def node_status(self, node_status_request: v1.NodeStatusRequest) -> v1.NodeStatusResponse:
        return self._answer(node_status_request) or a_status(self.node)

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        return self._answer(live_check_request) or v1.LiveCheckResponse(self.node)

    async def adopt(self, adopt_request: v1.AdoptRequest) -> v1.AdoptResponse:
        adopted = v1.ComponentOutcome("api", v1.Result.ADOPTED, "it runs")
        return self._answer(adopt_request) or v1.AdoptResponse(outcomes=[adopted])

    async def logs(self, logs_request: v1.LogsRequest) -> AsyncIterator[v1.LogsResponse]:
        self._answer(logs_request)
        yield v1.LogsResponse("api", AT, "stdout", b"hello")


def a_status(node: str, **values: object) -> v1.NodeStatusResponse:
    known = {
        "mcpd_version": "0.1.0",
        "podman_version": "5.4.2",
        "started_at": AT,
        "load_average": 0.5,
        "cpus": 4,
        "disk_free_bytes": 2**30,
        "disk_total_bytes": 2**31,
        "certificate_expires_at": datetime.now(UTC) + timedelta(days=30, hours=1, minutes=1),
    }
    return v1.NodeStatusResponse(node, **(known | values))


def third(folder: Path, port: int) -> None:
    with (folder / "mcp.toml").open("a") as file:
        file.write(f'[[nodes]]\nname = "vault"\naddress = "{HOST}:{port}"\n')


READS = ["list", "ps", "status", "events", "alerts list", "audit", "operations", "timeline", "whoami", "logs mail"]
