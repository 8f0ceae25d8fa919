"""What a container needs of its node besides an image and ports: secrets, folders, devices, networks, volumes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import trio

from mcpd.runtime.podman import Podman
from protos import naming, podman_notation
from protos.parts import NetworkDeclaration, Volume
from protos.spec import Component, Service

# A path on a file system that hangs is no reason to refuse: podman will say what it thinks of it.
_LOOK_S = 2.0


def missing_secrets(
    node: str, service: str, components: Iterable[Component], missing: Collection[str]
) -> tuple[str, ...]:
    """A sentence for each secret that ``components`` need and that is among the ``missing``."""
    users: dict[str, list[str]] = {}
    for each in components:
        for secret in each.secret_list:
            of_it = users.setdefault(secret.name, []) if secret.name in missing else []
            if each.name not in of_it:
                of_it.append(each.name)
    return tuple(
        f"{', '.join(f'{service}/{name}' for name in names)} {'need' if len(names) > 1 else 'needs'} the secret "
        f"{secret}, which this node does not have; `mcpctl secret set {secret} --node {node}` sets it"
        for secret, names in users.items()
    )


def missing_paths(service: str, components: Iterable[Component], missing: Collection[str]) -> tuple[str, ...]:
    """A sentence for each path of the node that ``components`` need and that is among the ``missing``."""
    return tuple(
        f"{service}/{each.name} {words} {path}, which does not exist on the node{remedy}"
        for each in components
        for words, paths, remedy in (
            ("mounts", _folders(each), ": create it there"),
            ("uses the device", _devices(each), "; `ls /dev` there shows those that it has"),
        )
        for path in paths
        if path in missing
    )


async def lacking(components: Iterable[Component]) -> frozenset[str]:
    """The paths that ``components`` need and that certainly do not exist; what we may not see is none of them."""
    paths = sorted({path for each in components for path in (*_folders(each), *_devices(each))})
    return frozenset(await _look(lambda: [path for path in paths if _is_lacking(path)]))


async def to_create(components: Iterable[Component]) -> tuple[str, ...]:
    """The folders that are to be made for ``components``, those above them included, the deepest first."""
    wanted = {Path(mount.folder) for each in components for mount in each.mounts if mount.create and mount.folder}

    if not wanted:
        return ()

    def look() -> list[str]:
        missing = {place for each in wanted for place in (each, *each.parents) if _is_lacking(str(place))}
        return [str(each) for each in sorted(missing, key=lambda place: len(place.parts), reverse=True)]

    return tuple(await _look(look))


async def missing_externals(podman: Podman, service: Service, components: Collection[Component]) -> tuple[str, ...]:
    """A sentence for each network and volume that somebody else should have made and has not."""
    networks = {each.name for component in components for each in component.joins(service.name)}
    volumes = {mount.volume for component in components for mount in component.mounts if mount.volume}
    lost = [("network", name) for name in sorted(networks & _external(service.networks))]
    lost = [each for each in lost if await podman.network_labels(each[1]) is None]
    gone = [("volume", name) for name in sorted(volumes & _external(service.volumes))]
    lost += [each for each in gone if await podman.volume(each[1]) is None]
    return tuple(
        f"{service.name} needs the {kind} {name}, which is external and does not exist on the node; "
        f"`podman {kind} create {name}` there creates it"
        for kind, name in lost
    )


async def networks_to_make(podman: Podman, service: Service, components: Iterable[Component]) -> list[str]:
    """The networks that are to be made, and of which nothing is declared: a slip in a name makes such."""
    known = {naming.own_network(service.name), *service.networks}
    names = {each.name: None for component in components for each in component.joins(service.name)}
    return [name for name in names if name not in known and await podman.network_labels(name) is None]


def _external(declared: Mapping[str, NetworkDeclaration] | Mapping[str, Volume]) -> set[str]:
    return {name for name, each in declared.items() if each.external}


async def _look(at: Callable[[], list[str]]) -> list[str]:
    with trio.move_on_after(_LOOK_S):
        return await trio.to_thread.run_sync(at, abandon_on_cancel=True)
    return []


def _is_lacking(path: str) -> bool:
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _folders(component: Component) -> list[str]:
    return [each.folder for each in component.mounts if each.folder and not each.create]


def _devices(component: Component) -> list[str]:
    found = map(podman_notation.device, component.devices)
    return [each.host for each in found if not each.is_cdi]
