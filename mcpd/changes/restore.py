"""Takes a deploy back, or tidies up after it, by looking at what podman has: however far it had come.

The deploy that failed a moment ago and the one that a killed daemon left behind are put right by the same code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Coroutine

import structlog

from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, in_dependency_order
from mcpd.errors import McpdError
from mcpd.model import LAST, NEXT, Container, Step
from mcpd.runtime.podman import NoSuchError, Podman, PodmanError

log = structlog.get_logger()


async def restore(podman: Podman, plan: DeployPlan, operation: Operation) -> list[str]:
    """Puts everything back as ``plan`` found it: names, containers, and what ran. Returns what could not be.

    Raises UnavailableError when podman does not answer.
    """
    left: list[str] = []
    now = await podman.containers(service=plan.service.name)
    # Before anything starts again, so that no old container meets a new one at a port or a name.
    for each in plan.components:
        for new in _made_by(each, now):
            await _attempt(left, operation, each, f"removing the new {new.name}", _discard(podman, each, new))
    for each in plan.components:
        old = _as_it_is(each, now)
        if each.current and old and old.name != each.current.name:
            words = f"renaming {old.name} back to {each.current.name}"
            await _attempt(left, operation, each, words, podman.rename(old.id, each.current.name))
    for each in in_dependency_order(plan.components):
        old = _as_it_is(each, now)
        if each.current and old is None:
            left.append(f"{each.current.name} is gone; nothing of this deploy removed it")
        elif each.current and old and each.current.is_active and not old.is_active:
            await _attempt(left, operation, each, f"starting {each.current.name} again", podman.start(old.id))
        elif each.current and old and old.is_active and not each.current.is_active:
            words = f"stopping {each.current.name} again"
            await _attempt(left, operation, each, words, podman.stop(old.id, each.component.stop_timeout))
    if left:
        log.error("a deploy could not be undone completely", operation=operation.id, left=left)
    return left


async def retire(podman: Podman, plan: DeployPlan, operation: Operation) -> None:
    """Removes the old containers of a deploy that counts. What cannot be removed now, the next deploy removes."""
    replaced = {each.container + LAST: each.component.name for each in plan.components if each.action is Action.REPLACE}
    for name, component in (dict.fromkeys(plan.leftovers, "") | replaced).items():
        await operation.take(component, Step.REMOVE, f"removing {name}")
        try:
            await podman.remove(name)
        except McpdError as error:
            log.warning("an old container could not be removed", container=name, error=str(error))


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


async def _attempt(
    left: list[str], operation: Operation, plan: ComponentPlan, words: str, action: Coroutine[object, object, None]
) -> None:
    """One step back; what is not there any more needs none."""
    with contextlib.closing(action):
        await operation.take(plan.component.name, Step.REVERT, words)
        try:
            await action
        except NoSuchError:
            pass
        except PodmanError as error:
            left.append(f"{words}: {error}")
