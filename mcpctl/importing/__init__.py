"""A compose file (Compose Specification) as a service of ours, with a report of what a definition cannot say."""

from __future__ import annotations

import msgspec

from mcpctl import composefile
from mcpctl.composefile import ComposeError
from mcpctl.exporting import Loss
from mcpctl.importing.compose import service_values
from mcpctl.importing.environment import Source, of_project
from mcpctl.importing.told import Told
from protos.spec import Service, examine_service

__all__ = ["ComposeError", "Imported", "Source", "import_compose"]


class Imported(msgspec.Struct, frozen=True):
    service: Service
    losses: tuple[Loss, ...]


def import_compose(text: str, source: Source, *, name: str, node: str) -> Imported:
    """``name`` "": the file's own, else its folder's. Raises ComposeError with every problem."""
    told = Told()
    source = msgspec.structs.replace(source, environment=of_project(source, told))
    if told.problems:
        raise ComposeError("\n".join(told.problems))
    document = composefile.interpolated(composefile.load(text), source.environment)
    values = service_values(document, source, name, told) | {"node": node}
    if told.problems:
        raise ComposeError("\n".join(dict.fromkeys(told.problems)))
    service, problems = examine_service(values)
    if service is None:
        raise ComposeError("\n".join(f"as a definition: {problem}" for problem in problems))
    return Imported(service, tuple(told.losses))
