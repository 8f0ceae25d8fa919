"""Images that were built anew, maybe under the names that they had: `mcpctl deploy --build`."""

from __future__ import annotations

from collections.abc import Collection

from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.pull import pull
from mcpd.errors import RefusedError
from mcpd.model import Container, Step, by_component
from mcpd.runtime.podman import Podman
from protos.spec import Service

_WHY = "its image was built anew"


async def pull_anew(node: Node, operation: Operation, service: Service, names: Collection[str]) -> None:
    """Pulls the images of these components from where they were pushed. Raises RefusedError: nothing was touched yet.

    An image that no registry has is here already.
    """
    new = [each for each in service.components if each.name in names and each.is_pulled]
    for each in {(each.image, each.platform): each for each in reversed(new)}.values():
        try:
            # Not "newer", which takes what is here when the registry does not answer.
            await pull(node, operation, each, "always")
        except RefusedError as error:
            words = f"deploy of {operation.target}: {each.name} failed at {Step.PULL}: {error}; nothing was changed"
            raise RefusedError(words) from None


async def changed(
    podman: Podman, service: Service, names: Collection[str], containers: Collection[Container]
) -> dict[str, str]:
    """Why these components' containers must be made anew, of those that have another image than their names mean."""
    ours = by_component(containers, service.name, {each: service.container(each) for each in service.component_names})
    found = {}
    for each in service.components:
        if each.name in names and (current := ours.get(each.name)):
            image = await podman.image_id(each.image)
            # An image that is not here is missed by whoever needs it.
            if image and image != current.image_id:
                found[each.name] = _WHY
    return found
