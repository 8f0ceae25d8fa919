"""What must hold of routes: the proxy has what registry and containers say, and nobody notices what need not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from mcpd.runtime import route_ports
from protos.mcp import v1
from protos.parts import Route
from protos.spec import Component, Service

from .containers import Container
from .expected import Expected, Key
from .proxy import Place, leads_to
from .world import World

# A component with a route that somebody has already, in the words of a refusal.
CLAIMED = " claims "


def place(route: Route) -> Place:
    return Place(route.listen, route.host, route.path)


def in_force(expected: Expected) -> dict[Key, Component]:
    """The components with routes; those that were deployed come first, and the alphabet."""
    keys = sorted(expected.wants, key=lambda key: (expected.wants[key].deployed is None, key))
    return {key: expected.wants[key].in_force for key in keys if expected.wants[key].in_force.routes}


def claimed(expected: Expected, service: Service, selected: Collection[str]) -> list[str]:
    """Which routes of ``service`` others have, or components of it that are left as they are: a reason to refuse it."""
    theirs: dict[Place, Key] = {}
    for key, want in expected.wants.items():
        if key[0] != service.name:
            # What nobody declares any more has what it was deployed with.
            specs = [want.in_force] if want.is_ignored else [want.spec, want.in_force]
            theirs |= {place(route): key for spec in specs for route in spec.routes}
        elif key[1] not in selected and want.deployed is not None:
            theirs |= {place(route): key for route in want.deployed.routes}
    wanted = [place(route) for each in service.components if each.name in selected for route in each.routes]
    return [f"{theirs[each]} has {each}" for each in wanted if each in theirs]


def answering_by(world: World, services: Collection[str]) -> frozenset[Place]:
    """The places that go on answering, since nothing is done to the ``services`` of those who do, nor befalls them."""
    steady = {key for key, each in world.managed() if key[0] in services and not each.is_restless and each.forwarded}
    return leads_to(world.proxy.table, steady)


async def routes_are_true(world: World) -> None:
    proxy = world.proxy
    assert not proxy.faults, "; ".join(proxy.faults)
    given = Counter(
        port.outside for each in world.podman.containers.values() for port in route_ports.read(each.labels).values()
    )
    assert max(given.values(), default=1) == 1, f"two containers have a port: {given}"
    answer: v1.ListRoutesResponse = await world.daemon.call("ListRoutes", v1.ListRoutesRequest())
    if proxy.trouble:
        assert answer.reason, f"the proxy is {proxy.trouble}, and nobody is told"
        return
    assert not answer.reason, f"the proxy is well, and told to be: {answer.reason}"
    _the_proxy_has_what_it_should(world)


def _the_proxy_has_what_it_should(world: World) -> None:
    table = world.proxy.table
    wanted: dict[Place, tuple[Key, Route]] = {}
    for key, component in in_force(world.expected).items():
        for route in component.routes:
            wanted.setdefault(place(route), (key, route))
    entries = {Place(each.listen, each.host, each.path): each.backend for each in table.entries}
    names = {at: f"{key[0]}.{key[1]}.{route.port_name}" for at, (key, route) in wanted.items()}
    # Whether a deploy was committed that changed nothing and was killed, nobody can see.
    sure = {at: name for at, name in names.items() if world.expected.wants[wanted[at][0]].deployed is not None}
    is_so = sure.items() <= entries.items() <= names.items()
    assert is_so, f"the proxy has the entries {entries}; it should have {names}"
    for at, (key, route) in wanted.items():
        if at not in entries:
            continue
        backend = table.backend(f"{key[0]}.{key[1]}.{route.port_name}")
        assert backend.mode == route.mode
        servers = {each.name: each for each in backend.servers}
        assert len(servers) == len(backend.servers)
        ready = {name for name, each in servers.items() if not each.draining}
        must, may = _answers(world, key, route)
        assert must <= ready <= must | may, f"for {backend.name} the proxy has {ready}; it should have {must} or {may}"
        for each in servers.values():
            container = world.podman.every[each.name]
            where = (each.host, each.port)
            assert container.runs, f"{backend.name} has {each}, which does not run"
            assert where == (route_ports.LOOPBACK, route_ports.read(container.labels)[route.port_name].outside)
        assert len(ready) == len(servers) or key[0] in world.expected.maintained, f"{backend.name} drains for ever"


def _answers(world: World, key: Key, route: Route) -> tuple[set[str], set[str]]:
    """The containers that have to be there for a route, and those that may."""
    container = world.settled(key)
    if container is None or container.state != "running" or key[0] in world.expected.maintained:
        return set(), set()
    if route.port_name not in route_ports.read(container.labels):
        return set(), set()
    found = {container.short}
    if world.expected.wants[key].spec.health is None or container.well:
        return found, set()
    return set(), found if _nobody_knows(world, container) else set()


def _nobody_knows(world: World, container: Container) -> bool:
    """Whether it may have become ill after it had answered: then it goes on answering."""
    return container.was_ready or container.begun_at < world.proxy.asked_since
