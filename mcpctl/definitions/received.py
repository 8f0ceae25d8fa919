"""A service as a node has it: what came over the wire, checked as any definition is."""

from __future__ import annotations

from mcpctl.errors import CliError
from protos import wire
from protos.mcp import v1
from protos.spec import Service, examine_service


def service(message: v1.ServiceSpec, node: str, what: str) -> Service:
    """Raises CliError with every problem, of ``what`` of the node it is; Invalid as `wire.service_values`."""
    found, problems = examine_service(wire.service_values(message))
    if found is None:
        raise CliError("\n".join(f"node {node}: {what} is not a valid service: {each}" for each in problems))
    return found
