"""What a deploy would do now: asks podman and the registry, and lets `mcpd.changes.plan` decide."""

from __future__ import annotations

from collections.abc import Collection

from mcpd.changes.losses import with_losses
from mcpd.changes.node import Node
from mcpd.changes.plan import DeployPlan, plan_deploy
from mcpd.model import Container
from mcpd.runtime.podman import Podman
from protos.spec import Service

# As much of an image's id as people compare.
_SHORT_ID = 12


async def survey(node: Node, service: Service, selected: Collection[str], *, force: bool = False) -> DeployPlan:
    """Raises UnavailableError when podman does not answer."""
    containers = await _relevant(node.podman, service)
    recorded = await node.registry.service(service.name)
    plan = plan_deploy(service, selected, containers, recorded=recorded, heal=node.heal, force=force)
    return await with_losses(node, plan, containers)


async def warnings(node: Node, plan: DeployPlan) -> tuple[str, ...]:
    """What a deploy would not change, and an operator should know."""
    found = []
    kept = [each for each in plan.components if each.current and not each.is_made_anew]
    ids = {image: await node.podman.image_id(image) for image in {each.component.image for each in kept}}
    for each in kept:
        assert each.current
        image = each.component.image
        here = ids[image]
        name = f"{plan.service.name}/{each.component.name}"
        if here is None:
            found.append(f"{name}: {image} runs, and is not on this node any more; a restart still works, recover not")
        elif here != each.current.image_id:
            found.append(
                f"{name}: {image} now points to {_short(here)} here, and {_short(each.current.image_id)} runs; "
                "`mcpctl deploy --force` makes it anew"
            )
    for orphan in plan.orphans:
        name = f"{plan.service.name}/{orphan}"
        found.append(f"{name} is no longer defined and left as it is; `mcpctl undeploy {name}` removes it")
    return tuple(found)


async def _relevant(podman: Podman, service: Service) -> list[Container]:
    """The service's containers, and whoever else has a name that it needs. Listing all would cost 0.3 ms each."""
    ours = list(await podman.containers(service=service.name))
    free = {service.container(name) for name in service.component_names} - {each.name for each in ours}
    return ours + list(await podman.containers(names=free)) if free else ours


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:_SHORT_ID]
