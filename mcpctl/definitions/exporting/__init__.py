"""A service as other programs' files: generated from its definition, with a report of what they cannot say.

Pure: a service goes in, texts and losses come out.
"""

from __future__ import annotations

from mcpctl.definitions.exporting.formats import Exported, File, Format
from protos.spec import Service


def export(service: Service, to: Format) -> Exported:
    """What is imported is what is asked for."""
    if to is Format.QUADLET:
        from mcpctl.definitions.exporting import quadlet

        return quadlet.export(service)
    if to is Format.KUBE:
        from mcpctl.definitions.exporting import kube

        return kube.export(service)
    if to is Format.COMPOSE:
        from mcpctl.definitions.exporting import compose

        return compose.export(service)
    from mcpctl.definitions.exporting import toml

    return Exported((File(f"{service.name}.toml", toml.text(service)),))
