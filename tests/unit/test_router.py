"""The router keeps the proxy agreeing with the registry and the containers, and tells what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio
from trio.testing import MockClock

from mcpd.errors import RefusedError
from mcpd.model import LAST, Container
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.routing.table import Certificate, Listener
from mcpd.runtime import sockets
from mcpd.runtime.podman import Podman
from mcpd.runtime.route_ports import LABEL_ROUTE_PORTS
from monitor.model import Alert, AlertKind, Observed
from protos.fingerprint import spec_hash
from protos.parts import Health, Route
from protos.spec import Component, Service
from tests.support.routes import PretendedPodman, PretendedProxy

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WEB = Component("web", "x:v1", routes=(Route("shop.example.net", port=8080),), drain_timeout=timedelta(seconds=5))


class Shelf:
    def __init__(self, *certificates: Certificate) -> None:
        self.certificates = certificates

    async def read(self) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
        await trio.lowlevel.checkpoint()
        return self.certificates, ()


class Messenger:
    def __init__(self) -> None:
        self.sent: list[Alert] = []

    def submit(self, alert: Alert) -> None:
        self.sent.append(alert)


class Place:
    """A node's router, with one service that has a route."""

    def __init__(self, registry: Registry, *containers: Container, shelf: Shelf | None = None) -> None:
        self.registry = registry
        self.proxy = PretendedProxy()
        self.podman = PretendedPodman(*containers)
        self.messenger = Messenger()
        self.ledger = MonitorLedger(registry, "rift")
        self.shelf = shelf
        self.router = self.another()

    def another(self) -> Router:
        """As a daemon that has just started makes it."""
        listeners = (Listener(443, "0.0.0.0", True),)
        return Router(self.registry, cast(Podman, self.podman), self.proxy, listeners, self.shelf, range(20000, 20004))

    async def keep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.router.keep(self.ledger, self.messenger)

    def told(self) -> list[tuple[AlertKind, str]]:
        return [(each.kind, each.reason) for each in self.messenger.sent]


def container(number: str = "a", name: str = "shop-web", port: int = 20000) -> Container:
    labels = {"mcp.service": "shop", "mcp.component": "web", LABEL_ROUTE_PORTS: f"8080={port}/8080"}
    return Container(number * 64, name, "x:v1", "", Observed.RUNNING, 1, None, NOW, None, (), labels)


@pytest.fixture
async def registry(tmp_path: Path) -> Any:
    async with Registry.open(tmp_path / "mcp.db") as opened:
        await declare(opened, WEB)
        yield opened


async def declare(registry: Registry, component: Component) -> None:
    service = Service("shop", "rift", (component,))
    await registry.put_service(service, {"web": spec_hash(component)}, NOW)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many are connected to a container, at one look after another."""
    looks: list[int | None] = []

    async def look(pid: int, ports: Iterable[int]) -> int | None:
        assert (pid, set(ports)) == (1, {8080})
        await trio.lowlevel.checkpoint()
        return looks.pop(0) if looks else 0

    monkeypatch.setattr(sockets, "served", look)
    return looks


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps to whatever is next waits for no thread."""

    async def run_sync(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


async def test_what_runs_answers(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    place = Place(registry, container())
    await place.keep(1)
    assert place.proxy.servers() == {"a" * 12: False}
    assert place.told() == []
    assert place.router.state.problem == ""


async def test_a_probe_has_to_find_it_healthy_first(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    await declare(registry, msgspec.structs.replace(WEB, health=Health(tcp="127.0.0.1:1")))
    place = Place(registry, container())
    await place.keep(1)
    assert place.proxy.servers() == {}
    place.router.admit("a" * 64)
    await place.router.settle()
    assert place.proxy.servers() == {"a" * 12: False}
    # A run of its own has to be found healthy again.
    place.podman.there = [msgspec.structs.replace(container(), started_at=NOW + timedelta(seconds=1))]
    await place.router.settle()
    assert place.proxy.servers() == {}


async def test_nobody_is_admitted_while_an_operation_is_at_work(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    place = Place(registry, container())
    place.router.is_busy = lambda service: service == "shop"
    await place.keep(1)
    assert place.proxy.servers() == {}


async def test_a_swap_has_somebody_answer_at_every_moment(registry: Registry) -> None:
    place = Place(registry, container())
    await place.router.settle()
    place.router.is_busy = lambda _: True
    place.podman.there = [container(), container("b", "shop-web.next", 20001)]
    await place.router.settle()
    assert place.proxy.servers() == {"a" * 12: False}
    place.router.admit("b" * 64)
    place.podman.there = [container("a", f"shop-web{LAST}"), container("b", "shop-web", 20001)]
    await place.router.settle()
    assert place.proxy.servers() == {"a" * 12: True, "b" * 12: False}
    place.podman.there.pop(0)
    await place.router.settle()
    assert place.proxy.servers() == {"b" * 12: False}


async def test_a_proxy_that_stays_away_is_told_once_and_again_when_it_is_back(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    place = Place(registry, container())
    place.proxy.is_down = True
    await place.keep(4)
    assert place.told() == []
    await place.keep(60)
    words = "the proxy does not have the routes that it should have: it does not answer"
    assert place.told() == [(AlertKind.ROUTE, words)]
    # Another daemon does not tell it again.
    place.router = place.another()
    await place.keep(60)
    assert len(place.told()) == 1
    place.proxy.is_down = False
    await place.keep(20)
    events = [each.message for each in await registry.events() if each.kind == "route"]
    assert events == [words, "the proxy has the routes again"]
    assert place.proxy.servers() == {"a" * 12: False}


async def test_a_hand_in_the_table_is_mended_and_told_once_in_a_while(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    place = Place(registry, container())
    await place.keep(1)
    for _ in range(3):
        place.proxy.changed_by_hand = ("shop.web.8080 has no server aaaaaaaaaaaa",)
        await place.keep(7)
        assert place.proxy.changed_by_hand == ()
    words = "the proxy had something else than mcpd had told it, which was mended: shop.web.8080 has no server"
    assert [kind for kind, _ in place.told()] == [AlertKind.ROUTE]
    assert place.told()[0][1].startswith(words)


async def test_the_first_look_of_a_daemon_mends_and_tells_nobody(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    place = Place(registry, container())
    place.proxy.changed_by_hand = ("it has something else",)
    await place.keep(10)
    assert (place.proxy.servers(), place.told()) == ({"a" * 12: False}, [])


async def test_a_certificate_that_ends_soon_is_told_once(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    soon = datetime.now(UTC) + timedelta(days=29)
    ending = Certificate(Path("/certs/shop.pem"), ("shop.example.net",), soon, "f1")
    place = Place(registry, container(), shelf=Shelf(ending, Certificate(Path("/x"), ("other.net",), soon, "f2")))
    await place.keep(20)
    ((kind, words),) = place.told()
    assert kind is AlertKind.EXPIRY
    assert words.startswith("the certificate of shop.example.net ends on ")
    assert words.endswith("replace /certs/shop.pem by a newer one")
    place.router = place.another()
    await place.keep(20)
    assert len(place.told()) == 1


async def test_a_drain_ends_with_the_last_connection_or_after_its_time(
    registry: Registry,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
    served: list[int | None],
) -> None:
    place = Place(registry, container())
    reported: list[int] = []
    served += [2, 3, *[2] * 15, 1, 0]  # told once a second
    assert await place.router.drained(container(), WEB.drain_timeout, reported.append)
    assert reported == [2, 1]
    served += [1] * 1000
    began = trio.current_time()
    assert not await place.router.drained(container(), WEB.drain_timeout, reported.append)
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)
    # Its process has ended.
    served[:] = [None]
    assert await place.router.drained(container(), WEB.drain_timeout, reported.append)


async def test_ports_are_given_in_turn_and_only_free_ones(registry: Registry) -> None:
    place = Place(registry, container(port=20002))
    given = [(await place.router.assign(WEB))["8080"] for _ in range(3)]
    assert sorted(given) == [20000, 20001, 20003]
    place.podman.there = [container(port=port) for port in range(20000, 20004)]
    with pytest.raises(RefusedError, match="every port from 20000 to 20003 is taken"):
        await place.router.assign(WEB)
    assert await place.router.assign(Component("db", "x")) == {}


async def test_without_a_proxy_nothing_is_done(registry: Registry) -> None:
    router = Router(registry, cast(Podman, PretendedPodman()))
    await router.settle()
    assert router.listeners is None
    assert await router.assign(WEB) == {}
