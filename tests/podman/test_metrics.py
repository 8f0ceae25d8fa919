"""Metrics and disks of a node with podman: what runs is up, what died is not, and what is gone has no series."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.podman.node import Node, running
from tests.support.waiting import DEADLINE_S, accepts, free_port, until

HOST = "127.0.0.1"
DEFINITION = """\
name = "measured"
node = "NODE"
[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
"""
WEB = {"service": "measured", "component": "web"}


class Measured:
    """A node that serves metrics, and for which no disk has room enough."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.port = free_port()
        config = node.folder / "mcpd.toml"
        text = config.read_text()
        assert "[monitor]\n" in text
        text = text.replace('disk_free_warning = "0%"', 'disk_free_warning = "4096TiB"')
        config.write_text(f'{text}\n[metrics]\naddress = "{HOST}:{self.port}"\n')
        node.stop_daemon(signal.SIGTERM)
        node.up()
        until(lambda: accepts(self.port), "metrics are served")

    def values(self, name: str, **labels: str) -> list[float]:
        """Of the series with these labels."""
        connection = HTTPConnection(HOST, self.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    with running(Node(tmp_path_factory.mktemp("measured") / "node", "measured")) as node:
        yield Measured(node)


def test_a_component_is_up_until_it_dies_and_gone_when_it_is_undeployed(measured: Measured) -> None:
    node = measured.node
    node.define("measured", DEFINITION)
    node.mcpctl("deploy", "measured")
    until(lambda: measured.values("mcp_component_up", **WEB) == [1], "it is up")
    assert measured.values("mcp_component_drift", **WEB) == [0]
    assert measured.values("mcp_component_state", **WEB, state="running") == [1]
    before = measured.values("mcp_component_transitions_total", **WEB)
    node.podman("kill", "measured-web")
    until(lambda: measured.values("mcp_component_up", **WEB) == [0], "it is down")
    assert measured.values("mcp_component_drift", **WEB) == [1]
    assert measured.values("mcp_component_transitions_total", **WEB) > before
    node.mcpctl("undeploy", "measured")
    assert measured.values("mcp_component_up", **WEB) == []


def test_podman_answers_and_its_answers_are_timed_by_kind(measured: Measured) -> None:
    assert measured.values("mcp_podman_up") == [1]
    assert measured.values("mcp_source_up") == [1] * len(measured.values("mcp_source_up"))
    (number,) = measured.values("mcp_podman_request_duration_seconds_count", call="GET containers/json")
    assert number > 0


def test_the_filesystem_of_podmans_storage_is_looked_at(measured: Measured) -> None:
    def told() -> list[str]:
        return [each["message"] for each in measured.node.json("events") if each["kind"] == "disk"]

    until(lambda: any("podman's storage" in each for each in told()), "it is told of")
    assert measured.values("mcp_disk_free_bytes")
