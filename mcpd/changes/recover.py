"""Recover: makes containers that podman lost again, from the registry and the images on this node."""

from __future__ import annotations

from mcpd.changes import podman_hints, ports, traffic
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import ordered
from mcpd.changes.surroundings import provide, surroundings
from mcpd.changes.verify import comes_up
from mcpd.errors import McpdError
from mcpd.model import Container, Outcome, RecordedComponent, RecordedService, Result, Step
from mcpd.runtime.api import PodmanError
from mcpd.runtime.create import container_spec
from monitor.model import Desired, Observed
from protos.program_output import headline

# Of a job that was made again.
_WAITS = ", its schedule runs it"


def _starts(component: RecordedComponent) -> bool:
    """Whether its container is to be started when it is made."""
    return component.should_run and not component.is_scheduled


class Finding:
    """What there is of one service: its components, each with its container, and who else has their names."""

    def __init__(self, service: RecordedService, containers: tuple[Container, ...]) -> None:
        self.components = service.components
        self._ours = service.found_in(containers)
        self._by_name = {each.name: each for each in containers}

    def container(self, component: RecordedComponent) -> Container | None:
        return self._ours.get(component.spec.name)

    def holder(self, component: RecordedComponent) -> Container | None:
        """Whoever has the name of a component that has no container."""
        return self._by_name.get(component.container)


async def look(node: Node, service: RecordedService) -> Finding:
    return Finding(service, await node.podman.containers())


async def expect(node: Node, finding: Finding, component: RecordedComponent) -> Outcome:
    """What recovering ``component`` will come to, as far as looking tells; changes nothing."""
    name, image = component.spec.name, component.spec.image
    if component.desired is Desired.IGNORE:
        return Outcome(name, Result.SKIPPED, "it is no longer declared")
    if container := finding.container(component):
        return Outcome(name, Result.UNCHANGED, f"is there, {container.state}")
    if holder := finding.holder(component):
        owner = f"{holder.service}/{holder.component}" if holder.service else "an owner that mcp does not know"
        return Outcome(name, Result.FAILED, f"the name {component.container} is taken by a container of {owner}")
    if not await node.podman.has_image(image):
        remedy = podman_hints.bringing(component.service, component.spec)
        if component.spec.is_pulled:
            remedy = f"`podman pull {image}` there pulls it again, {remedy}"
        return Outcome(name, Result.FAILED, f"{image} is not on this node: {remedy}; then recover again")
    if component.should_run and (taken := await ports.taken(node, component.service, [component.spec])):
        return Outcome(name, Result.FAILED, "; ".join(taken))
    words = f"from {image}" + ("" if _starts(component) else _WAITS if component.is_scheduled else ", not started")
    # What it had beyond that went with it, and nobody can be asked any more; a service that is down is worse.
    words += "; it was adopted: it lacks the settings that a definition cannot express" * node.podman.is_adopted(
        component.container_id
    )
    return Outcome(name, Result.CREATED, words)


class Recover:
    """Recovers one service, as an operation."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._operation = operation

    async def run(self) -> None:
        """Each component by itself, in dependency order; what cannot be had is told, and does not stop the others."""
        service = await self._node.registry.service(self._operation.target.service)
        if service is None:
            return
        finding = await look(self._node, service)
        by_name = {each.spec.name: each for each in finding.components}
        for spec in ordered([each.spec for each in finding.components]):
            component = by_name[spec.name]
            outcome = await expect(self._node, finding, component)
            container = finding.container(component)
            try:
                if outcome.result is Result.CREATED:
                    await self._create(service, component)
                    await self._start(component)
                elif container and container.state is Observed.CREATED and _starts(component):
                    await ports.check_free(self._node, component.service, spec, container)
                    await self._start(component)  # made, and cut off before it was started
                    outcome = Outcome(spec.name, Result.STARTED)
            except PodmanError as error:
                outcome = Outcome(spec.name, Result.FAILED, podman_hints.about_step(spec.image, str(error)))
            except McpdError as error:
                outcome = Outcome(spec.name, Result.FAILED, str(error))
            await self._conclude(outcome)
        if traffic.is_routed(self._node, [each.spec for each in finding.components]):
            await traffic.tell(self._node)

    async def _create(self, recorded: RecordedService, component: RecordedComponent) -> None:
        spec, name = component.spec, component.container
        service = recorded.as_declared(self._node.name)
        await provide(self._node, service, spec, self._operation.take)
        await self._operation.take(spec.name, Step.CREATE, f"creating {name} from {spec.image}")
        among = await surroundings(self._node, service, spec)
        body = container_spec(name, self._node.name, component.service, spec, component.spec_hash, among)
        await self._node.podman.create(body)

    async def _start(self, component: RecordedComponent) -> None:
        if not _starts(component):
            return
        await self._operation.take(component.spec.name, Step.START, f"starting {component.container}")
        await ports.start(self._node, component.container, self._operation.caller.name)
        await self._operation.take(component.spec.name, Step.VERIFY, f"checking that {component.container} comes up")
        await comes_up(self._node, component.container, component.spec, is_new=True)
        if component.spec.routes:
            self._node.router.admit((await self._node.podman.inspect(component.container)).id)

    async def _conclude(self, outcome: Outcome) -> None:
        if outcome.result in (Result.CREATED, Result.STARTED, Result.FAILED):
            kind = "failed" if outcome.result is Result.FAILED else "recovered"
            service, caller = self._operation.target.service, self._operation.caller.name
            await self._node.tell(service, outcome.component, kind, headline(outcome.message), caller)
        await self._operation.conclude(outcome)
