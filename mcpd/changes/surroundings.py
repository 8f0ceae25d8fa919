"""What a service's containers are created among: networks, volumes, folders and configs, provided before them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import structlog
import trio

from mcpd.changes.node import Node
from mcpd.errors import McpdError, RefusedError
from mcpd.model import LABEL_NODE, LABEL_SERVICE, RecordedService, Step
from mcpd.runtime.create import Surroundings
from monitor.model import Desired
from protos import naming, podman_notation
from protos.spec import Component, Service

log = structlog.get_logger()

# podman 4.7 writes the node's address for `host-gateway`; an older one writes the word.
_KNOWS_HOST_GATEWAY = (4, 7)
# Of the documentation (RFC 5737), so nobody's; the discard service.
_ANYWHERE = ("192.0.2.1", 9)
# Records a step before it is taken: the component (or ""), the step, and words.
Take = Callable[[str, Step, str], Awaitable[None]]


async def surroundings(node: Node, service: Service, component: Component, *, beside: bool = False) -> Surroundings:
    """Of one component of ``service``, whose container starts ``beside`` another, and so under another name.

    Raises UnavailableError when podman does not answer.
    """
    return Surroundings(
        containers={name: service.container(name) for name in service.component_names},
        own_networks=await own_networks(node, service),
        configs=node.configs.places(service.name, component),
        host_gateway=await _host_gateway(node, service, component),
        route_ports=await node.router.assign(component),
        called=service.container(component.name) if beside else "",
        secret_ids=await _secret_ids(node, component),
    )


async def _secret_ids(node: Node, component: Component) -> dict[str, str]:
    """Those of the secrets that become variables, as far as podman has them."""
    names = {each.name for each in component.secret_list if each.env}
    here = await node.podman.secrets.listed() if names else {}
    return {name: here[name].id for name in names if name in here}


async def _host_gateway(node: Node, service: Service, component: Component) -> str:
    """The node's address for `host-gateway`, where it is asked for and podman would write rubbish; else ""."""
    if not any(podman_notation.added_host(each)[1] == podman_notation.HOST_GATEWAY for each in component.add_hosts):
        return ""
    version = re.match(r"(\d+)\.(\d+)", await node.podman.version())
    if version and (int(version[1]), int(version[2])) >= _KNOWS_HOST_GATEWAY:
        return ""
    joined = component.joins(service.name)
    # A rootless podman's bridges are in a namespace of its own, where the node has no address.
    found = await node.podman.gateway(joined[0].name) if joined and os.geteuid() == 0 else ""
    return found or _own_address()


def _own_address() -> str:
    """The address that the node has on its way out; nothing is sent. Raises RefusedError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ANYWHERE)
        except OSError as error:
            words = f"host-gateway: the node has no route, and so no address: {error.strerror}; write NAME:IP"
            raise RefusedError(words) from error
        address: str = probe.getsockname()[0]
        return address


async def own_networks(node: Node, service: Service) -> frozenset[str]:
    """The networks that nobody but the service uses: its components may have short names there.

    The network that is called like the service is always its own. Another one is, when mcpd made it, or will, and no
    other service joins it.
    """
    default = naming.own_network(service.name)
    theirs = {
        each.name
        for other in await node.registry.services()
        if other.name != service.name
        for component in other.components
        if component.desired is not Desired.IGNORE
        for each in component.spec.joins(other.name)
    }
    found = {default}
    for name in set(service.joined_networks()) - theirs - {default}:
        if name in service.networks and service.networks[name].external:
            continue
        labels = await node.podman.network_labels(name)
        if labels is None or LABEL_NODE in labels:
            found.add(name)
    return frozenset(found)


async def provide(node: Node, service: Service, component: Component, take: Take) -> None:
    """Makes what ``component``'s container needs and is missing, each after its step was recorded."""
    for name in (each.name for each in component.joins(service.name)):
        await _provide_network(node, service, component, name, take)
    for mount in component.mounts:
        if mount.volume in service.volumes:
            await _provide_volume(node, service, component, mount.volume, take)
        if mount.create and mount.folder and not await trio.Path(mount.folder).exists():
            await take(component.name, Step.CREATE, f"creating the folder {mount.folder}")
            await _make_folder(mount.folder)
    if component.configs:
        await take(component.name, Step.CREATE, f"writing {', '.join(each.target for each in component.configs)}")
        await node.configs.put(service.name, component)


async def _provide_network(node: Node, service: Service, component: Component, name: str, take: Take) -> None:
    if await node.podman.network_labels(name) is not None:
        return
    declared = service.networks.get(name)
    if declared and declared.external:
        raise RefusedError(f"network {name} is external and does not exist on this node; create it there")
    await take(component.name, Step.NETWORK, f"creating network {name}")
    labels = {LABEL_NODE: node.name}
    if name == naming.own_network(service.name):
        labels[LABEL_SERVICE] = service.name
    await node.podman.create_network(name, labels, declared)


async def _provide_volume(node: Node, service: Service, component: Component, name: str, take: Take) -> None:
    if await node.podman.volume(name) is not None:
        return
    declared = service.volumes[name]
    if declared.external:
        raise RefusedError(f"volume {name} is external and does not exist on this node; create it there")
    await take(component.name, Step.CREATE, f"creating volume {name}")
    await node.podman.create_volume(name, declared)


async def _make_folder(path: str) -> None:
    try:
        await trio.to_thread.run_sync(lambda: Path(path).mkdir(parents=True, exist_ok=True))
    except OSError as error:
        raise RefusedError(f"the folder {path} cannot be created: {error.strerror}; create it on the node") from error


def joined_before(recorded: RecordedService | None, names: Iterable[str] | None = None) -> frozenset[str]:
    """The networks that the components (those with these ``names``) joined, as far as the registry knows."""
    if recorded is None:
        return frozenset()
    chosen = recorded.components if names is None else [each for each in recorded.components if each.spec.name in names]
    return frozenset(each.name for known in chosen for spec in known.specs for each in spec.joins(recorded.name))


async def tidy_configs(node: Node, service: str) -> None:
    """Removes the configs that neither a declaration nor a container of the service needs any more, if it can."""
    try:
        recorded = await node.registry.service(service)
        known = recorded.components if recorded else ()
        await node.configs.keep(service, [spec for each in known for spec in each.specs])
    except (McpdError, OSError) as error:
        log.warning("configs of before could not be removed", service=service, error=str(error))
