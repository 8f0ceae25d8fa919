"""Definitions of services to show, edit, export and import."""

from collections.abc import Callable
from pathlib import Path

from protos import wire
from protos.mcp import v1
from protos.spec import Service
from tests.support.agent import WEB, Node
from tests.support.builders import component, service

MORE = WEB + 'env = { LOG = "info" }\nheal = "alert"\n[components.resources]\nmemory = "64MiB"\n'


Editor = Callable[[str], Path]


def change(old: str, new: str) -> str:
    return f"file.write_text(file.read_text().replace({old!r}, {new!r}))"


REGISTERED = service(component(cmd=("serve",), env={"A": "b $c\n"}), component("db"))


def registered(node: Node, found: Service = REGISTERED) -> None:
    node.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[v1.ServiceInfo(found.name, "rift")])
    node.agent.prepared["GetServiceSpecRequest"] = v1.GetServiceSpecResponse(wire.service_spec(found))


COMPOSE = "services:\n  api: {image: 'x:v1', command: serve, environment: {A: \"${TAG:-b}\"}, privileged: true}\n"
