"""The RPCs that change what runs, or say what would change."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from mcpd.changes import viewer_plan
from mcpd.changes.adopt import Adopt, Adoption
from mcpd.changes.adopt import look as look_for_adoption
from mcpd.changes.deploy import Deploy
from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.changes.purge import Purge, purgeable
from mcpd.changes.recover import Recover, expect, look
from mcpd.changes.survey import survey, warnings
from mcpd.changes.sync import Sync, pending
from mcpd.errors import ConflictError, McpdError, NotFoundError, RefusedError
from mcpd.model import Caller, Outcome, RecordedService, Result, Role, Target
from mcpd.registry.journal import REVISIONS
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from monitor.model import Desired
from protos.mcp import v1 as wire
from protos.spec import Service
from protos.wire import service_spec

R = TypeVar("R")


class ChangeMethods:
    def __init__(self, node: Node, operations: Operations) -> None:
        self._node = node
        self._operations = operations

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "Plan": self.plan,
            "Deploy": self.deploy,
            "StartService": partial(self._lifecycle, "start", Lifecycle.start, wire.StartServiceResponse),
            "StopService": partial(self._lifecycle, "stop", Lifecycle.stop, wire.StopServiceResponse),
            "RestartService": partial(self._lifecycle, "restart", Lifecycle.restart, wire.RestartServiceResponse),
            "UndeployService": partial(self._lifecycle, "undeploy", Lifecycle.undeploy, wire.UndeployServiceResponse),
            "Sync": self.sync,
            "Adopt": self.adopt,
            "GetServiceSpec": self.get_service_spec,
            "ListRevisions": self.list_revisions,
            "Purge": self.purge,
            "Recover": self.recover,
        }

    async def plan(self, request: wire.PlanRequest, caller: Caller) -> wire.PlanResponse:
        service = convert.service(request.service, self._node.name)
        selected = convert.selected(service, request.component)
        told: tuple[str, ...] = ()
        if caller.role is not Role.ADMIN:
            told = viewer_plan.warnings(service, selected)
            service = viewer_plan.without_guesses(service, await self._node.registry.service(service.name))
        plan = await survey(self._node, service, selected, force=request.force)
        if plan.conflicts:
            raise ConflictError("; ".join(plan.conflicts))
        return wire.PlanResponse(
            plan_id=plan.id,
            components=[convert.component_plan(each) for each in plan.components],
            warnings=[*told, *await warnings(self._node, plan)],
            losses=list(plan.losses),
        )

    async def deploy(
        self, request: wire.DeployRequest, caller: Caller
    ) -> AsyncGenerator[wire.DeployResponse | list[wire.DeployResponse], None]:
        service = convert.service(request.service, self._node.name)
        selected = convert.selected(service, request.component)

        async def body(operation: Operation) -> None:
            await Deploy(self._node, operation).run(
                service,
                selected,
                force=request.force,
                plan_id=request.plan_id,
                accept_losses=request.accept_losses,
                restores=request.restores,
                built=frozenset(request.built),
            )

        target = Target(service.name, request.component)
        operation = await self._operations.start("deploy", target, caller, body, wait=request.wait, looks_first=True)
        async for news in operation.follow():
            yield [wire.DeployResponse(operation_id=str(operation.id), **convert.report(each)) for each in news]
        yield wire.DeployResponse(operation_id=str(operation.id), completed=wire.Completed())

    async def _lifecycle(
        self, kind: str, act: Callable[[Lifecycle], Any], response: Callable[..., R], request: Any, caller: Caller
    ) -> R:
        """Start, stop, restart and undeploy have requests and responses of one shape."""

        async def body(operation: Operation) -> None:
            await act(Lifecycle(self._node, operation))

        target = convert.target(request.service, request.component)
        operation = await self._operations.start(kind, target, caller, body, wait=request.wait)
        return response(outcomes=[convert.outcome(each) for each in await operation.finished()])

    # -- what is declared

    async def sync(self, request: wire.SyncRequest, caller: Caller) -> wire.SyncResponse:
        services = [convert.service(each, self._node.name) for each in request.services]
        known = await self._node.registry.services()
        declared = [each for each in known if any(it.desired is not Desired.IGNORE for it in each.components)]
        if declared and not services:
            # An empty folder is nearly always the wrong folder, and what nobody declares nobody is alerted about.
            raise RefusedError(
                f"no definition names {self._node.name}, which has {len(declared)} services: nothing was changed; "
                f"`mcpctl undeploy SERVICE --node {self._node.name}` removes one that should go"
            )
        found = [await self._sync(each, caller, dry_run=request.dry_run) for each in services]
        names = {each.name for each in services}
        found += [_no_longer_declared(each) for each in known if each.name not in names]
        if not request.dry_run:
            await self._node.registry.ignore_services_but(names, datetime.now(UTC))
            self._operations.intent_changed()
        return wire.SyncResponse(services=found)

    async def _sync(self, service: Service, caller: Caller, *, dry_run: bool) -> wire.ServiceOutcome:
        async def body(operation: Operation) -> None:
            await Sync(self._node, operation).run(service)

        answer = wire.ServiceOutcome(service=service.name)
        try:
            if not dry_run:
                operation = await self._operations.start("sync", Target(service.name), caller, body)
                answer.outcomes = [convert.outcome(each) for each in await operation.finished()]
            answer.pending = [convert.component_plan(each) for each in await pending(self._node, service)]
        except McpdError as error:
            answer.error = str(error)
        return answer

    # -- what runs already

    async def adopt(self, request: wire.AdoptRequest, caller: Caller) -> wire.AdoptResponse:
        target = convert.target(request.service, "")
        defined = frozenset(request.defined)
        done: list[Adoption] = []

        async def body(operation: Operation) -> None:
            done.append(await Adopt(self._node, operation).run(defined))

        if request.dry_run:
            done.append(await look_for_adoption(self._node, target.service, defined))
        else:
            operation = await self._operations.start("adopt", target, caller, body)
            await operation.finished()
        return convert.adoption(done[0])

    async def get_service_spec(
        self, request: wire.GetServiceSpecRequest, caller: Caller
    ) -> wire.GetServiceSpecResponse:
        name = convert.target(request.service, "").service
        if request.revision:
            kept = await self._node.journal.revision(name, request.revision)
            return wire.GetServiceSpecResponse(service=service_spec(kept.definition), revision=kept.number)
        (found,) = await self._chosen(name, "")
        return wire.GetServiceSpecResponse(service=service_spec(found.as_declared(self._node.name)))

    async def list_revisions(self, request: wire.ListRevisionsRequest, caller: Caller) -> wire.ListRevisionsResponse:
        name = convert.target(request.service, "").service
        found = await self._node.journal.revisions(name, convert.limit(request.limit, REVISIONS))
        return wire.ListRevisionsResponse(
            node=self._node.name, revisions=[convert.revision_info(each) for each in found]
        )

    async def purge(self, request: wire.PurgeRequest, caller: Caller) -> wire.PurgeResponse:
        defined = frozenset(request.defined)
        found = []
        for service in await self._chosen(request.service, request.component):
            target = Target(service.name, request.component)
            found.append(await self._purge(service, target, defined, caller, dry_run=request.dry_run))
        return wire.PurgeResponse(services=found)

    async def _purge(
        self, service: RecordedService, target: Target, defined: frozenset[str], caller: Caller, *, dry_run: bool
    ) -> wire.ServiceOutcome:
        async def body(operation: Operation) -> None:
            await Purge(self._node, operation).run(defined)

        answer = wire.ServiceOutcome(service=service.name)
        try:
            outcomes = purgeable(
                service, target.component, await self._node.podman.containers(), defined, self._node.name
            )
            if not dry_run and any(each.result is Result.REMOVED for each in outcomes):
                operation = await self._operations.start("purge", target, caller, body)
                outcomes = await operation.finished()
            answer.outcomes = [convert.outcome(each) for each in outcomes]
        except McpdError as error:
            answer.error = str(error)
        return answer

    # -- what was lost

    async def recover(
        self, request: wire.RecoverRequest, caller: Caller
    ) -> AsyncGenerator[wire.RecoverResponse | list[wire.RecoverResponse], None]:
        services = await self._chosen(request.service, "")
        if request.dry_run:
            for service in services:
                finding = await look(self._node, service)
                for component in finding.components:
                    outcome = convert.outcome(await expect(self._node, finding, component))
                    yield wire.RecoverResponse(service=service.name, outcome=outcome)
        else:
            # All of them begin, whether or not somebody stays to see the last one's end.
            for service, operation in [(each, await self._begin_recovery(each, caller)) for each in services]:
                async for response in _followed(service, operation):
                    yield response
        yield wire.RecoverResponse(completed=wire.Completed())

    async def _begin_recovery(self, service: RecordedService, caller: Caller) -> Operation | McpdError:
        async def body(operation: Operation) -> None:
            await Recover(self._node, operation).run()

        try:
            return await self._operations.start("recover", Target(service.name), caller, body)
        except McpdError as error:
            return error

    async def _chosen(self, service: str, component: str) -> tuple[RecordedService, ...]:
        """Every service, or the one that is asked for. Raises NotFoundError."""
        if not service:
            return await self._node.registry.services()
        convert.target(service, component)
        found = await self._node.registry.service(service)
        if found is None or (component and found.component(component) is None):
            raise NotFoundError(f"{Target(service, component)} is not known on {self._node.name}")
        return (found,)


async def _followed(
    service: RecordedService, operation: Operation | McpdError
) -> AsyncGenerator[wire.RecoverResponse | list[wire.RecoverResponse], None]:
    """What recovering one service tells; what stops it stops no other."""
    error = operation if isinstance(operation, McpdError) else None
    number = "" if isinstance(operation, McpdError) else str(operation.id)
    try:
        if not isinstance(operation, McpdError):
            async for news in operation.follow():
                yield [
                    wire.RecoverResponse(operation_id=number, service=service.name, **convert.report(each))
                    for each in news
                ]
    except McpdError as failure:
        error = failure
    if error:
        outcome = convert.outcome(Outcome("", Result.FAILED, str(error)))
        yield wire.RecoverResponse(operation_id=number, service=service.name, outcome=outcome)


def _no_longer_declared(service: RecordedService) -> wire.ServiceOutcome:
    words = "no longer declared: listed, never touched"
    outcomes = [Outcome(each.spec.name, Result.SKIPPED, words) for each in service.components]
    return wire.ServiceOutcome(service=service.name, outcomes=[convert.outcome(each) for each in outcomes])
