"""Which containers have another value of a secret than podman has now. Pure functions, but for `look`.

A secret that is a file is copied into a container when that is created; podman shows its id, of which every value has
its own. One that is a variable is read by its name whenever the container starts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from mcpd.model import Container, by_component
from mcpd.runtime.api import NoSuchError
from mcpd.runtime.api_types import Inspected, ever
from mcpd.runtime.podman import Podman
from mcpd.runtime.program import read_secret_ids
from mcpd.runtime.secret_store import StoredSecret
from protos.fingerprint import spec_hash
from protos.spec import Component, Service

_SECOND = timedelta(seconds=1)
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


class SecretUse(msgspec.Struct, frozen=True):
    """What a plan needs to know. ``ids``: of the secrets that the components declare, by name; "" for a missing one.

    ``changed``: why a component's container is to be made anew, by component.
    """

    ids: Mapping[str, str] = {}
    changed: Mapping[str, str] = {}

    @property
    def missing(self) -> frozenset[str]:
        return frozenset(name for name, number in self.ids.items() if not number)


NO_SECRETS = SecretUse()


async def look(
    podman: Podman, service: Service, selected: Collection[str], containers: Collection[Container]
) -> SecretUse:
    """Of the ``selected`` components; asks podman nothing where none has a secret."""
    components = [each for each in service.components if each.name in selected and each.secrets]
    if not components:
        return NO_SECRETS
    here, now = await podman.secrets.listed(), datetime.now(UTC)
    ids = {it.name: here[it.name].id if it.name in here else "" for each in components for it in each.secret_list}
    ours = by_component(containers, service.name, {each.name: service.container(each.name) for each in components})
    found: dict[str, str] = {}
    for each in components:
        current = ours.get(each.name)
        # What was made from something else is made anew anyway.
        is_it = current is not None and current.spec_hash == spec_hash(each)
        if current and is_it and (secrets := await changed_in(podman, each, current, here)):
            found[each.name] = told(secrets, now)
    return SecretUse(ids, found)


async def changed_in(
    podman: Podman, component: Component, container: Container, here: Mapping[str, StoredSecret]
) -> tuple[StoredSecret, ...]:
    """As `changed`; none of a container that is gone."""
    try:
        return changed(component, await podman.inspect(container.id), here)
    except NoSuchError:
        return ()


def changed(component: Component, container: Inspected, here: Mapping[str, StoredSecret]) -> tuple[StoredSecret, ...]:
    """Those secrets of ``component``, made as ``container``, whose values are not those that the container has."""
    found = {
        each.name: here[each.name]
        for each in component.secret_list
        if each.name in here and (_is_read_before if each.env else _is_another)(component, container, here[each.name])
    }
    return tuple(found.values())


def _is_another(_: Component, container: Inspected, secret: StoredSecret) -> bool:
    """Of a file: whether it was copied from another value."""
    given = {each.name: each.id for each in container.config.secrets or ()}
    if secret.name in given:
        return given[secret.name] != secret.id
    created_at = ever(container.created)
    return created_at is not None and created_at < secret.set_at


def _is_read_before(component: Component, container: Inspected, secret: StoredSecret) -> bool:
    """Of a variable: whether it was read before the secret had its value. What starts again anyway reads it then.

    A clock that was set back in between tells nothing; one that was made after the value was set has it.
    """
    started_at = ever(container.state.started_at)
    stays = container.is_active or component.oneshot
    is_made_with_it = read_secret_ids(container.config.labels or {}).get(secret.name) == secret.id
    return stays and not is_made_with_it and started_at is not None and started_at < secret.set_at


def told(secrets: Collection[StoredSecret], now: datetime) -> str:
    """Why a container that has other values of these is made anew."""
    return ", ".join(f"secret {each.name} changed {_ago(now - each.set_at)}" for each in secrets)


def _ago(since: timedelta) -> str:
    seconds = max(0, since // _SECOND)
    return next((f"{seconds // size}{unit} ago" for size, unit in _UNITS if seconds >= size), f"{seconds}s ago")
