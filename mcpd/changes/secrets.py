"""podman's secrets, joined with who uses them: listed, set and removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec
import structlog

from mcpd.changes.node import Node
from mcpd.changes.secret_use import changed_in
from mcpd.errors import McpdError, NotFoundError, RefusedError
from mcpd.model import Container, RecordedComponent, Target
from mcpd.runtime.api import NoSuchError
from mcpd.runtime.program import secrets_of
from mcpd.runtime.secret_store import StoredSecret
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from protos.spec import Component

log = structlog.get_logger()

# Of the users that a refusal names.
_MOST_NAMED = 10


class SecretView(msgspec.Struct, frozen=True):
    """A secret; the components that declare it, or whose containers have it; and those that have another value."""

    secret: StoredSecret
    used_by: tuple[str, ...]
    outdated: tuple[str, ...]


async def views(node: Node, name: str = "") -> tuple[SecretView, ...]:
    """Every secret, by name, or the one with this ``name``."""
    here = await node.podman.secrets.listed()
    chosen = [each for each in sorted(here) if name in ("", each)]
    used_by, outdated = await _uses(node, {each: here[each] for each in chosen})
    return tuple(SecretView(here[each], tuple(used_by[each]), tuple(outdated[each])) for each in chosen)


async def assign(node: Node, name: str, value: bytes, *, must_be_new: bool) -> tuple[bool, tuple[str, ...]]:
    """Gives the secret a value. Returns whether it had one, and the components whose containers have another one.

    Raises ConflictError when it ``must_be_new`` and is not.
    """
    had_one = await node.podman.secrets.set(name, value, must_be_new=must_be_new)
    try:
        found = await views(node, name)
    except McpdError as error:
        # It is set all the same; a plan will tell.
        log.warning("who has another value of a secret could not be found out", secret=name, error=str(error))
        found = ()
    return had_one, tuple(target for each in found for target in each.outdated)


async def remove(node: Node, name: str) -> None:
    """Raises NotFoundError, and RefusedError when anybody uses it."""
    here = await node.podman.secrets.listed()
    if name not in here:
        raise NotFoundError(f"there is no secret {name} on {node.name}")
    users = [*(await _uses(node, {name: here[name]}))[0][name]]
    users += [each for each in await _other_users(node, name) if each not in users]
    if users:
        more = len(users) - _MOST_NAMED
        named = ", ".join(users[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise RefusedError(
            f"{name} stays: {named} {'use' if len(users) > 1 else 'uses'} it, and would not start without it; take it "
            "out of the definition and deploy, or undeploy, and then remove it"
        )
    await node.podman.secrets.remove(name)


async def _uses(
    node: Node, here: Mapping[str, StoredSecret]
) -> tuple[defaultdict[str, list[str]], defaultdict[str, list[str]]]:
    """The components that use each secret, and of those the ones whose containers have another value."""
    used_by, outdated = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    containers = await node.podman.containers()
    for service in await node.registry.services():
        found = service.found_in(containers)
        for component in service.components:
            container = found.get(component.spec.name)
            names = _declared(component, container) & here.keys()
            target = str(Target(service.name, component.spec.name))
            for name in names:
                used_by[name].append(target)
            made_from = _made_from(component, container)
            if names and container and made_from:
                for secret in await changed_in(node.podman, made_from, container, here):
                    outdated[secret.name].append(target)
    return used_by, outdated


def _declared(component: RecordedComponent, container: Container | None) -> frozenset[str]:
    """What it declares, or was made from. What nobody declares any more uses nothing when it is gone."""
    if component.desired is Desired.IGNORE and container is None:
        return frozenset()
    return frozenset(secret.name for spec in component.specs for secret in spec.secret_list)


def _made_from(component: RecordedComponent, container: Container | None) -> Component | None:
    return next((each for each in component.specs if container and spec_hash(each) == container.spec_hash), None)


async def _other_users(node: Node, name: str) -> list[str]:
    """Containers that have it, whoever made them, as far as podman says: it may not for those made through its API.

    A one-off container that has ended is there for its log, and never starts again.
    """
    users: list[str] = []
    for container in await node.podman.containers():
        if container.run and container.state is Observed.EXITED:
            continue
        try:
            details = await node.podman.details(container.id)
        except NoSuchError:
            continue
        if name in secrets_of(details):
            users.append(_called(container))
    return users


def _called(container: Container) -> str:
    if container.run:
        return f"the run {container.run} of {container.run_of}"
    is_component = container.service and container.is_settled
    return str(Target(container.service, container.component)) if is_component else f"the container {container.name}"
