"""What the proxy is told while a service is changed: which containers answer, and when an old one has finished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import structlog

from mcpd.changes.node import Node
from mcpd.errors import McpdError
from mcpd.model import Container, Step
from mcpd.runtime import route_ports
from protos.spec import Component

log = structlog.get_logger()

# Records a step before it is taken: the component, the step, and words.
Take = Callable[[str, Step, str], Awaitable[None]]
Report = Callable[[str, Step, str], None]


def is_routed(node: Node, components: Collection[Component]) -> bool:
    """Whether the proxy has to know of any of them."""
    return node.router.listeners is not None and any(each.routes for each in components)


async def drain(node: Node, component: Component, container: Container, take: Take, report: Report) -> None:
    """Takes a container from the proxy, and waits until it has finished what it has begun, `drain_timeout` at most.

    A proxy that cannot be told does not keep a container from being stopped. Raises what ``take`` does.
    """
    if not is_led_to(node, container):
        return
    await take(component.name, Step.DRAIN, f"draining {container.name}")
    node.router.withdraw(container.id)
    await tell(node)
    await finish(node, component.name, container, component.drain_timeout, report)


def is_led_to(node: Node, container: Container) -> bool:
    """Whether the proxy may lead somebody to it."""
    return node.router.listeners is not None and bool(route_ports.read(container.labels)) and bool(container.pid)


async def finish(node: Node, component: str, container: Container, patience: timedelta, report: Report) -> None:
    """Waits until a container that is withdrawn has finished what it has begun, ``patience`` at most."""
    words = f"draining {container.name}"

    def report_left(connections: int) -> None:
        report(component, Step.DRAIN, f"{words}: {connections} {'connection' if connections == 1 else 'connections'}")

    if not await node.router.drained(container, patience, report_left):
        seconds = patience.total_seconds()
        report(component, Step.DRAIN, f"{container.name} is still in use after {seconds:g} s, and is stopped anyway")


async def tell(node: Node) -> None:
    """Tells the proxy of what has changed; one that cannot be told now is told later, and an alert says so."""
    try:
        await node.router.settle()
    except McpdError as error:
        log.warning("the proxy could not be told; trying again", error=str(error))
