"""Reverts a deploy, or tidies up after it, however far it came: it looks at what podman has.

The deploy that failed a moment ago and the one that a killed daemon left behind are put right by the same code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Coroutine
from datetime import timedelta

import structlog
import trio

from mcpd.changes import ports, traffic
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, in_dependency_order
from mcpd.changes.surroundings import tidy_configs
from mcpd.errors import McpdError
from mcpd.model import LABEL_NODE, LAST, NEXT, Container, Step
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.podman import Podman
from protos.spec import Component

log = structlog.get_logger()

# A container that could not be started may leave its port held for a moment, by conmon or podman's own service.
_PORT_PATIENCE_S = 20.0
_PORT_POLL_S = 0.2
# How long the proxy may take to be told, and a new container to finish, while a deploy is put back: all of that has a
# deadline, and containers are what matters.
_TELL_S = 20.0
_FINISH = timedelta(seconds=10)


async def roll_back(node: Node, plan: DeployPlan, operation: Operation) -> list[str]:
    """Puts everything back as ``plan`` found it: names, containers, and what ran. Returns what could not be.

    Raises UnavailableError when podman does not answer.
    """
    left = await _Restoration(node, plan, operation).run()
    for path in plan.folders:
        with contextlib.suppress(OSError):  # somebody may have put something there
            await trio.Path(path).rmdir()
    await tidy_configs(node, plan.service.name)
    return left


class _Restoration:
    def __init__(self, node: Node, plan: DeployPlan, operation: Operation) -> None:
        self._node = node
        self._podman = node.podman
        self._plan = plan
        self._operation = operation
        self._left: list[str] = []

    async def run(self) -> list[str]:
        now = await self._podman.containers(service=self._plan.service.name)
        await self._give_back_routes(now)
        # Before anything starts again, so that no old container meets a new one at a port or a name.
        await self._remove_what_is_new(now)
        await self._rename_back(now)
        for each in in_dependency_order(self._plan.components):
            await self._as_it_ran(each, _as_it_is(each, now))
        await self._remove_networks()
        if any(each.is_routed for each in self._plan.components):
            with trio.move_on_after(_TELL_S):
                await traffic.tell(self._node)
        if self._left:
            log.error("a deploy could not be undone completely", operation=self._operation.id, left=self._left)
        return self._left

    async def _give_back_routes(self, now: Collection[Container]) -> None:
        """What runs still answers again, before what is new goes, which finishes what it has begun."""
        routed = [each for each in self._plan.components if each.is_routed]
        new = [(each, made) for each in routed for made in _made_by(each, now) if made.is_active]
        if not routed or self._node.router.listeners is None:
            return
        for each in routed:
            if (old := _as_it_is(each, now)) and old.is_active:
                self._node.router.admit(old.id)
        for each, made in new:
            await self._operation.take_back(each.component.name, f"draining the new {made.name}")
            self._node.router.withdraw(made.id)
        # What was there before is worth more than what the new one has begun.
        with trio.move_on_after(_TELL_S):
            await traffic.tell(self._node)
        async with trio.open_nursery() as nursery:
            for each, made in new:
                name, patience = each.component.name, min(each.component.drain_timeout, _FINISH)
                nursery.start_soon(traffic.finish, self._node, name, made, patience, self._operation.report)

    async def _remove_what_is_new(self, now: Collection[Container]) -> None:
        # First those that share a namespace with others: podman keeps what others still need.
        for each in reversed(in_dependency_order(self._plan.components)):
            for new in _made_by(each, now):
                await self._attempt(each, f"removing the new {new.name}", _discard(self._podman, each, new))

    async def _rename_back(self, now: Collection[Container]) -> None:
        for each in self._plan.components:
            old = _as_it_is(each, now)
            if each.current and old and old.name != each.current.name:
                words = f"renaming {old.name} back to {each.current.name}"
                await self._attempt(each, words, self._podman.rename(old.id, each.current.name))

    async def _as_it_ran(self, each: ComponentPlan, old: Container | None) -> None:
        """Starts again what ran, and stops what did not."""
        before = each.current
        if before is None:
            return
        if old is None:
            self._left.append(f"{before.name} is gone, and this deploy did not remove it")
        elif before.is_active and not old.is_active and not _ends(each):
            await self._attempt(each, f"starting {before.name} again", self._start(old.id))
            if each.is_routed:
                self._node.router.admit(old.id)
        elif old.is_active and not before.is_active:
            stop = self._podman.stop(old.id, each.component.stop_timeout)
            await self._attempt(each, f"stopping {before.name} again", stop)

    async def _start(self, container: str) -> None:
        """Starts it; what podman still holds for a container that it has just removed, it lets go of soon."""
        with trio.move_on_after(_PORT_PATIENCE_S):
            while True:
                try:
                    await self._podman.start(container)
                    return
                except PodmanError as error:
                    if not ports.is_taken(str(error)):
                        raise
                await trio.sleep(_PORT_POLL_S)
        await ports.start_alone(self._podman, container)

    async def _remove_networks(self) -> None:
        service = self._plan.service
        new = [each.component for each in self._plan.components if each.is_made_anew]
        for name in sorted({network.name for each in new for network in each.joins(service.name)}):
            await self._operation.take_back("", f"removing network {name}, unless it is in use")
            await self._podman.remove_own_network(name, {LABEL_NODE: service.node})

    async def _attempt(self, plan: ComponentPlan, words: str, action: Coroutine[object, object, None]) -> None:
        """One step back. What is no longer there needs none."""
        with contextlib.closing(action):
            await self._operation.take_back(plan.component.name, words)
            try:
                await action
            except NoSuchError:
                pass
            except (PodmanError, ports.TakenError) as error:
                self._left.append(f"{words}: {error}")


async def retire(node: Node, plan: DeployPlan, operation: Operation) -> None:
    """Removes what a committed deploy replaced: containers, and networks and configs that nothing uses any more.

    The next deploy removes the containers that cannot be removed now.
    """
    await _let_go(node, plan, operation)
    # Those that share a namespace with others come first.
    ordered = reversed(in_dependency_order(plan.components))
    replaced = {each.container + LAST: each.component.name for each in ordered if each.action is Action.REPLACE}
    for name, component in (dict.fromkeys(plan.leftovers, "") | replaced).items():
        await operation.take_anyhow(component, Step.REMOVE, f"removing {name}")
        try:
            await node.podman.remove(name)
        except McpdError as error:
            log.warning("an old container could not be removed", container=name, error=str(error))
    for name in plan.networks_left:
        await operation.take_anyhow("", Step.NETWORK, f"removing network {name}, unless it is in use")
        await node.podman.remove_own_network(name, {LABEL_NODE: node.name})
    await tidy_configs(node, plan.service.name)


async def _let_go(node: Node, plan: DeployPlan, operation: Operation) -> None:
    """Stops what a committed deploy has left running beside what is new, each when it has finished what it began."""
    beside = {each.container + LAST: each for each in plan.components if each.starts_first}
    if not beside:
        return
    try:
        now = {each.name: each for each in await node.podman.containers(service=plan.service.name)}
    except McpdError as error:
        log.warning("old containers could not be looked at; they are removed undrained", error=str(error))
        return

    async def one(old: Container, component: Component) -> None:
        await traffic.drain(node, component, old, operation.take_anyhow, operation.report)
        await operation.take_anyhow(component.name, Step.STOP, f"stopping {old.name}")
        try:
            await node.podman.stop(old.id, component.stop_timeout)
        except McpdError as error:
            log.warning("an old container could not be stopped", container=old.name, error=str(error))

    async with trio.open_nursery() as nursery:
        for name, each in beside.items():
            if name in now and now[name].is_active:
                nursery.start_soon(one, now[name], each.component)


def _ends(plan: ComponentPlan) -> bool:
    """Whether what was there before does its work and ends, so that nobody starts it again."""
    return plan.component.ends if plan.ended_by_itself is None else plan.ended_by_itself


def _made_by(plan: ComponentPlan, now: Collection[Container]) -> list[Container]:
    """The containers that the deploy made for the component."""
    if not plan.is_made_anew:
        return []
    names = (plan.container, plan.container + NEXT)
    old = plan.current.id if plan.current else ""
    return [each for each in now if each.component == plan.component.name and each.name in names and each.id != old]


def _as_it_is(plan: ComponentPlan, now: Collection[Container]) -> Container | None:
    """The component's old container, wherever it is now."""
    return next((each for each in now if plan.current and each.id == plan.current.id), None)


async def _discard(podman: Podman, plan: ComponentPlan, new: Container) -> None:
    """Stops a new container, and removes it before any other is started again.

    Only the removal waits until podman has taken its network down. A predecessor that comes back sooner loses the
    firewall rules of the port that both publish, and runs without being reachable.
    """
    with contextlib.suppress(PodmanError):
        await podman.stop(new.id, plan.component.stop_timeout)
    await podman.remove(new.id)
