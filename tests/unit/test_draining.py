"""What the proxy is told while a service is changed, and maintenance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from mcpd.changes import traffic
from mcpd.changes.maintenance import Maintenance
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import NotFoundError, RefusedError
from mcpd.model import Caller, Container, Result, Role, Step, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.routing.table import Listener
from mcpd.runtime import sockets
from mcpd.runtime.podman import Podman
from mcpd.runtime.route_ports import LABEL_ROUTE_PORTS
from monitor.model import Observed
from protos.fingerprint import spec_hash
from protos.parts import Route
from protos.spec import Component, Service
from tests.support.builders import NO_CONFIGS
from tests.support.routes import PretendedPodman, PretendedProxy, no_proxy

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WEB = Component("web", "x:v1", routes=(Route("shop.example.net", port=8080),), drain_timeout=timedelta(seconds=5))
LABELS = {"mcp.service": "shop", "mcp.component": "web", LABEL_ROUTE_PORTS: "8080=20000/8080"}
OLD = Container("a" * 64, "shop-web", "x:v1", "", Observed.RUNNING, 1, None, NOW, None, (), LABELS)


class Place:
    """A node with one service behind a proxy, and what was told as it went."""

    def __init__(self, registry: Registry, *, has_proxy: bool = True) -> None:
        self.proxy = PretendedProxy()
        self.registry = registry
        podman = cast(Podman, PretendedPodman(OLD))
        listeners = (Listener(443, "0.0.0.0", True),)
        router = Router(registry, podman, self.proxy, listeners) if has_proxy else no_proxy(registry, podman)
        started, _ = trio.open_memory_channel[Any](1)
        self.node = Node("rift", podman, registry, Journal(registry), started, NO_CONFIGS, router)
        self.told: list[tuple[Step, str]] = []

    async def drain(self, old: Container = OLD) -> None:
        async def take(_: str, step: Step, words: str) -> None:
            await trio.lowlevel.checkpoint()
            self.told.append((step, words))

        await traffic.drain(self.node, WEB, old, take, lambda _, step, words: self.told.append((step, words)))

    async def maintain(self, *, on: bool, service: str = "shop") -> list[tuple[str, Result, str]]:
        number = await self.node.journal.begin(Target(service), "maintenance", "ops", NOW)
        caller = Caller("ops", Role.ADMIN)
        operation = Operation(number, "maintenance", Target(service), caller, NOW, self.node.journal)
        await Maintenance(self.node, operation).run(on=on)
        return [(each.component, each.result, each.message) for each in operation.outcomes]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with Registry.open(tmp_path / "mcp.db") as opened:
        await declare(opened, WEB)
        yield opened


async def declare(registry: Registry, component: Component) -> None:
    await registry.put_service(Service("shop", "rift", (component,)), {"web": spec_hash(component)}, NOW)


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many are connected to the old container, at one look after another; then nobody."""
    looks: list[int] = []

    async def run_sync(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    async def served(*_: object) -> int:
        await trio.lowlevel.checkpoint()
        return looks.pop(0) if looks else 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(sockets, "served", served)
    return looks


async def test_what_is_drained_gets_nothing_new_and_is_waited_for(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
    connections: list[int],
) -> None:
    place = Place(registry)
    await place.node.router.settle()
    assert place.proxy.servers() == {"a" * 12: False}
    connections += [2] * 15 + [1]
    await place.drain()
    assert place.proxy.servers() == {"a" * 12: True}
    assert place.told == [
        (Step.DRAIN, "draining shop-web"),
        (Step.DRAIN, "draining shop-web: 2 connections"),
        (Step.DRAIN, "draining shop-web: 1 connection"),
    ]


async def test_who_does_not_let_go_is_cut_off_and_that_is_told(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
    connections: list[int],
) -> None:
    place = Place(registry)
    connections += [1] * 1000
    await place.drain()
    assert place.told[-1] == (Step.DRAIN, "shop-web is still in use after 5 s, and is stopped anyway")


async def test_a_proxy_that_is_away_keeps_nothing_from_being_stopped(registry: Registry) -> None:
    place = Place(registry)
    place.proxy.is_down = True
    await place.drain()
    assert place.told == [(Step.DRAIN, "draining shop-web")]


async def test_what_nobody_is_led_to_is_not_drained(registry: Registry) -> None:
    place, without = Place(registry), Place(registry, has_proxy=False)
    await without.drain()
    await place.drain(Container("b" * 64, "x", "x", "", Observed.RUNNING, 1, None, NOW, None, (), {}))
    assert (place.told, without.told, place.proxy.applied) == ([], [], 0)


async def test_maintenance_takes_every_container_from_the_proxy_and_is_remembered(registry: Registry) -> None:
    place = Place(registry)
    assert await place.maintain(on=True) == [("web", Result.UPDATED, "its routes answer 503")]
    assert place.proxy.servers() == {"a" * 12: True}
    assert await place.maintain(on=True) == [("web", Result.UNCHANGED, "is in maintenance already")]
    another = Place(registry)
    await another.node.router.settle()
    assert another.proxy.servers() == {"a" * 12: True}
    assert await another.maintain(on=False) == [("web", Result.UPDATED, "its routes lead to it again")]
    assert another.proxy.servers() == {"a" * 12: False}
    assert await another.maintain(on=False) == [("web", Result.UNCHANGED, "is not in maintenance")]
    events = [each.message for each in await registry.events() if each.kind == "maintenance"]
    assert events == ["its routes answer 503", "its routes lead to it again"]


async def test_maintenance_is_recorded_though_the_proxy_is_away(registry: Registry) -> None:
    place = Place(registry)
    place.proxy.is_down = True
    with pytest.raises(RefusedError, match="recorded, but the proxy could not be told yet: it does not answer"):
        await place.maintain(on=True)
    assert await registry.in_maintenance() == {"shop"}


async def test_maintenance_is_for_what_is_deployed_and_has_routes(registry: Registry) -> None:
    place = Place(registry)
    with pytest.raises(NotFoundError, match="no service blog is deployed on rift; `mcpctl deploy blog` does that"):
        await place.maintain(on=True, service="blog")
    await declare(registry, Component("web", "x"))
    with pytest.raises(RefusedError, match="shop has no routes, so nobody reaches it through the proxy"):
        await place.maintain(on=True)


async def test_maintenance_ends_with_the_service(registry: Registry) -> None:
    await Place(registry).maintain(on=True)
    await registry.forget("shop", ["web"], NOW)
    assert await registry.in_maintenance() == set()
