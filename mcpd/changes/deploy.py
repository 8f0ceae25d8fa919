"""Carries out a deploy plan: all of it, or none of it.

What can fail without touching what runs comes first: conflicts, pulls, networks. Then each component's replacement is
created beside the old container, which is stopped and kept until every component has taken over. When any step fails,
everything is put back as it was (`mcpd.changes.rollback`), and what ran before runs again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import structlog
import trio

from mcpd.changes import podman_hints, ports, traffic
from mcpd.changes.built_images import pull_anew
from mcpd.changes.cancelling import cancelled
from mcpd.changes.jobs.ending import ending
from mcpd.changes.losses import check_accepted, in_short
from mcpd.changes.node import Node
from mcpd.changes.operations import CancelledError, Operation, RevertedError
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan, check_holds, is_recorded_as, waits_for
from mcpd.changes.pull import have_image
from mcpd.changes.rollback import retire, roll_back
from mcpd.changes.steps import StepFailedError, failing_at, step_failure
from mcpd.changes.surroundings import provide, surroundings
from mcpd.changes.survey import survey, taken_ports
from mcpd.changes.verify import comes_up, satisfies
from mcpd.errors import ConflictError, McpdError, RefusedError, RegistryError
from mcpd.model import LAST, NEXT, Outcome, Result, Step
from mcpd.runtime.api import PodmanError
from mcpd.runtime.create import container_spec
from protos.program_output import headline, with_sequel
from protos.spec import Component, Service

log = structlog.get_logger()

# Putting things back goes on after the caller has left and while mcpd shuts down; it must end, too.
_REVERT_DEADLINE_S = 120.0

# A step that was begun is ended before anything is taken back, but for these: they only wait, and may do so for long.
_MAY_BE_CUT_OFF = (Step.VERIFY, Step.SWITCH)

_RESULTS = {
    Action.CREATE: Result.CREATED,
    Action.REPLACE: Result.REPLACED,
    Action.START: Result.STARTED,
    Action.STOP: Result.STOPPED,
    Action.RENAME: Result.UPDATED,
    Action.UPDATE: Result.UPDATED,
    Action.NONE: Result.UNCHANGED,
}


class Deploy:
    """One deploy of a service, or of those components of it that are ``selected``."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._podman = node.podman
        self._operation = operation
        self._touched: set[str] = set()
        self._leftovers: frozenset[str] = frozenset()
        self._restores = 0
        self._built: frozenset[str] = frozenset()

    async def run(
        self,
        service: Service,
        selected: frozenset[str],
        *,
        force: bool = False,
        plan_id: str = "",
        accept_losses: bool = False,
        restores: int = 0,
        built: frozenset[str] = frozenset(),
    ) -> None:
        """``restores``: the revision that ``service`` is from, if any; ``built``: components with new images.

        Raises ConflictError, BusyError or, for losses that nobody accepted, RefusedError before anything was
        touched; RevertedError when everything was put back.
        """
        self._built = built
        try:
            with self._operation.revocable():
                await pull_anew(self._node, self._operation, service, selected & built)
                plan = await self._look(service, selected, force=force, plan_id=plan_id)
                if not accept_losses:
                    check_accepted(plan, str(self._operation.target))
                recorded = await self._node.registry.service(service.name)
                is_done = plan.changes_nothing and is_recorded_as(service, recorded, selected)
                if not is_done:
                    await self._node.journal.decide(self._operation.id, msgspec.json.encode(plan).decode())
        except CancelledError as error:
            words = f"deploy of {self._operation.target}: {error}, before anything was changed"
            await tell_reverted(self._node, self._operation, words)
            raise CancelledError(words) from None
        if is_done:
            self._operation.is_committed()
            await self._keep_revision(plan.service)
            await conclude(plan, self._operation)
            return
        self._restores = restores
        self._leftovers = frozenset(plan.leftovers)
        self._operation.goes_to_work()
        await self._all_or_nothing(plan)
        await tidy_up(self._node, plan, self._operation)

    async def _keep_revision(self, service: Service) -> None:
        try:
            caller, now = self._operation.caller.name, datetime.now(UTC)
            await self._node.journal.found_done(service.name, service.node, caller, now)
        except RegistryError as error:
            log.warning("a revision could not be kept", service=service.name, error=str(error))

    async def _all_or_nothing(self, plan: DeployPlan) -> None:
        try:
            with self._operation.revocable():
                await self._prepare(plan)
                await self._check_ports(plan)
                await self._carry_out(plan)
                await self._switch(plan)
            self._operation.is_committed()
            await self._commit(plan)
            self._node.router.expect_nothing(plan.service.name)
        except BaseException as error:
            self._operation.goes_back()
            self._node.router.expect_nothing(plan.service.name)
            failed = step_failure(error)
            left = await self._restore(plan)
            if failed is None and not isinstance(error, CancelledError):
                raise
            await self._conclude_reverted(plan, failed, left)
            words = _why(self._operation, failed, left)
            await tell_reverted(self._node, self._operation, words)
            raise (RefusedError if left else RevertedError)(words) from None

    # -- before anything is touched

    async def _look(self, service: Service, selected: frozenset[str], *, force: bool, plan_id: str) -> DeployPlan:
        await self._operation.take("", Step.PLAN, "inspecting the node")
        plan = await survey(self._node, service, selected, force=force, built=self._built)
        if plan.conflicts:
            raise ConflictError("; ".join(plan.conflicts))
        if plan_id:
            check_holds(plan_id, plan)
        return plan

    async def _prepare(self, plan: DeployPlan) -> None:
        new = [each.component for each in plan.components if each.is_made_anew]
        async with trio.open_nursery() as nursery:
            # The first component that needs an image is named in its progress and errors.
            for each in {(each.image, each.platform): each for each in reversed(new)}.values():
                nursery.start_soon(self._have_image, each)
        for each in new:
            with failing_at(each.name, Step.CREATE):
                await provide(self._node, plan.service, each, self._operation.take)

    async def _have_image(self, component: Component) -> None:
        with failing_at(component.name, Step.PULL):
            is_new = not self._restores and component.name not in self._built
            await have_image(self._node, self._operation, component, anew=is_new)

    async def _check_ports(self, plan: DeployPlan) -> None:
        """Checks the ports again: a pull takes time, and starting on a taken port hurts whoever holds it."""
        with failing_at("", Step.PLAN):
            if found := await taken_ports(self._node, plan):
                raise ConflictError("; ".join(found))

    # -- the change itself

    async def _carry_out(self, plan: DeployPlan) -> None:
        """Every component, each as soon as those that it depends on are up."""
        waits = waits_for([each.component for each in plan.components])
        up = {name: trio.Event() for name in waits}

        async def one(each: ComponentPlan) -> None:
            for name in waits[each.component.name]:
                await up[name].wait()
            await self._apply(plan.service, each)
            up[each.component.name].set()

        async with trio.open_nursery() as nursery:
            for each in plan.components:
                nursery.start_soon(one, each)

    async def _apply(self, service: Service, plan: ComponentPlan) -> None:
        name, old = plan.container, plan.current
        if plan.action is Action.CREATE:
            await self._create(service, plan, name)
            await self._start(plan, is_new=True)
        elif plan.action is Action.START:
            await self._start(plan)
        elif old and plan.starts_first:
            await self._clear(plan)
            await self._create(service, plan, name + NEXT)
            await self._start(plan, name + NEXT)
        elif old and plan.action is Action.REPLACE:
            await self._clear(plan)
            await self._create(service, plan, name + NEXT)
            await self._stop(plan)
            await self._rename(plan, old.name, name + LAST)
            await self._rename(plan, name + NEXT, name)
            await self._start(plan)
        elif old and plan.action is Action.RENAME:
            await self._rename(plan, old.name, name)
        elif old and plan.action is Action.STOP:
            await self._stop(plan)
        if plan.asks_probe:
            await self._ask_probe(plan)

    async def _switch(self, plan: DeployPlan) -> None:
        """What has come up beside others takes their places, when everything is up; then the proxy is told of all."""
        for each in plan.components:
            if each.starts_first and each.current:
                await self._rename(each, each.current.name, each.container + LAST)
                await self._rename(each, each.container + NEXT, each.container)
        routed = [each for each in plan.components if each.concerns_proxy]
        if not routed or self._node.router.listeners is None:
            return
        self._node.router.expect(plan.service.name, [each.component for each in plan.components])
        words = f"telling the proxy of {', '.join(each.container for each in routed)}"
        async with self._step(routed[0], Step.SWITCH, words):
            await self._node.router.settle()

    async def _clear(self, plan: ComponentPlan) -> None:
        """Removes containers with the temporary names that an earlier deploy could not remove."""
        for name in {plan.container + NEXT, plan.container + LAST} & self._leftovers:
            async with self._step(plan, Step.REMOVE, f"removing {name}, left by an earlier deploy"):
                await self._podman.remove(name)

    async def _create(self, service: Service, plan: ComponentPlan, name: str) -> None:
        component = plan.component
        with failing_at(component.name, Step.CREATE):
            among = await surroundings(self._node, service, component, beside=plan.starts_first)
        spec = container_spec(name, self._node.name, service.name, component, plan.spec_hash, among)
        async with self._step(plan, Step.CREATE, f"creating {name} from {component.image}"):
            await self._podman.create(spec)

    async def _stop(self, plan: ComponentPlan) -> None:
        if plan.current is None or not plan.current.is_active:
            return
        take, report = self._operation.take, self._operation.report
        with failing_at(plan.component.name, Step.DRAIN):
            await traffic.drain(self._node, plan.component, plan.current, take, report)
        async with self._step(plan, Step.STOP, f"stopping {plan.current.name}"):
            async with ending(self._node, self._operation, plan.component.name):
                await self._podman.stop(plan.current.name, plan.component.stop_timeout)

    async def _rename(self, plan: ComponentPlan, name: str, to: str) -> None:
        async with self._step(plan, Step.RENAME, f"renaming {name} to {to}"):
            await self._podman.rename(name, to)

    async def _start(self, plan: ComponentPlan, name: str = "", *, is_new: bool = False) -> None:
        if not plan.runs:
            return
        name, component = name or plan.container, plan.component
        async with self._step(plan, Step.START, f"starting {name}"):
            await ports.start(self._node, name, self._operation.caller.name)
        async with self._step(plan, Step.VERIFY, _waiting(name, component)):
            await comes_up(self._node, name, component, is_new=is_new)
        if plan.is_routed:
            with failing_at(component.name, Step.VERIFY):
                self._node.router.admit((await self._podman.inspect(name)).id)

    async def _ask_probe(self, plan: ComponentPlan) -> None:
        """A changed probe changes no container, but the deploy fails when the probe finds the component unhealthy."""
        if health := plan.component.probe:
            async with self._step(plan, Step.VERIFY, f"running the changed probe of {plan.container}"):
                await satisfies(self._node, plan.container, health)

    async def _commit(self, plan: DeployPlan) -> None:
        with failing_at("", Step.COMMIT):
            await self._node.journal.commit(
                self._operation.id,
                plan.service,
                {each.component.name: each.spec_hash for each in plan.components},
                [
                    (each.component.name, _words(plan.service, each))
                    for each in plan.components
                    if each.action is not Action.NONE
                ],
                self._operation.caller.name,
                datetime.now(UTC),
                self._restores,
            )

    # -- and back

    async def _restore(self, plan: DeployPlan) -> list[str]:
        """Puts everything back, also when nobody waits for it; returns what could not be put back."""
        left = [f"not rolled back within {_REVERT_DEADLINE_S:.0f} s"]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _REVERT_DEADLINE_S):
            if by := self._operation.cancelled_by:
                # First of all: a daemon that goes on with it after a kill says so, too.
                await self._operation.take_anyhow("", Step.CANCEL, cancelled(by))
            try:
                left = await roll_back(self._node, plan, self._operation)
            except McpdError as error:
                left = [str(error)]
        return left

    async def _conclude_reverted(self, plan: DeployPlan, failed: StepFailedError | None, left: list[str]) -> None:
        """``failed`` None: it was cancelled."""
        culprit = failed.component if failed else None
        outcomes = []
        for each in plan.components:
            name = each.component.name
            if name in self._touched:
                result, words = (Result.FAILED if left else Result.REVERTED), aftermath(left)
            else:
                result, words = (Result.FAILED if name == culprit else Result.SKIPPED), "not touched"
            outcomes.append(Outcome(name, result, str(failed) if name == culprit else words))
        await self._operation.conclude(*outcomes)

    @contextlib.asynccontextmanager
    async def _step(self, plan: ComponentPlan, step: Step, message: str) -> AsyncIterator[None]:
        """A step that changes something: journalled before it is taken."""
        name = plan.component.name
        with failing_at(name, step):
            await self._operation.take(name, step, message)
        self._touched.add(name)
        # A step that was begun is ended before anything is taken back: podman would go on with it behind our back.
        with failing_at(name, step), trio.CancelScope(shield=step not in _MAY_BE_CUT_OFF):
            try:
                yield
            except PodmanError as error:
                raise RefusedError(podman_hints.about_step(plan.component.image, str(error))) from error


async def tidy_up(node: Node, plan: DeployPlan, operation: Operation) -> None:
    """The rest of a committed deploy: removes the old containers, and reports how it ended."""
    await retire(node, plan, operation)
    await conclude(plan, operation)


async def conclude(plan: DeployPlan, operation: Operation) -> None:
    """Reports how a committed deploy ended for each component."""
    outcomes = [
        Outcome(each.component.name, _RESULTS[each.action], _words(plan.service, each)) for each in plan.components
    ]
    for name in plan.orphans:
        remedy = f"`mcpctl undeploy {plan.service.name}/{name}` removes it"
        outcomes.append(Outcome(name, Result.SKIPPED, f"no longer defined, left as it is; {remedy}"))
    await operation.conclude(*outcomes)


async def tell_reverted(node: Node, operation: Operation, words: str) -> None:
    """Keeps in the event ledger that a change was tried; what a program printed stays out of it."""
    target = operation.target
    by = operation.cancelled_by or operation.caller.name
    await node.tell(target.service, target.component, "reverted", headline(words), by)


def aftermath(left: list[str]) -> str:
    if left:
        return "it could NOT be rolled back completely: " + "; ".join(left)
    return "the service was rolled back"


def _why(operation: Operation, failed: StepFailedError | None, left: list[str]) -> str:
    """Why a deploy was reverted, and whether that worked. It may fail at the very moment that it is cancelled."""
    cancel = cancelled(operation.cancelled_by) if operation.cancelled_by else ""
    reasons = "; ".join(filter(None, (cancel, str(failed) if failed else "")))
    return with_sequel(f"deploy of {operation.target}: {reasons}", aftermath(left))


def _waiting(container: str, component: Component) -> str:
    if component.oneshot:
        return f"waiting until {container} has completed"
    return f"waiting until {container} is healthy" if component.probe else f"checking that {container} stays up"


def _words(service: Service, plan: ComponentPlan) -> str:
    version = plan.component.version
    if plan.action is Action.REPLACE and plan.current:
        before = plan.current.version
        words = f"{before} -> {version}" if before != version else f"{version}, {plan.reason}"
        words += f"; without {in_short(plan.losses)}" if plan.losses else ""
        return words if plan.runs else f"{words}, {_not_started(service, plan.component)}"
    if plan.action is Action.CREATE:
        return version if plan.runs else f"{version}, {_not_started(service, plan.component)}"
    return plan.reason


def _not_started(service: Service, component: Component) -> str:
    """What is made and not started is one command from running: the one for whatever says that it is inactive."""
    if component.is_job and service.wants_running(component):
        return "its schedule runs it"
    remedies = []
    if not service.active:
        remedies.append(f"`mcpctl start {service.name}`")
    if not component.active:
        remedies.append(f"`mcpctl start {service.name}/{component.name}`")
    return f"not started: the definition says active = false; {' and '.join(remedies)} starts it"
