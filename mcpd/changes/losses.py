"""What a change would drop: settings of adopted containers that no definition can express, or theirs does not have.

Only a container that mcpd has not made has any, and only while it is that one: what replaces it is made from its
declaration (audit E4).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from mcpd.changes.node import Node
from mcpd.changes.plan import ComponentPlan, DeployPlan
from mcpd.errors import RefusedError
from mcpd.model import Container
from mcpd.runtime.api import NoSuchError
from mcpd.runtime.describe import Description, describe
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.setting import clipped
from protos.fingerprint import newer_keys
from protos.spec import Component
from protos.validation import plain_value

# Of what a refusal lists: an error travels in one header of HTTP/2. A plan lists everything.
_MOST_LISTED = 20
# And of what is said beside other things, on one line.
_MOST_NAMED = 3


async def described(node: Node, component: str, details: Details, names: Mapping[str, str]) -> Description:
    """What the container would be declared as; ``names`` are the components beside it, by their containers' ids."""
    return describe(component, details, await _image(node, details), names)


async def _image(node: Node, details: Details) -> ImageDefaults:
    """The image that a container was made from; without it, all that the container has counts as asked for."""
    try:
        return await node.podman.image_defaults(details.image)
    except NoSuchError:
        return ImageDefaults()


async def with_losses(node: Node, plan: DeployPlan, containers: Collection[Container]) -> DeployPlan:
    """The plan with what each component that it makes anew would lose. ``containers`` are the service's."""
    names = {each.id: each.component for each in containers if each.service == plan.service.name}
    components = [msgspec.structs.replace(each, losses=await _losses(node, each, names)) for each in plan.components]
    return msgspec.structs.replace(plan, components=tuple(components))


async def _losses(node: Node, plan: ComponentPlan, names: Mapping[str, str]) -> tuple[str, ...]:
    if plan.current is None or not plan.is_made_anew or not node.podman.is_adopted(plan.current.id):
        return ()
    try:
        details = await node.podman.details(plan.current.id)
    except NoSuchError:
        return ()  # gone since it was listed
    found = await described(node, plan.component.name, details, names)
    return (*found.losses, *_undeclared(found.component, plan))


def _undeclared(found: Component, plan: ComponentPlan) -> Iterator[str]:
    """What the container has and nobody declares: it was adopted when a definition could not say that.

    As a line of a definition; of tables the names alone, since values may hold passwords.
    """
    declared, told = newer_keys(plan.component), {each.field.partition(".")[0] for each in plan.changes}
    has = newer_keys(found)
    for key in found.__struct_fields__:
        if key not in has or key in declared or key in told:
            continue
        value = getattr(found, key)
        if isinstance(value, Mapping):
            yield clipped(f"{key} {', '.join(value)} (not in its definition)")
        else:
            yield clipped(f"{key} = {msgspec.json.encode(plain_value(value)).decode()} (not in its definition)")


def check_accepted(plan: DeployPlan, target: str) -> None:
    """Raises RefusedError with what a deploy of ``target`` would drop, if anything."""
    losses = plan.losses
    if not losses:
        return
    more = len(losses) - _MOST_LISTED
    lines = [*losses[:_MOST_LISTED], *([f"and {more} more, which `mcpctl plan {target}` lists"] if more > 0 else [])]
    raise RefusedError(
        "nothing was changed: adopted containers would be recreated without settings that their definition does not "
        "have:\n  "
        + "\n  ".join(lines)
        + f"\n`mcpctl deploy {target} --accept-loss` recreates them without these settings"
    )


def in_short(losses: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    more = len(losses) - _MOST_NAMED
    return ", ".join(losses[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
