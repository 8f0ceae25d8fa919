"""Makes the proxy agree with the registry and the containers, and keeps it so.

Who changes a service says when its new container may answer (`admit`) and that an old one may not any more
(`withdraw`), and has the proxy told at once (`settle`). Everything else, a proxy that was restarted, a table that was
changed by hand, a container that died or was healed, `keep` finds and mends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NoReturn, Protocol

import msgspec
import structlog
import trio

from mcpd.errors import McpdError, RegistryError
from mcpd.model import Container, RecordedService
from mcpd.registry.store import Registry
from mcpd.routing import desired
from mcpd.routing.desired import Routed
from mcpd.routing.news import Ledger, Messenger, News, ending
from mcpd.routing.port_numbers import PortNumbers
from mcpd.routing.proxy import Proxy, ProxyError
from mcpd.routing.table import Certificate, Listener, Table
from mcpd.runtime import route_ports, sockets
from mcpd.runtime.podman import Podman
from monitor.model import Observed, SourceState
from protos.spec import Component

log = structlog.get_logger()

# How often the proxy is asked what it has, if nothing happens; what somebody did to its table is mended by then.
_ASK_S = 5.0
# So much is between two tries while the proxy cannot be told: it is not to be busy with that.
_AGAIN_S = 2.0
# At least so much is between two looks, however much happens.
_BREATH_S = 0.2
_DRAIN_POLL_S = 0.1
# A drain tells how many are left, and not of everyone who goes.
_REPORT_AGAIN_S = 1.0
# The longest that one look and one change may take; the adapters' own deadlines are shorter.
_TURN_S = 120.0


class State(msgspec.Struct, frozen=True):
    """How it stands: the components with routes, and "" or why the proxy does not have what it should have.

    ``certificate_problems``: files in the folder that cannot be used, in words. ``table``: what the proxy should have.
    """

    routed: tuple[Routed, ...]
    certificates: tuple[Certificate, ...]
    problem: str
    certificate_problems: tuple[str, ...] = ()
    table: Table = Table()


class Shelf(Protocol):
    """The folder of certificates."""

    async def read(self) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
        """Those that can be used, and why others cannot."""


class Router:
    """The proxy of a node; without ``proxy`` there are no routes, and everything here does nothing."""

    def __init__(
        self,
        registry: Registry,
        podman: Podman,
        proxy: Proxy | None = None,
        listeners: Collection[Listener] = (),
        shelf: Shelf | None = None,
        ports: range = range(20000, 30000),
    ) -> None:
        self._registry = registry
        self._podman = podman
        self._proxy = proxy
        self._listeners = tuple(sorted(listeners))
        self._shelf = shelf
        self._turn = trio.Lock()
        # Containers that may answer, by their ids, each with the start since which it may; None: the one that is found
        # at the next look.
        self._admitted: dict[str, datetime | None] = {}
        # What the registry has of them; None: nobody has looked yet.
        self._kept: Mapping[str, datetime | None] | None = None
        # Containers that are about to be stopped, with their starts: who starts one again does not have to say so.
        self._withdrawn: dict[str, datetime | None] = {}
        # What deploys are about to commit.
        self._coming: dict[str, tuple[Component, ...]] = {}
        self._applied: Table | None = None
        self._state = State((), (), "")
        self._failing_since: float | None = None
        self._since = datetime.now(UTC)
        self._news = News()
        self._numbers = PortNumbers(podman, ports)
        self.is_busy: Callable[[str], bool] = lambda _: False

    @property
    def listeners(self) -> tuple[Listener, ...] | None:
        """Where the proxy listens; None when there is none."""
        return self._listeners if self._proxy else None

    @property
    def state(self) -> State:
        """As it was last seen or made."""
        return self._state

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """Whether the proxy has what it should have; nothing where there is none."""
        if self._proxy is None:
            return ()
        detail = self._state.problem or "it has the routes"
        return (SourceState("proxy", not self._state.problem, detail, self._since),)

    @property
    def has_certificates(self) -> bool:
        """Whether it has a folder with certificates: otherwise somebody else sees to them, say an ACME client."""
        return self._shelf is not None

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        return self._state.certificates

    # -- what operations say

    def admit(self, container: str) -> None:
        """The container is up: it may answer from now on, until it is withdrawn or starts again."""
        self._withdrawn.pop(container, None)
        self._admitted[container] = None

    def withdraw(self, container: str) -> None:
        """The container is about to be stopped: it gets nothing new, until it is admitted or starts again."""
        self._withdrawn[container] = None

    def expect(self, service: str, components: Collection[Component]) -> None:
        """What a deploy is about to commit: these components' routes are in force from the next `settle` on."""
        self._coming[service] = tuple(components)

    def expect_nothing(self, service: str) -> None:
        """The deploy was committed, or put back."""
        self._coming.pop(service, None)

    async def settle(self) -> None:
        """Has the proxy told, and returns when it says that it has everything. Raises McpdError."""
        if self._proxy is None:
            return
        try:
            with trio.fail_after(_TURN_S):
                async with self._turn:
                    table = await self._look()
                    await self._apply(self._proxy, table)
        except trio.TooSlowError:
            raise ProxyError(f"the proxy could not be told within {_TURN_S:.0f} s; mcpd goes on trying") from None

    async def drained(self, container: Container, patience: timedelta, report: Callable[[int], None]) -> bool:
        """Waits until nobody is connected to a withdrawn container's route ports, ``patience`` at most.

        Returns whether that is so. ``report`` is called with the number of connections, once a second while it changes.
        """
        numbers = {each.inside for each in route_ports.read(container.labels).values()}
        last, reported_at = -1, -_REPORT_AGAIN_S
        with trio.move_on_after(patience.total_seconds()):
            while left := await sockets.served(container.pid, numbers) if container.pid else None:
                now = trio.current_time()
                if left != last and now - reported_at >= _REPORT_AGAIN_S:
                    report(left)
                    last, reported_at = left, now
                await trio.sleep(_DRAIN_POLL_S)
            return True
        return False

    async def assign(self, component: Component) -> Mapping[str, int]:
        """A port of the node for each port that routes of ``component`` go to. Raises McpdError."""
        return await self._numbers.assign(component) if self._proxy else {}

    # -- keeping it so

    async def keep(self, ledger: Ledger, messenger: Messenger) -> NoReturn:
        """Asks and mends until cancelled."""
        if self._proxy is None:
            await trio.sleep_forever()
        while True:
            event = self._registry.newest_event
            try:
                with trio.move_on_after(_TURN_S):
                    await self._keep_once(self._proxy, ledger, messenger)
            except RegistryError as error:
                log.error("routes could not be looked at, or told of; trying again", error=str(error))
            except Exception:
                # A bug of ours about routes: everything else of the node stays in the operator's hands.
                log.exception("routes could not be looked at because of a bug; trying again")
            await trio.sleep(_BREATH_S if self._failing_since is None else _AGAIN_S)
            with trio.move_on_after(_ASK_S):
                await self._registry.event_after(event)

    async def _keep_once(self, proxy: Proxy, ledger: Ledger, messenger: Messenger) -> None:
        drift: tuple[str, ...] = ()
        try:
            async with self._turn:
                table = await self._look()
                if table != self._applied:
                    # Also when it does not answer: it may be about to start, and then reads what is written for it.
                    await self._apply(proxy, table)
                elif drift := await proxy.differences(table):
                    await self._apply(proxy, table)
                else:
                    self._succeeded()
        except ProxyError as error:
            self._failed(str(error))
        except RegistryError:
            raise
        except McpdError as error:
            log.debug("routes could not be looked at", error=str(error))  # podman's own trouble, told by itself
            return
        state = self._state
        ends = ending(state.routed, state.certificates, datetime.now(UTC))
        await self._news.tell(ledger, messenger, state.problem, self._failing_since, drift, ends)

    async def _look(self) -> Table:
        """What the proxy should have now. Raises McpdError."""
        if self._kept is None:
            # Whoever answers goes on, whatever happens to mcpd.
            self._kept = await self._registry.admitted()
            self._admitted = {**self._kept, **self._admitted}
        services = {each.name: each for each in await self._registry.services()}
        components = desired.in_force(services.values(), self._coming)
        known_before = {number for number, start in self._admitted.items() if start is not None}
        in_maintenance = await self._registry.in_maintenance() if components else frozenset()
        every: list[Routed] = []
        there: set[str] = set()
        for name, of in components.items():
            containers = await self._podman.containers(service=name)
            there |= {each.id for each in containers}
            withdrawn = {each.id for each in containers if self._is_withdrawn(each)}
            for component in of:
                recorded = services[name].component(component.name) if name in services else None
                judge = partial(self._is_admitted, services.get(name), component)
                every.append(
                    desired.routed(
                        name,
                        component,
                        containers,
                        judge,
                        withdrawn,
                        in_maintenance=name in in_maintenance,
                        is_at_work=self.is_busy(name),
                        is_deployed=name in self._coming or bool(recorded and recorded.deployed),
                    )
                )
        # What was admitted while we looked may not be among what we have seen.
        for number in known_before - there:
            self._admitted.pop(number, None)
        self._withdrawn = {number: start for number, start in self._withdrawn.items() if number in there}
        await self._keep_admitted()
        certificates, unusable = await self._shelf.read() if self._shelf else ((), ())
        table = desired.table(every, self._listeners, certificates)
        self._state = State(tuple(every), certificates, self._state.problem, unusable, table)
        return table

    async def _keep_admitted(self) -> None:
        """Before the proxy is told."""
        known = {number: start for number, start in self._admitted.items() if start is not None}
        if known == self._kept:
            return
        try:
            await self._registry.keep_admitted(known)
            self._kept = known
        except RegistryError as error:
            log.warning("who may answer could not be recorded; another mcpd asks their probes", error=str(error))

    def _is_withdrawn(self, container: Container) -> bool:
        if container.id not in self._withdrawn:
            return False
        start = self._withdrawn[container.id]
        if start not in (None, container.started_at):
            del self._withdrawn[container.id]
            return False
        self._withdrawn[container.id] = container.started_at
        return True

    def _is_admitted(self, service: RecordedService | None, component: Component, container: Container) -> bool:
        """Whether it may answer. What nobody is at work on may when it runs, or when its probe finds it healthy."""
        if container.id in self._admitted and self._admitted[container.id] in (None, container.started_at):
            self._admitted[container.id] = container.started_at
            return True
        if service is None or not container.is_settled or self.is_busy(service.name):
            return False
        recorded = service.component(component.name)
        seen = recorded.observed if recorded and recorded.container_id == container.id else Observed.UNKNOWN
        # It is asked as it is declared, which a sync may have changed since it was deployed.
        probe = recorded.spec.probe if recorded else component.probe
        # What becomes ill later goes on answering: nobody else would.
        if probe is None or seen is Observed.HEALTHY:
            self._admitted[container.id] = container.started_at
            return True
        return False

    async def _apply(self, proxy: Proxy, table: Table) -> None:
        try:
            await proxy.apply(table)
        except ProxyError as error:
            self._applied = None
            self._failed(str(error))
            raise
        except (OSError, LookupError, ValueError) as error:
            log.exception("the proxy could not be told because of a bug")
            self._applied = None
            self._failed(words := f"mcpd could not tell the proxy because of a bug, {error!r}; its log has more")
            raise ProxyError(words) from error
        self._applied = table
        self._succeeded()

    def _failed(self, problem: str) -> None:
        if self._failing_since is None:
            self._failing_since, self._since = trio.current_time(), datetime.now(UTC)
            log.warning("the proxy does not have the routes that it should have", error=problem)
        self._state = msgspec.structs.replace(self._state, problem=problem)

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            self._since = datetime.now(UTC)
            log.info("the proxy has the routes again")
        self._failing_since = None
        self._state = msgspec.structs.replace(self._state, problem="")
