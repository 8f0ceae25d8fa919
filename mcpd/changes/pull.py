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


async def have_image(node: Node, operation: Operation, component: Component, *, anew: bool = True) -> None:
    """Returns when the component's image is on the node. Raises RefusedError.

    Not ``anew``: what is here will do, whatever its pull policy. A rollback must not need the registry.
    """
    image, wanted = component.image, component.pull
    here = await node.podman.has_image(image, component.platform or "")
    if here and (not component.is_pulled or wanted is Pull.MISSING or not anew):
        return
    if not component.is_pulled:
        why = "localhost/ is not an image registry" if wanted is not Pull.NEVER else "its pull policy is never"
        what = podman_hints.bringing(operation.target.service, component)
        raise RefusedError(f"{image} is not on this node, and {why}: {what}")
    await pull(node, operation, component, "newer" if wanted is Pull.NEWER else "always")


async def pull(node: Node, operation: Operation, component: Component, policy: str) -> None:
    """``policy``: podman's (podman-pull(1)). Raises RefusedError."""
    image = component.image
    await operation.take(component.name, Step.PULL, f"pulling {image}")
    try:
        async with contextlib.aclosing(node.podman.pull(image, policy, component.platform or "")) as lines:
            async for line in lines:
                operation.report(component.name, Step.PULL, line)
    except PodmanError as error:
        words = podman_hints.about_pull(operation.target.service, component, str(error))
        raise RefusedError(words) from error
