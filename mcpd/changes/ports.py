"""Host ports: who holds one that a component needs, found before anything is touched, and what to do about a lost one.

A container that is started on a port which another container has does not only fail: netavark, taking down what it
had set up for it, removes the other's forwarding rules as well, and that one runs on without being reachable.
"""

from __future__ import annotations

import getpass
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import structlog
import trio

from mcpd.changes.node import Node
from mcpd.errors import ConflictError, McpdError, RefusedError
from mcpd.model import Container, RecordedService
from mcpd.runtime import network, sockets
from mcpd.runtime.api import PodmanError
from mcpd.runtime.podman import Podman
from mcpd.runtime.sockets import EVERY_ADDRESS, Owner, Socket
from protos import grammar
from protos.spec import Component

log = structlog.get_logger()

# With these a container has no ports of its own to publish: podman ignores them.
_PUBLISHES_NOTHING = ("host", "none")
# Processes of podman's that hold a container's ports, and let go of them a moment after it has ended.
_PODMANS = frozenset(
    {"conmon", "podman", "rootlessport", "rootlessport-ch", "slirp4netns", "pasta", "pasta.avx2", "exe"}
)
_PATIENCE_S = 2.0
_POLL_S = 0.1
# A remedy.
_CHANGE_ONE = "change `ports` of one of the two"


class Published(NamedTuple):
    """Ports ``first`` to ``last`` at ``ip``; `EVERY_ADDRESS` for all that the node has."""

    ip: str
    first: int
    last: int
    protocol: str

    def meets(self, other: Published) -> bool:
        """Whether the two exclude each other."""
        if self.protocol != other.protocol or self.last < other.first or other.last < self.first:
            return False
        return _addresses_meet(self.ip, other.ip)


class Need(NamedTuple):
    """A host port, and the component (``SERVICE/NAME``) that needs it; ``text`` is as its definition has it."""

    who: str
    text: str
    port: Published


class Claim(NamedTuple):
    """A host port that somebody has; ``holder`` and ``remedy`` are parts of a sentence."""

    port: Published
    holder: str
    remedy: str


class TakenError(RefusedError):
    """A start failed, since ``holders`` have its port."""

    def __init__(self, message: str, holders: Sequence[Container]) -> None:
        super().__init__(message)
        self.holders = tuple(holders)


# -- what there is, as values


def published(text: str) -> Published:
    """From the notation of a definition, or with the ranges of `mcpd.model.Container.ports`. Raises ValueError."""
    host, _, inside = text.rpartition(":")
    _, _, protocol = inside.partition("/")
    address, _, numbers = host.rpartition(":")
    first, _, last = numbers.partition("-")
    ip = address.strip("[]")
    return Published(
        str(ipaddress.ip_address(ip)) if ip else EVERY_ADDRESS, int(first), int(last or first), protocol or "tcp"
    )


def needs(service: str, components: Iterable[Component]) -> list[Need]:
    """What ``components`` need of the node's ports to run."""
    return [
        Need(f"{service}/{each.name}", _place(grammar.port(text)), published(text))
        for each in components
        if each.network_mode not in _PUBLISHES_NOTHING
        for text in each.ports
        if grammar.port(text).host  # podman chooses one that is free
    ]


def claims_of(containers: Iterable[Container]) -> list[Claim]:
    """What ``containers`` publish, running or not."""
    return [Claim(published(text), _holder(each), _remedy(each)) for each in containers for text in each.ports]


def declared(services: Iterable[RecordedService], of: str, left_alone: Collection[str] = ()) -> list[Claim]:
    """What components need that should run, whether or not they do now.

    Those of other services than ``of``, which is changed, and of its own those that the change leaves alone.
    """
    found = []
    for service in services:
        for each in service.components:
            is_own = service.name == of
            if each.should_run and (not is_own or each.spec.name in left_alone):
                who = f"{service.name}/{each.spec.name}"
                remedy = f"or `mcpctl stop {who}`"
                # Its definition has no such conflict, so that the other has another port there by now.
                words = f"deploy both, `mcpctl deploy {of}`, {remedy}" if is_own else f"{_CHANGE_ONE}, {remedy}"
                found += [Claim(need.port, f"{who} declares", words) for need in needs(service.name, [each.spec])]
    return found


def conflicts(wanted: Iterable[Need], claims: Sequence[Claim]) -> tuple[str, ...]:
    """A sentence for each need that conflicts with somebody else's claim; of several claims it names the first."""
    found = []
    for need in wanted:
        claim = next((each for each in claims if each.port.meets(need.port)), None)
        if claim:
            found.append(f"{need.who} needs the host port {need.text}, which {claim.holder}; {claim.remedy}")
    return tuple(found)


def foreign(wanted: Sequence[Need], listening: Iterable[Socket], containers: Sequence[Container]) -> list[Socket]:
    """The sockets that keep a need from its port, and are not a container's: those of a container are its claim."""
    theirs = [each.port for each in claims_of(containers)]
    return [
        each
        for each in listening
        if any(_meets_socket(need.port, each) for need in wanted)
        and not any(_is_at(each).meets(port) for port in theirs)
    ]


def _is_at(found: Socket) -> Published:
    return Published(found.ip, found.port, found.port, found.protocol)


def _meets_socket(port: Published, found: Socket) -> bool:
    """podman takes a port of every address in IPv4, and in IPv6 only where it can: that alone is no conflict."""
    return port._replace(ip="0.0.0.0" if port.ip == EVERY_ADDRESS else port.ip).meets(_is_at(found))  # noqa: S104


def _addresses_meet(one: str, other: str) -> bool:
    if EVERY_ADDRESS in (one, other) or one == other:
        return True
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def _place(port: grammar.Port) -> str:
    address = f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:" if port.host_ip else ""
    last = f"-{port.host + port.length - 1}" if port.length > 1 else ""
    return f"{address}{port.host}{last}/{port.protocol}"


def _holder(container: Container) -> str:
    if container.service:
        return f"{container.service}/{container.component} has (container {container.name})"
    return f"the container {container.name} has, which mcp does not manage"


def _remedy(container: Container) -> str:
    if container.service:
        target = f"{container.service}/{container.component}"
        return f"{_CHANGE_ONE}, or `mcpctl stop {target}` (`mcpctl undeploy {target}` removes it)"
    return f"change `ports`, or `podman stop {container.name}` on the node"


# -- asking


async def taken(
    node: Node,
    service: str,
    components: Iterable[Component],
    *,
    ours: Collection[str] = (),
    declared_too: bool = False,
    left_alone: Collection[str] = (),
) -> tuple[str, ...]:
    """Why ``components``, which are about to be started, cannot have their host ports: a sentence for each.

    ``ours``: ids of the containers that make room for them, or are started again. ``declared_too``: also what other
    services, and the components of this one that are ``left_alone``, are declared to have and do not use now; who only
    starts what there is does not mind. Asks nobody when nothing is published. Raises UnavailableError when podman does
    not answer.
    """
    wanted = needs(service, components)
    if not wanted:
        return ()
    containers = await node.podman.containers()
    others = [each for each in containers if each.is_active and each.id not in ours]
    claims = claims_of(others)
    if declared_too:
        claims += declared(await node.registry.services(), service, left_alone)
    relevant = [each for each in containers if each.is_active or each.id in ours]
    claims += [_claim(*each) for each in await _held_by_others(wanted, relevant)]
    return conflicts(wanted, claims)


async def check_free(node: Node, service: str, component: Component, container: Container) -> None:
    """Raises ConflictError when ``component`` cannot have its ports, since somebody else has one."""
    if found := await taken(node, service, [component], ours=(container.id,)):
        raise ConflictError("; ".join(found))


async def _held_by_others(wanted: Sequence[Need], containers: Sequence[Container]) -> list[tuple[Socket, Owner]]:
    """Other processes' sockets. Waits for podman to release those of containers that are gone."""
    numbers = {(number, each.port.protocol) for each in wanted for number in range(each.port.first, each.port.last + 1)}
    found: list[tuple[Socket, Owner]] = []
    with trio.move_on_after(_PATIENCE_S):
        while True:
            theirs = foreign(wanted, await sockets.held(numbers), containers)
            found = [(each, await sockets.owner(each)) for each in theirs]
            if not any(owner.program in _PODMANS or not owner.pid for _, owner in found):
                break
            await trio.sleep(_POLL_S)
    return found


def _claim(found: Socket, owner: Owner) -> Claim:
    how = f"end it, or change `ports`; `ss -lnp 'sport = :{found.port}'` there shows it"
    # An IPv4 wildcard stands in for what is needed at every address; see `_meets_socket`.
    return Claim(_is_at(found), f"{owner} has", how)


# -- starting


async def start(node: Node, container: str, caller: str) -> None:
    """Starts a container; when its port was taken meanwhile, what that did to who has it is mended, and told.

    Raises as `Podman.start`, and TakenError.
    """
    try:
        await start_alone(node.podman, container)
    except TakenError as error:
        for each in error.holders:
            if each.service:
                await node.tell(each.service, each.component, "network", str(error), caller)
        raise


async def start_alone(podman: Podman, container: str) -> None:
    """As `start`, without an event."""
    try:
        await podman.start(container)
    except PodmanError as error:
        if not is_taken(str(error)):
            raise
        holders = await _holders(podman, container)
        if not holders:
            raise
        mended = "; ".join([await _mended(each) for each in holders])
        raise TakenError(f"{error} ({mended})", holders) from error


def is_taken(words: str) -> bool:
    """Whether podman, or what it uses, says that somebody has a port."""
    return "address already in use" in words.casefold()


async def _holders(podman: Podman, container: str) -> list[Container]:
    """The running containers that publish what ``container``, which could not be started, does."""
    try:
        every = await podman.containers()
    except McpdError as error:
        log.warning("the holder of a taken port could not be found", container=container, error=str(error))
        return []
    mine = [claim.port for each in every if container in (each.id, each.name) for claim in claims_of([each])]
    return [
        each
        for each in every
        if container not in (each.id, each.name)
        and each.is_active
        and any(claim.port.meets(port) for claim in claims_of([each]) for port in mine)
    ]


async def _mended(holder: Container) -> str:
    """Restores the network that the failed start may have taken from ``holder``; returns in words how that went."""
    name = f"{holder.service}/{holder.component}" if holder.service else holder.name
    problem = await network.reload(holder.id)
    if not problem:
        log.warning("a port was taken; its holder's network was set up again", holder=holder.name)
        return f"{name} has it: its network was set up again, in case the attempt cut it off"
    log.error("a port was taken, and its holder may be cut off", holder=holder.name, problem=problem)
    remedy = f"`podman network reload {holder.name}` on the node, as user {getpass.getuser()}"
    return f"{name} has it, and may NOT be reachable any more: {remedy}, restores it; mcpd could not: {problem}"
