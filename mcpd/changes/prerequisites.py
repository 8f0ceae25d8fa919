"""What a container needs of its node besides an image and ports: secrets, and folders to mount."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import trio

from mcpd.changes.plan import ComponentPlan
from mcpd.model import Container
from protos.spec import Component

# A path on a file system that hangs is no reason to refuse: podman will say what it thinks of it.
_LOOK_S = 2.0


def missing_secrets(service: str, components: Iterable[Component], here: Collection[str]) -> tuple[str, ...]:
    """A sentence for each secret that ``components`` need and that is not among those ``here``."""
    return tuple(
        f"{service}/{each.name} needs the secret {secret.name}, which this node does not have; "
        f"`podman secret create {secret.name} FILE` there creates it"
        for each in components
        for secret in each.secret_list
        if secret.name not in here
    )


def changed_secrets(plan: ComponentPlan, current: Container, here: Mapping[str, datetime]) -> tuple[str, ...]:
    """The component's secrets that were set again after its container was made: it keeps the values from before."""
    made = current.created_at
    names = [each.name for each in plan.component.secret_list]
    return tuple(each for each in names if made and each in here and here[each] > made)


def missing_folders(service: str, components: Iterable[Component], missing: Collection[str]) -> tuple[str, ...]:
    """A sentence for each path that ``components`` mount and that is among the ``missing``."""
    return tuple(
        f"{service}/{each.name} mounts {path}, which does not exist on the node: create it there"
        for each in components
        for path in _sources(each)
        if path in missing
    )


async def lacking(components: Iterable[Component]) -> frozenset[str]:
    """The paths that ``components`` mount and that certainly do not exist; what we may not see is none of them."""
    paths = sorted({path for each in components for path in _sources(each)})
    with trio.move_on_after(_LOOK_S):
        return await trio.to_thread.run_sync(_lacking, paths, abandon_on_cancel=True)
    return frozenset()


def _lacking(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path for path in paths if _is_lacking(path))


def _is_lacking(path: str) -> bool:
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _sources(component: Component) -> list[str]:
    return [each.folder for each in component.mounts if each.folder]
