"""Changes of a node whose registry takes so many transactions, and none after them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import trio

from mcpd.changes.adopt import Adopt
from mcpd.changes.deploy import Deploy
from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.changes.purge import Purge
from mcpd.changes.recover import Recover
from mcpd.changes.sync import Sync
from mcpd.errors import McpdError, UnwritableError
from mcpd.model import Caller, Container, Role, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.podman import Podman
from monitor.model import Observed, Sighting
from protos.spec import Service
from tests.support.builders import NO_CONFIGS, component, container, service
from tests.support.pretended_podman import PretendedPodman
from tests.support.routes import no_proxy
from tests.support.waiting import DEADLINE_S

T = TypeVar("T")

OPS = Caller("ops", Role.ADMIN)


class Full(Registry):
    """Takes so many transactions, and none after them."""

    def limit(self, left: int) -> None:
        self.left = left

    async def transact(
        self, transaction: Callable[[sqlite3.Connection], T], *, changes_services: bool = False, durable: bool = True
    ) -> T:
        self.left = getattr(self, "left", 1_000_000) - 1
        if self.left < 0:
            raise UnwritableError("mcp.db cannot be written: database or disk is full; free space")
        return await super().transact(transaction, changes_services=changes_services, durable=durable)


class TwoComponents(PretendedPodman):
    """Gives every container that it makes an id of its own, and the labels that were asked for."""

    async def create(self, spec: Mapping[str, Any]) -> str:
        name = str(spec["name"])
        made = container(id=f"new-{name}", name=name, state=Observed.CREATED, labels=dict(spec["labels"]))
        self.found[name] = made
        return made.id

    async def remove_own_network(self, name: str, labels: Mapping[str, str]) -> None:
        await trio.lowlevel.checkpoint()

    def label(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        pass


class Changed:
    """A node with two components that run, whose registry takes so many transactions more."""

    def __init__(self, registry: Full, *containers: Container) -> None:
        self.registry = registry
        self.journal = Journal(registry)
        self.podman = TwoComponents(*containers)
        self.started, self.seen = trio.open_memory_channel[Sighting](100)
        self.node = Node(
            "rift",
            cast(Podman, self.podman),
            registry,
            self.journal,
            self.started,
            NO_CONFIGS,
            no_proxy(registry, self.podman),
        )

    @property
    def running(self) -> set[str]:
        return {each.name for each in self.podman.found.values() if each.is_active}


DB, API = component("db"), component("api", depends_on=("db",))
WEB: Service = service(DB, API)
BOTH = {"web-db", "web-api"}
Act = Callable[[Node, Operation], object]


CHANGES: dict[str, Act] = {
    "start": lambda node, operation: Lifecycle(node, operation).start(),
    "stop": lambda node, operation: Lifecycle(node, operation).stop(),
    "restart": lambda node, operation: Lifecycle(node, operation).restart(),
    "undeploy": lambda node, operation: Lifecycle(node, operation).undeploy(),
    "sync": lambda node, operation: Sync(node, operation).run(service(component("db", image="db:v2"), API)),
    "purge": lambda node, operation: Purge(node, operation).run(()),
    "recover": lambda node, operation: Recover(node, operation).run(),
    "deploy": lambda node, operation: Deploy(node, operation).run(
        service(component("db", image="db:v2"), component("api", image="api:v2", depends_on=("db",))),
        frozenset({"db", "api"}),
    ),
    "adopt": lambda node, operation: Adopt(node, operation).run(frozenset()),
}


async def carry_out(changed: Changed, kind: str) -> tuple[Operation | None, McpdError | None]:
    """Starts a change as a call does, and waits for its end."""
    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)

        async def body(operation: Operation) -> None:
            await CHANGES[kind](changed.node, operation)  # type: ignore[misc]

        try:
            with trio.fail_after(DEADLINE_S):
                operation = await operations.start(kind, Target("web"), OPS, body)
                try:
                    await operation.finished()
                except McpdError as error:
                    return operation, error
                return operation, None
        except McpdError as error:
            return None, error
        finally:
            nursery.cancel_scope.cancel()
