"""A proxy that is only pretended: it has the table that it was told, may be gone, hang, or be changed by hand.

Whatever it takes is looked at in that moment: nobody must be sent to a container that does not listen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec
import trio

from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Server, Table
from mcpd.runtime import route_ports

from .containers import Container
from .podman import PretendedPodman

_ANSWERS_AFTER = 0.001
# After so long an adapter gives up.
_PATIENCE_S = 5.0
# What has ended so recently may have run when mcpd looked.
_LOOK_TAKES_S = 0.05
# A container without a probe counts as up after this, when it is new.
_SETTLES_S = 0.02


class Place(NamedTuple):
    """What the world asks for: a host and a path, at a port of the proxy's."""

    listen: int
    host: str
    path: str


class PretendedProxy:
    """Satisfies `mcpd.routing.proxy.Proxy`, and outlives every daemon.

    ``trouble``: "" or how it does not do what it should: it is ``down``; it ``hangs``, and does nothing; it is
    ``mute``, and does what it is told without saying so.
    """

    def __init__(self, podman: PretendedPodman) -> None:
        self.table = Table()
        self.trouble = ""
        # What it reads when it starts.
        self._written = Table()
        self._podman = podman
        self.gate: Callable[[], None] = lambda: None
        # What must not have been, in words.
        self.faults: list[str] = []
        # Where somebody must answer, whatever it is told.
        self.must_answer: frozenset[Place] = frozenset()
        # When the daemon was started, by Trio's clock.
        self.asked_since = 0.0
        # Components whose containers are not stopped before the proxy sends nobody there any more.
        self.gentle: frozenset[tuple[str, str]] = frozenset()
        # Whether a container must have been found healthy before it answers, and whether it is new.
        self.needs_probe: Callable[[Container], bool] = lambda _: False
        self.is_new: Callable[[Container], bool] = lambda _: False

    # -- as mcpd sees it

    async def differences(self, table: Table) -> tuple[str, ...]:
        await self._answers()
        return () if self.table == table else ("it has another table",)

    async def apply(self, table: Table) -> None:
        self.gate()
        self._written = table
        self._look_at(table)
        if self.trouble == "mute":
            self._take(table)
        await self._answers()
        self._take(table)
        self.gate()

    async def _answers(self) -> None:
        await trio.sleep(_ANSWERS_AFTER)
        if self.trouble == "down":
            raise ProxyError("the proxy does not answer: connection refused")
        if self.trouble:
            await trio.sleep(_PATIENCE_S)
            raise ProxyError(f"the proxy does not answer within {_PATIENCE_S:.0f} s")

    # -- what befalls it

    def starts(self) -> None:
        self.trouble, self.table = "", self._written

    def is_changed_by_hand(self, value: int) -> None:
        """One of its servers is gone, is another, or gets nothing new; or, when there is none, an entry is."""
        backends = [each for each in self.table.backends if each.servers]
        if not backends:
            self.table = msgspec.structs.replace(self.table, entries=self.table.entries[1:])
            return
        chosen = backends[value % len(backends)]
        first, *others = chosen.servers
        changed = (
            (),
            (msgspec.structs.replace(first, port=first.port + 1),),
            (msgspec.structs.replace(first, draining=not first.draining),),
        )[value % 3]
        new = msgspec.structs.replace(chosen, servers=(*changed, *others))
        self.table = msgspec.structs.replace(
            self.table, backends=tuple(new if each is chosen else each for each in self.table.backends)
        )

    # -- what must not be

    def ready(self, place: Place) -> tuple[Server, ...]:
        """Who gets what is new for a place."""
        return _ready(self.table, place)

    def ends(self, container: Container) -> None:
        """podman is about to stop or to remove it."""
        if self.trouble != "down" and container.runs and container.key in self.gentle:
            for backend in self.table.backends:
                if any(each.name == container.short and not each.draining for each in backend.servers):
                    self.faults.append(f"{container.name} is stopped while the proxy sends {backend.name} there")

    def _take(self, table: Table) -> None:
        self.table = table
        self._look_at(table)
        for place in self.must_answer:
            if not any(self._listens(each) for each in _ready(table, place)):
                self.faults.append(f"nobody answers for {place}: {table}")

    def _look_at(self, table: Table) -> None:
        for backend in table.backends:
            service, component, port = backend.name.split(".")
            for server in backend.servers:
                if not server.draining and (why := self._must_not_answer(server, (service, component), port)):
                    self.faults.append(f"{backend.name} leads to {server}, which {why}")

    def _listens(self, server: Server) -> bool:
        container = self._podman.every.get(server.name)
        return container is not None and container.state == "running" and container.forwarded

    def _may_have_been(self, container: Container) -> bool:
        """Whether it was found ill, and a daemon that came later does not know what it had been before."""
        return container.found_ill and container.begun_at < self.asked_since

    def _must_not_answer(self, server: Server, of: tuple[str, str], port: str) -> str:
        container = self._podman.every.get(server.name)
        if container is None:
            return "never was"
        if container.key != of:
            return f"is of {container.key}"
        known = route_ports.read(container.labels).get(port)
        given = known.outside if known else None
        if server.port != given or not any(each.ip == server.host and each.host == given for each in container.ports):
            return f"listens at {given}"
        if not container.runs:
            return "does not run" if trio.current_time() - container.ended_at > _LOOK_TAKES_S else ""
        if container.was_ready:
            return ""
        if self.needs_probe(container) and not container.well and not self._may_have_been(container):
            return "no probe has found healthy"
        if self.is_new(container) and not container.well and trio.current_time() - container.begun_at < _SETTLES_S:
            return "has just started"
        container.was_ready = True
        return ""


def _ready(table: Table, place: Place) -> tuple[Server, ...]:
    names = [each.backend for each in table.entries if (each.listen, each.host, each.path) == place]
    return tuple(server for name in names for server in table.backend(name).servers if not server.draining)


def leads_to(table: Table, keys: Collection[tuple[str, str]]) -> frozenset[Place]:
    """The places for which components among ``keys`` answer."""
    return frozenset(
        Place(each.listen, each.host, each.path)
        for each in table.entries
        if tuple(each.backend.split(".")[:2]) in keys
        and any(not server.draining for server in table.backend(each.backend).servers)
    )
