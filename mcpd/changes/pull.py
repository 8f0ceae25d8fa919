"""Images for containers that are about to be created, as their components' `pull` says."""

from __future__ import annotations

import contextlib

from mcpd.changes import podman_hints
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import RefusedError
from mcpd.model import Step
from mcpd.runtime.api import PodmanError
from protos.parts import Pull
from protos.spec import Component

# Images that were built or loaded here, and that no registry has.
_LOCAL = "localhost/"


async def have_image(node: Node, operation: Operation, component: Component, *, anew: bool = True) -> None:
    """Returns when the component's image is on the node. Raises RefusedError.

    Not ``anew``: what is here will do, whatever its pull policy. A rollback must not need the registry.
    """
    image, wanted = component.image, component.pull
    here = await node.podman.has_image(image, component.platform or "")
    if here and (wanted in (Pull.MISSING, Pull.NEVER) or image.startswith(_LOCAL) or not anew):
        return
    if wanted is Pull.NEVER:
        raise RefusedError(f"{image} is not on this node, and its pull policy is never; build or load it here")
    if image.startswith(_LOCAL):
        raise RefusedError(
            f"{image} is not on this node, and localhost/ is not an image registry; build or load it here"
        )
    await operation.take(component.name, Step.PULL, f"pulling {image}")
    policy = "newer" if wanted is Pull.NEWER else "always"
    try:
        async with contextlib.aclosing(node.podman.pull(image, policy, component.platform or "")) as lines:
            async for line in lines:
                operation.report(component.name, Step.PULL, line)
    except PodmanError as error:
        raise RefusedError(podman_hints.about_pull(image, str(error))) from error
