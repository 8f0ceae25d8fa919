"""Routers for tests, and the proxy and the podman behind one."""

from __future__ import annotations

from typing import Any, cast

import trio

from mcpd.model import Container
from mcpd.registry.store import Registry
from mcpd.routing.proxy import ProxyError
from mcpd.routing.router import Router
from mcpd.routing.table import Table
from mcpd.runtime.podman import Podman


def no_proxy(registry: Registry, podman: object) -> Router:
    """That of a node without a proxy."""
    return Router(registry, cast(Podman, podman))


class PretendedProxy:
    """Has what it was told, unless it is down or somebody changed it."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.is_down = False
        self.changed_by_hand: tuple[str, ...] = ()
        self.applied = 0

    async def differences(self, table: Table) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ProxyError("it does not answer")
        return self.changed_by_hand or (() if table == self.table else ("it has something else",))

    async def apply(self, table: Table) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ProxyError("it does not answer")
        self.table, self.changed_by_hand = table, ()
        self.applied += 1

    def servers(self) -> dict[str, bool]:
        """By their containers' ids, whether each is drained."""
        assert self.table
        return {each.name: each.draining for backend in self.table.backends for each in backend.servers}


class PretendedPodman:
    def __init__(self, *containers: Container) -> None:
        self.there = list(containers)

    async def containers(self, **_: Any) -> tuple[Container, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(self.there)
