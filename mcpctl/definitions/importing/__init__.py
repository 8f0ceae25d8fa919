"""A compose file (Compose Specification) as a service of ours, with a report of what a definition cannot say."""

from __future__ import annotations

import msgspec

from mcpctl.definitions.importing import compose_file
from mcpctl.definitions.importing.compose import service_values
from mcpctl.definitions.importing.compose_file import ComposeError
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.environment import Source, of_project
from mcpctl.definitions.loss import Loss
from protos.spec import Service, examine_service

__all__ = ["ComposeError", "Imported", "Source", "import_compose"]


class Imported(msgspec.Struct, frozen=True):
    service: Service
    losses: tuple[Loss, ...]


def import_compose(text: str, source: Source, *, name: str, node: str) -> Imported:
    """``name`` "": the file's own, else its folder's. Raises ComposeError with every problem."""
    report = Diagnostics()
    source = msgspec.structs.replace(source, environment=of_project(source, report))
    if report.problems:
        raise ComposeError("\n".join(report.problems))
    document = compose_file.interpolated(compose_file.load(text), source.environment)
    values = service_values(document, source, name, report) | {"node": node}
    if report.problems:
        raise ComposeError("\n".join(dict.fromkeys(report.problems)))
    service, problems = examine_service(values)
    if service is None:
        raise ComposeError("\n".join(f"as a definition: {problem}" for problem in problems))
    return Imported(service, tuple(report.losses))
