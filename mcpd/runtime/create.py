"""The body of libpod's container create (SpecGenerator) for a declared component."""

from __future__ import annotations

from typing import Any

from mcpd.model import LABEL_COMPONENT, LABEL_NODE, LABEL_SERVICE, LABEL_SPEC_HASH
from mcpd.runtime import declared_label
from mcpd.runtime.limits import LOG_SIZE_LIMIT
from mcpd.runtime.setting import Context, Surroundings, merged
from mcpd.runtime.settings import SETTINGS
from protos.spec import Component

__all__ = ["LOG_SIZE_LIMIT", "Surroundings", "container_spec"]


def container_spec(
    name: str, node: str, service: str, component: Component, spec_hash: str, among: Surroundings
) -> dict[str, Any]:
    """The request body that creates ``component`` as a container called ``name``.

    ``among`` has the containers and configs that the component names.
    """
    ours = {
        LABEL_SERVICE: service,
        LABEL_COMPONENT: component.name,
        LABEL_SPEC_HASH: spec_hash,
        LABEL_NODE: node,
        **declared_label.write(component),
    }
    context = Context(service, among)
    said = merged(each.send(component, context) for each in SETTINGS)
    return merged(({"name": name, "resource_limits": {}}, said, {"labels": ours}))
