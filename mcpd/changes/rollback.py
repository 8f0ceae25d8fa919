"""Reverts a deploy, or tidies up after it, however far it came: it looks at what podman has.

The deploy that failed a moment ago and the one that a killed daemon left behind are put right by the same code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Coroutine

import structlog
import trio

from mcpd.changes import ports
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, in_dependency_order
from mcpd.changes.surroundings import tidy_configs
from mcpd.errors import McpdError
from mcpd.model import LABEL_NODE, LAST, NEXT, Container, Step
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.podman import Podman

log = structlog.get_logger()

# A container that could not be started may leave its port held for a moment, by conmon or podman's own service.
_PORT_PATIENCE_S = 20.0
_PORT_POLL_S = 0.2


async def roll_back(node: Node, plan: DeployPlan, operation: Operation) -> list[str]:
    """Puts everything back as ``plan`` found it: names, containers, and what ran. Returns what could not be.

    Raises UnavailableError when podman does not answer.
    """
    left = await _Restoration(node.podman, plan, operation).run()
    for path in plan.folders:
        with contextlib.suppress(OSError):  # somebody may have put something there
            await trio.Path(path).rmdir()
    await tidy_configs(node, plan.service.name)
    return left


class _Restoration:
    def __init__(self, podman: Podman, plan: DeployPlan, operation: Operation) -> None:
        self._podman = podman
        self._plan = plan
        self._operation = operation
        self._left: list[str] = []

    async def run(self) -> list[str]:
        now = await self._podman.containers(service=self._plan.service.name)
        # Before anything starts again, so that no old container meets a new one at a port or a name.
        await self._remove_what_is_new(now)
        await self._rename_back(now)
        for each in in_dependency_order(self._plan.components):
            await self._as_it_ran(each, _as_it_is(each, now))
        await self._remove_networks()
        if self._left:
            log.error("a deploy could not be undone completely", operation=self._operation.id, left=self._left)
        return self._left

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
        elif before.is_active and not old.is_active and not each.component.oneshot:
            await self._attempt(each, f"starting {before.name} again", self._start(old.id))
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
