"""Start, stop, restart and undeploy: components in dependency order, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import trio

from mcpd.changes import podman_hints, ports, traffic
from mcpd.changes.jobs.ending import ending
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import has_completed, ordered, waits_for
from mcpd.changes.surroundings import joined_before, tidy_configs
from mcpd.changes.verify import comes_up
from mcpd.errors import McpdError, NotFoundError, RefusedError
from mcpd.model import LABEL_NODE, Container, Outcome, RecordedComponent, RecordedService, Result, Step
from mcpd.runtime.api import PodmanError
from monitor.model import Desired, Observed
from protos.program_output import headline

_Act = Callable[[RecordedComponent, Container | None], Awaitable[Outcome]]

_EVENTS = {
    Result.STARTED: "started",
    Result.STOPPED: "stopped",
    Result.RESTARTED: "restarted",
    Result.REMOVED: "undeployed",
    Result.FAILED: "failed",
}
# Results with which what depends on a component is left alone, and why.
_WITHOUT = {Result.FAILED: "which failed", Result.SKIPPED: "which was skipped"}


class Lifecycle:
    """One operation on what was deployed before."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._podman = node.podman
        self._registry = node.registry
        self._operation = operation
        self._target = operation.target

    async def start(self) -> None:
        """Wants the target running, and starts what is not. Raises NotFoundError."""
        await self._known()
        await self._registry.set_active(self._target.service, self._target.component, True, datetime.now(UTC))
        await self._each(self._start_one)

    async def stop(self) -> None:
        """Wants the target stopped, and stops it: dependents first. Raises NotFoundError."""
        await self._known()
        await self._registry.set_active(self._target.service, self._target.component, False, datetime.now(UTC))
        await self._each(self._stop_one, dependents_first=True)

    async def restart(self) -> None:
        """Stops and starts what should run, and whatever uses a namespace of it; changes no intent.

        Raises NotFoundError.
        """
        await self._each(self._restart_one, with_sharers=True)

    async def resume(self) -> None:
        """Starts what should run and does not, but for oneshots; changes no intent. Raises NotFoundError."""
        await self._each(self._resume_one)

    async def settle(self) -> None:
        """Starts what should run, stops what should not; changes no intent. Raises NotFoundError."""
        await self._each(self._settle_one)

    async def heal(self, ill: str = "") -> None:
        """Starts one component that died, or restarts it, when its container is the one (its id) that is ``ill``.

        Does not wait for its probe: whether that helped is the monitor's to see.
        """

        async def act(component: RecordedComponent, container: Container | None) -> Outcome:
            return await self._heal_one(component, container, ill)

        await self._each(act)

    async def undeploy(self) -> None:
        """Removes the target's containers and forgets them, and networks of ours that nothing uses any more.

        Raises NotFoundError.
        """
        service = await self._known()
        await self._each(self._remove_one, dependents_first=True)
        gone = [each.component for each in self._operation.outcomes if each.result is Result.REMOVED]
        await self._end_runs(gone)
        for network in sorted(joined_before(service, gone)):
            await self._operation.take("", Step.NETWORK, f"removing network {network}, unless it is in use")
            await self._podman.remove_own_network(network, {LABEL_NODE: self._node.name})
        # Last, since who goes on with it after a crash must still know what there was.
        await self._registry.forget(service.name, gone, datetime.now(UTC))
        if traffic.is_routed(self._node, [spec for each in service.components for spec in each.specs]):
            await traffic.tell(self._node)
        await tidy_configs(self._node, service.name)

    async def _known(self) -> RecordedService:
        service = await self._registry.service(self._target.service)
        if service is None:
            name = self._target.service
            # Whoever removes it does not want it made first.
            remedy = f"`mcpctl deploy {name}` does that" if self._operation.kind != "undeploy" else "nothing is removed"
            raise NotFoundError(f"no service {name} is deployed on {self._node.name}; {remedy}")
        if self._target.component and service.component(self._target.component) is None:
            known = ", ".join(each.spec.name for each in service.components)
            raise NotFoundError(f"{service.name} has no component {self._target.component} here; it has {known}")
        return service

    async def _each(self, act: _Act, *, dependents_first: bool = False, with_sharers: bool = False) -> None:
        """Runs ``act`` for every component of the target, independent ones at once; records each outcome.

        ``with_sharers``: also for those that use a namespace of one.
        """
        service = await self._known()
        names = {each.spec.name for each in service.components if self._target.covers(each.spec.name)}
        for spec in ordered([each.spec for each in service.components]) if with_sharers else ():
            names |= {spec.name} if spec.shares_with & names else set()
        components = [each for each in service.components if each.spec.name in names]
        containers = service.found_in(await self._podman.containers(service=service.name))
        waits = {name: set(wanted) for name, wanted in waits_for([each.spec for each in components]).items()}
        if dependents_first:
            waits = {name: {other for other in waits if name in waits[other]} for name in waits}
        ended = {name: trio.Event() for name in waits}
        broken: dict[str, Result] = {}

        async def one(component: RecordedComponent) -> None:
            name = component.spec.name
            for other in waits[name]:
                await ended[other].wait()
            if not dependents_first and (missing := sorted(waits[name] & broken.keys())):
                words = "; ".join(f"{each}, {_WITHOUT[broken[each]]}" for each in missing)
                outcome = Outcome(name, Result.SKIPPED, f"depends on {words}")
            else:
                outcome = await self._attempt(act, component, containers.get(name))
            if outcome.result in _WITHOUT:
                broken[name] = outcome.result
            await self._conclude(service.name, outcome)
            ended[name].set()

        async with trio.open_nursery() as nursery:
            for component in components:
                nursery.start_soon(one, component)
        if traffic.is_routed(self._node, [spec for each in components for spec in each.specs]):
            await traffic.tell(self._node)

    async def _attempt(self, act: _Act, component: RecordedComponent, container: Container | None) -> Outcome:
        try:
            return await act(component, container)
        except PodmanError as error:
            words = podman_hints.about_step(component.spec.image, str(error))
            return Outcome(component.spec.name, Result.FAILED, words)
        except McpdError as error:
            return Outcome(component.spec.name, Result.FAILED, str(error))

    async def _conclude(self, service: str, outcome: Outcome) -> None:
        if kind := _EVENTS.get(outcome.result):
            caller = self._operation.caller.name
            await self._node.tell(service, outcome.component, kind, headline(outcome.message), caller)
        await self._operation.conclude(outcome)

    async def _resume_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        """As a node does by itself: a oneshot never runs again by itself, and a job when its schedule says so."""
        if component.spec.oneshot and container and component.should_run:
            return Outcome(component.spec.name, Result.UNCHANGED, _as_it_ended(component, container))
        return await self._start_one(component, container)

    async def _start_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        name = component.spec.name
        if container is None or not component.should_run:
            return _not_startable(component)
        if component.is_scheduled:
            return Outcome(name, Result.UNCHANGED, _as_scheduled(component, container))
        if container.is_active:
            if component.spec.routes:  # an operation before may have withdrawn it, and not have come further
                self._node.router.admit(container.id)
            return Outcome(name, Result.UNCHANGED, "runs already")
        if component.spec.oneshot and has_completed(container):
            return Outcome(name, Result.UNCHANGED, _as_it_ended(component, container))
        _check_ends(component, container)
        await ports.check_free(self._node, component.service, component.spec, container)
        await self._up(component, container)
        return Outcome(name, Result.STARTED)

    async def _heal_one(self, component: RecordedComponent, container: Container | None, ill: str) -> Outcome:
        name = component.spec.name
        if container is None or not component.should_run:
            return _not_startable(component)
        if component.is_scheduled:
            return Outcome(name, Result.UNCHANGED, _as_scheduled(component, container))
        if component.spec.oneshot:
            return Outcome(name, Result.UNCHANGED, _as_it_ended(component, container))
        # Somebody may have paused or replaced it meanwhile.
        is_ill = container.id == ill and container.state is Observed.RUNNING
        if container.is_active and not is_ill:
            return Outcome(name, Result.UNCHANGED, "runs already")
        if is_ill:
            # Whoever waits for an answer from it has waited long enough.
            await self._down(component, container, drains=False)
        else:
            await ports.check_free(self._node, component.service, component.spec, container)
        # What was ended is started again, whatever the registry says.
        take = self._operation.take_anyhow if is_ill else self._operation.take
        await take(name, Step.START, f"starting {container.name}")
        await ports.start(self._node, container.id, self._operation.caller.name)
        if is_ill:
            return Outcome(name, Result.RESTARTED, "restarted to heal it: it was unhealthy")
        return Outcome(name, Result.STARTED, "healed")

    async def _stop_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        name = component.spec.name
        if container is None or not container.is_active:
            is_job = component.spec.schedule is not None
            words = "no run goes on, and its schedule does not count any more" if is_job else "is not running"
            return Outcome(name, Result.UNCHANGED, words)
        await self._down(component, container)
        return Outcome(name, Result.STOPPED)

    async def _settle_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        if component.desired is Desired.STOPPED:
            return await self._stop_one(component, container)
        if component.should_run and container is None:
            remedy = f"`mcpctl deploy {component.service}` creates it"
            return Outcome(component.spec.name, Result.SKIPPED, f"has no container {component.container}; {remedy}")
        return await self._resume_one(component, container)

    async def _restart_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        if container is None or not component.should_run:
            return _not_startable(component)
        if component.is_scheduled:
            return Outcome(component.spec.name, Result.UNCHANGED, _as_scheduled(component, container))
        if component.spec.oneshot and component.spec.name != self._target.component:
            return Outcome(component.spec.name, Result.UNCHANGED, _as_it_ended(component, container))
        # Also before it is stopped: what runs stays as it is when it could not come back.
        _check_ends(component, container)
        await ports.check_free(self._node, component.service, component.spec, container)
        if container.is_active:
            await self._down(component, container)
        # What was stopped is started again, whatever the registry says.
        await self._up(component, container, anyhow=container.is_active)
        return Outcome(component.spec.name, Result.RESTARTED)

    async def _remove_one(self, component: RecordedComponent, container: Container | None) -> Outcome:
        name = component.spec.name
        if container is not None:
            if container.is_active:
                await self._down(component, container)
            await self._operation.take(name, Step.REMOVE, f"removing {container.name}")
            await self._podman.remove(container.id)
        return Outcome(name, Result.REMOVED)

    async def _end_runs(self, components: Sequence[str]) -> None:
        """What `mcpctl run` started like one of them goes with it: it uses its networks and volumes."""
        for each in await self._podman.runs(self._target.service):
            if each.run_of.component in components:
                await self._operation.take(each.run_of.component, Step.REMOVE, f"removing {each.name}")
                await self._podman.remove(each.id)

    async def _up(self, component: RecordedComponent, container: Container, *, anyhow: bool = False) -> None:
        take = self._operation.take_anyhow if anyhow else self._operation.take
        await take(component.spec.name, Step.START, f"starting {container.name}")
        await ports.start(self._node, container.id, self._operation.caller.name)
        await comes_up(self._node, container.id, component.spec)
        if component.spec.routes:
            self._node.router.admit(container.id)

    async def _down(self, component: RecordedComponent, container: Container, *, drains: bool = True) -> None:
        if drains:
            spec = component.deployed or component.spec
            await traffic.drain(self._node, spec, container, self._operation.take, self._operation.report)
        await self._operation.take(component.spec.name, Step.STOP, f"stopping {container.name}")
        try:
            async with ending(self._node, self._operation, component.spec.name):
                await self._podman.stop(container.id, component.spec.stop_timeout)
        except PodmanError:
            if component.should_run and component.spec.routes:  # it runs on, and is to be reached
                self._node.router.admit(container.id)
            raise


def _check_ends(component: RecordedComponent, container: Container) -> None:
    """Raises RefusedError for a oneshot whose container is not the declared one: nobody knows whether it ever ends."""
    if component.spec.oneshot and container.spec_hash != component.spec_hash:
        target = f"{component.service}/{component.spec.name}"
        raise RefusedError(
            "its container was created with settings other than those declared, so it may never complete; "
            f"`mcpctl deploy {target}` makes it anew"
        )


def _as_it_ended(component: RecordedComponent, container: Container) -> str:
    """Of a oneshot that is not run again now."""
    if container.is_active:
        return "runs already"
    if has_completed(container):
        return "has completed"
    target = f"{component.service}/{component.spec.name}"
    return f"did not complete; `mcpctl start {target}` runs it again"


def _as_scheduled(component: RecordedComponent, container: Container) -> str:
    """Of a job, which operations do not start."""
    if container.is_active:
        return "a run goes on, and is left alone"
    return f"its schedule runs it; `mcpctl jobs run {component.service}/{component.spec.name}` runs it now"


def _not_startable(component: RecordedComponent) -> Outcome:
    """Why a component that has no container, or should not run, is not started."""
    name, service = component.spec.name, component.service
    if component.desired is Desired.IGNORE:
        return Outcome(name, Result.SKIPPED, "no longer defined, left as it is")
    if component.desired is Desired.STOPPED and component.spec.active:
        return Outcome(name, Result.SKIPPED, f"stopped, like its service; `mcpctl start {service}` starts both")
    if component.desired is Desired.STOPPED:
        return Outcome(name, Result.SKIPPED, f"stopped; `mcpctl start {service}/{name}` starts it")
    gone = f"its container {component.container} is gone; `mcpctl deploy {service}` recreates it"
    return Outcome(name, Result.FAILED, gone)
