"""What a deploy would do now: asks podman and the registry, and lets `mcpd.changes.plan` decide."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mcpd.changes import built_images, ports, prerequisites, secret_use
from mcpd.changes.losses import with_losses
from mcpd.changes.node import Node
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, plan_deploy
from mcpd.changes.secret_use import SecretUse
from mcpd.model import Container
from mcpd.routing import claims
from mcpd.runtime.podman import Podman
from protos import naming
from protos.spec import Service

# With these a container that runs goes on running, at its ports.
_LEAVES_RUNNING = (Action.NONE, Action.UPDATE, Action.RENAME)
# As much of an image's id as people compare.
_SHORT_ID = 12


async def survey(
    node: Node, service: Service, selected: Collection[str], *, force: bool = False, built: Collection[str] = ()
) -> DeployPlan:
    """``built``: components whose images were made anew. Raises UnavailableError when podman does not answer."""
    containers = await _relevant(node.podman, service)
    recorded = await node.registry.service(service.name)
    secrets = await secret_use.look(node.podman, service, selected, containers)
    plan = plan_deploy(
        *(service, selected, containers),
        recorded=recorded,
        heal=node.heal,
        force=force,
        secrets=secrets,
        changed_images=await built_images.changed(node.podman, service, built, containers),
    )
    plan = await with_losses(node, plan, containers)
    unmet = *await taken_ports(node, plan, containers), *await _lacking(node, plan, secrets), *await _routes(node, plan)
    folders = await prerequisites.to_create([each.component for each in plan.components if each.is_made_anew])
    return msgspec.structs.replace(plan, conflicts=plan.conflicts + unmet, folders=folders)


async def taken_ports(node: Node, plan: DeployPlan, containers: Collection[Container] | None = None) -> tuple[str, ...]:
    """Why what the plan would start cannot have its host ports. ``containers``: the service's, where they are known."""
    starting = [each.component for each in plan.components if each.runs and _is_started(each)]
    if not any(each.ports for each in starting):
        return ()
    if containers is None:
        containers = await node.podman.containers(service=plan.service.name)
    changing = [each.current.id for each in plan.components if each.current and each.action not in _LEAVES_RUNNING]
    left = [each.id for each in containers if each.name in plan.leftovers]
    left_alone = set(plan.service.component_names) - {each.component.name for each in plan.components}
    return await ports.taken(
        node, plan.service.name, starting, ours={*changing, *left}, declared_too=True, left_alone=left_alone
    )


async def _routes(node: Node, plan: DeployPlan) -> tuple[str, ...]:
    """Why the service cannot have the routes that it wants."""
    if not any(each.component.routes for each in plan.components):
        return ()
    selected = {each.component.name for each in plan.components}
    return claims.conflicts(plan.service, selected, await node.registry.services(), node.router.listeners)


async def _lacking(node: Node, plan: DeployPlan, secrets: SecretUse) -> tuple[str, ...]:
    """What new containers need of the node and it lacks."""
    new = [each.component for each in plan.components if each.is_made_anew]
    found = prerequisites.missing_secrets(node.name, plan.service.name, new, secrets.missing)
    if any(each.volumes or each.devices for each in new):
        found += prerequisites.missing_paths(plan.service.name, new, await prerequisites.lacking(new))
    return found + await prerequisites.missing_externals(node.podman, plan.service, new)


def _is_started(plan: ComponentPlan) -> bool:
    return plan.is_made_anew or plan.action is Action.START


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
            found.append(
                f"{name}: {image} runs, but is no longer on this node; a restart still works, a recover does not"
            )
        elif here != each.current.image_id:
            found.append(
                f"{name}: {image} now points to {_short(here)} here, and {_short(each.current.image_id)} runs; "
                f"`mcpctl deploy {name} --force` recreates it"
            )
    found += await _secret_warnings(node, plan.service.name, kept)
    found += await _network_warnings(node, plan, kept)
    found += _route_warnings(node, plan)
    for orphan in plan.orphans:
        name = f"{plan.service.name}/{orphan}"
        found.append(f"{name} is no longer defined and left as it is; `mcpctl undeploy {name}` removes it")
    return tuple(found)


def _route_warnings(node: Node, plan: DeployPlan) -> tuple[str, ...]:
    if not node.router.listeners or not node.router.has_certificates:
        return ()
    selected = {each.component.name for each in plan.components}
    return claims.without_certificate(plan.service, selected, node.router.listeners, node.router.certificates)


async def _network_warnings(node: Node, plan: DeployPlan, kept: Collection[ComponentPlan]) -> list[str]:
    """Networks that will be made, and containers that others cannot find by name, since they were made before that."""
    new = [each.component for each in plan.components if each.is_made_anew]
    found = [
        f'network "{name}" does not exist and will be made'
        for name in await prerequisites.networks_to_make(node.podman, plan.service, new)
    ]
    own = naming.own_network(plan.service.name)
    for each in kept if len(plan.service.components) > 1 else ():
        assert each.current
        joins = [network.name for network in each.component.joins(plan.service.name)]
        if joins == [own] and own not in each.current.networks:
            name = f"{plan.service.name}/{each.component.name}"
            found.append(
                f"{name} was created before components had a network of their own, so others cannot find it by name; "
                f"`mcpctl deploy {name} --force` recreates it"
            )
    return found


async def _secret_warnings(node: Node, service: str, kept: Collection[ComponentPlan]) -> tuple[str, ...]:
    """Secrets that a container has which stays, and that its successor would not find."""
    components = [each.component for each in kept if each.component.secrets]
    if not components:
        return ()
    here = await node.podman.secrets.listed()
    missing = {secret.name for each in components for secret in each.secret_list} - here.keys()
    return prerequisites.missing_secrets(node.name, service, components, missing)


async def _relevant(podman: Podman, service: Service) -> list[Container]:
    """The service's containers, and whoever else has a name that it needs. Listing all would cost 0.3 ms each."""
    ours = list(await podman.containers(service=service.name))
    free = {service.container(name) for name in service.component_names} - {each.name for each in ours}
    return ours + list(await podman.containers(names=free)) if free else ours


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:_SHORT_ID]
