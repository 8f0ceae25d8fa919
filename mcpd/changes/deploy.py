"""Carries a deploy plan out: all of it, or none of it.

What can fail without touching what runs comes first: conflicts, pulls, networks. Then each component's replacement is
created beside the old container, which is stopped and kept until every component has taken over. When any step fails,
what was changed is changed back, in reverse order, and what ran before runs again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
import trio

from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, plan_deploy, waits_for
from mcpd.changes.verify import comes_up
from mcpd.errors import ConflictError, McpdError, RefusedError
from mcpd.model import LABEL_NODE, LAST, NEXT, Container, Outcome, Result, Step
from mcpd.registry.store import Registry
from mcpd.runtime.create import container_spec, own_network
from mcpd.runtime.podman import NoSuchError, Podman, PodmanError
from protos.spec import Component, Service

log = structlog.get_logger()

# How long a container without a probe must stay up to count as started. A program that cannot start (bad argument,
# missing file) ends within milliseconds; a predecessor to go back to is worth a longer look.
SETTLE_NEW_S = 0.02
SETTLE_REPLACED_S = 0.5
# Putting things back goes on after the caller has left and while mcpd shuts down; it must end, too.
_REVERT_DEADLINE_S = 120.0

_RESULTS = {
    Action.CREATE: Result.CREATED,
    Action.REPLACE: Result.REPLACED,
    Action.START: Result.STARTED,
    Action.STOP: Result.STOPPED,
    Action.RENAME: Result.UPDATED,
    Action.NONE: Result.UNCHANGED,
}


class StepFailedError(Exception):
    """A step for one component did not work. Never leaves this module."""

    def __init__(self, component: str, step: Step, cause: McpdError) -> None:
        super().__init__(f"{component or 'the service'} failed at {step}: {cause}")
        self.component = component


class _Undo(NamedTuple):
    """How to take one step back, noted before the step is taken."""

    component: str
    words: str
    action: Callable[[], Awaitable[None]]


class Deploy:
    """One deploy of a service, or of those components of it that are ``selected``."""

    def __init__(self, podman: Podman, registry: Registry, node: str, operation: Operation) -> None:
        self._podman = podman
        self._registry = registry
        self._node = node
        self._operation = operation
        self._undo: list[_Undo] = []

    async def run(self, service: Service, selected: frozenset[str], *, force: bool) -> None:
        """Raises ConflictError before anything was touched, RefusedError after everything was put back."""
        plan = plan_deploy(service, selected, await self._relevant(service), force=force)
        if plan.conflicts:
            raise ConflictError("; ".join(plan.conflicts))
        try:
            await self._prepare(plan)
            await self._carry_out(plan)
            await self._registry.put_service(
                service, {each.component.name: each.spec_hash for each in plan.components}, datetime.now(UTC)
            )
        except BaseException as error:
            failed = _step_failure(error)
            left = await self._revert()
            if failed is None:
                raise
            self._conclude_reverted(plan, failed, left)
            raise RefusedError(f"deploy of {self._operation.target}: {failed}; {_aftermath(left)}") from None
        await self._retire(plan)
        await self._conclude(plan)

    # -- before anything is touched

    async def _relevant(self, service: Service) -> list[Container]:
        """The service's containers, and whoever else has a name that it needs. Listing all would cost 0.3 ms each."""
        ours = await self._podman.containers(service=service.name)
        names = [service.container(name) for name in service.component_names]
        known = {each.id for each in ours}
        return [*ours, *(each for each in await self._podman.containers(names=names) if each.id not in known)]

    async def _prepare(self, plan: DeployPlan) -> None:
        new = [each.component for each in plan.components if each.action in (Action.CREATE, Action.REPLACE)]
        async with trio.open_nursery() as nursery:
            # The first component that needs an image is named in its progress and errors.
            for image, component in {each.image: each.name for each in reversed(new)}.items():
                nursery.start_soon(self._have_image, image, component)
        for network, component in {own_network(each): each.name for each in reversed(new)}.items():
            if network:
                await self._have_network(network, component)

    async def _have_image(self, image: str, component: str) -> None:
        async with self._step(component, Step.PULL):
            if await self._podman.has_image(image):
                return
            if image.startswith("localhost/"):
                raise RefusedError(f"{image} is not on this node, and localhost/ is no registry; build or load it here")
            self._operation.report(component, Step.PULL, f"pulling {image}")
            async with contextlib.aclosing(self._podman.pull(image)) as lines:
                async for line in lines:
                    self._operation.report(component, Step.PULL, line)

    async def _have_network(self, network: str, component: str) -> None:
        async with self._step(component, Step.NETWORK):
            if not await self._podman.has_network(network):
                self._operation.report(component, Step.NETWORK, f"creating network {network}")
                await self._podman.create_network(network, {LABEL_NODE: self._node})

    # -- the change itself

    async def _carry_out(self, plan: DeployPlan) -> None:
        """Every component, each as soon as those that it depends on are up."""
        waits = waits_for([each.component for each in plan.components])
        up = {name: trio.Event() for name in waits}

        async def one(each: ComponentPlan) -> None:
            for name in waits[each.component.name]:
                await up[name].wait()
            await self._apply(each)
            up[each.component.name].set()

        async with trio.open_nursery() as nursery:
            for each in plan.components:
                nursery.start_soon(one, each)

    async def _apply(self, plan: ComponentPlan) -> None:
        name, old = plan.container, plan.current
        if plan.action is Action.CREATE:
            await self._create(plan, name)
            await self._start(plan, SETTLE_NEW_S)
        elif plan.action is Action.START:
            await self._start(plan, SETTLE_REPLACED_S)
        elif old and plan.action is Action.REPLACE:
            await self._clear(plan, name + NEXT)
            new = await self._create(plan, name + NEXT)
            await self._stop(plan, old.name)
            await self._rename(plan, old.name, name + LAST)
            self._undo_before_others(new)
            async with self._step(plan.component.name, Step.RENAME, f"renaming {name}{NEXT} to {name}"):
                await self._podman.rename(name + NEXT, name)
            await self._start(plan, SETTLE_REPLACED_S)
        elif old and plan.action is Action.RENAME:
            await self._rename(plan, old.name, name)
        elif old and plan.action is Action.STOP:
            await self._stop(plan, old.name)

    async def _clear(self, plan: ComponentPlan, name: str) -> None:
        """Removes what a killed deploy may have left under a temporary name."""
        async with self._step(plan.component.name, Step.CREATE):
            await self._podman.remove(name)

    async def _create(self, plan: ComponentPlan, name: str) -> _Undo:
        component = plan.component
        container = name  # by id as soon as it is known, since the name will change
        undo = self._will_undo(
            component, f"removing the new {plan.container}", lambda: self._discard(component, container)
        )
        spec = container_spec(name, self._node, self._operation.target.service, component, plan.spec_hash)
        async with self._step(component.name, Step.CREATE, f"creating {name} from {component.image}"):
            container = await self._podman.create(spec)
        return undo

    async def _stop(self, plan: ComponentPlan, name: str) -> None:
        if plan.current is None or not plan.current.is_active:
            return
        component = plan.component
        self._will_undo(component, f"starting {name} again", lambda: self._podman.start(name))
        async with self._step(component.name, Step.STOP, f"stopping {name}"):
            await self._podman.stop(name, component.stop_timeout)

    async def _rename(self, plan: ComponentPlan, name: str, to: str) -> None:
        component = plan.component
        self._will_undo(component, f"renaming {to} back to {name}", lambda: self._podman.rename(to, name))
        async with self._step(component.name, Step.RENAME, f"renaming {name} to {to}"):
            await self._podman.rename(name, to)

    async def _start(self, plan: ComponentPlan, settle: float) -> None:
        if not plan.runs:
            return
        component, name = plan.component, plan.container
        if plan.action is Action.START:
            self._will_undo(component, f"stopping {name}", lambda: self._podman.stop(name, component.stop_timeout))
        async with self._step(component.name, Step.START, f"starting {name}"):
            await self._podman.start(name)
        waiting = f"waiting until {name} is healthy" if component.health else ""
        async with self._step(component.name, Step.VERIFY, waiting):
            await comes_up(self._podman, name, component.health, settle)

    # -- and back

    def _will_undo(self, component: Component, words: str, action: Callable[[], Awaitable[None]]) -> _Undo:
        undo = _Undo(component.name, words, action)
        self._undo.append(undo)
        return undo

    def _undo_before_others(self, undo: _Undo) -> None:
        """Moves ``undo`` before everything that was noted after it."""
        self._undo.remove(undo)
        self._undo.append(undo)

    async def _discard(self, component: Component, container: str) -> None:
        """Stops a new container, and removes it before any other is started again.

        Only the removal waits until podman has taken its network down. A predecessor that comes back sooner loses the
        firewall rules of the port that both publish, and runs without being reachable.
        """
        with contextlib.suppress(PodmanError):
            await self._podman.stop(container, component.stop_timeout)
        await self._podman.remove(container)

    async def _revert(self) -> list[str]:
        """Takes every noted step back, last one first; returns what could not be."""
        left: list[str] = []
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _REVERT_DEADLINE_S) as scope:
            for undo in reversed(self._undo):
                self._operation.report(undo.component, Step.REVERT, undo.words)
                try:
                    await undo.action()
                except NoSuchError:
                    pass  # noted, but cut off before it was done: nothing to take back
                except McpdError as error:
                    left.append(f"{undo.words}: {error}")
        if scope.cancelled_caught:
            left.append(f"not undone within {_REVERT_DEADLINE_S:.0f} s")
        if left:
            log.error("a deploy could not be undone completely", operation=self._operation.id, left=left)
        return left

    # -- afterwards

    async def _retire(self, plan: DeployPlan) -> None:
        """Removes the old containers. What cannot be removed is stopped, under a temporary name, and swept later."""
        for each in plan.components:
            if each.action is Action.REPLACE:
                name = each.container + LAST
                self._operation.report(each.component.name, Step.REMOVE, f"removing the old {each.container}")
                try:
                    await self._podman.remove(name)
                except McpdError as error:
                    log.warning("an old container could not be removed", container=name, error=str(error))

    async def _conclude(self, plan: DeployPlan) -> None:
        for each in plan.components:
            words = _words(each)
            self._operation.conclude(Outcome(each.component.name, _RESULTS[each.action], words))
            if each.action is not Action.NONE:
                await self._registry.add_event(
                    plan.service.name,
                    each.component.name,
                    "deployed",
                    words,
                    self._operation.caller.name,
                    datetime.now(UTC),
                )
        for name in plan.orphans:
            remedy = f"`mcpctl undeploy {plan.service.name}/{name}` removes it"
            self._operation.conclude(Outcome(name, Result.SKIPPED, f"no longer defined, left as it is; {remedy}"))

    def _conclude_reverted(self, plan: DeployPlan, failed: StepFailedError, left: list[str]) -> None:
        touched = {undo.component for undo in self._undo}
        for each in plan.components:
            name = each.component.name
            if name in touched:
                result, words = (Result.FAILED if left else Result.REVERTED), _aftermath(left)
            else:
                result, words = Result.SKIPPED, "not touched"
            self._operation.conclude(Outcome(name, result, str(failed) if name == failed.component else words))

    @contextlib.asynccontextmanager
    async def _step(self, component: str, step: Step, message: str = "") -> AsyncIterator[None]:
        if message:
            self._operation.report(component, step, message)
        try:
            yield
        except McpdError as error:
            raise StepFailedError(component, step, error) from error


def _step_failure(error: BaseException) -> StepFailedError | None:
    """The first step that failed, when nothing but failed steps ended the deploy; None for a bug or a cancellation."""
    if isinstance(error, StepFailedError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    failures, others = error.split(StepFailedError)
    return None if failures is None or others is not None else _step_failure(failures.exceptions[0])


def _aftermath(left: list[str]) -> str:
    if left:
        return "it could NOT be put back completely: " + "; ".join(left)
    return "everything is as it was before"


def _words(plan: ComponentPlan) -> str:
    version = plan.component.version
    if plan.action is Action.REPLACE and plan.current:
        before = plan.current.version
        return f"{before} -> {version}" if before != version else f"{version}, {plan.reason}"
    if plan.action is Action.CREATE:
        return version if plan.runs else f"{version}, not started: the definition says active = false"
    return plan.reason
