"""Purge: the registry forgets what nobody declares and nothing runs. No container is removed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.surroundings import tidy_configs
from mcpd.model import Container, Outcome, RecordedComponent, RecordedService, Result, Step, Target


def purgeable(
    service: RecordedService, component: str, containers: Collection[Container], defined: Collection[str], node: str
) -> tuple[Outcome, ...]:
    """For every component of ``service`` (or the one named) whether it may be forgotten, and if not, why.

    ``containers`` are all that there are, those that Run has made as well.
    """
    ours = service.found_in(containers)
    runs = {each.run_of: each.run for each in containers if each.run and each.is_active}
    found = []
    for each in service.components:
        name = each.spec.name
        if component in ("", name):
            run = runs.get(Target(service.name, name), "")
            found.append(_purgeable(each, ours.get(name), run, service.name in defined, node))
    return tuple(found)


def _purgeable(
    component: RecordedComponent, container: Container | None, run: str, is_defined: bool, node: str
) -> Outcome:
    name = component.spec.name
    # Without a definition the node has to be named.
    undeploy = f"`mcpctl undeploy {component.service}/{name} --node {node}` stops and removes it"
    if is_defined:
        return Outcome(name, Result.SKIPPED, "a definition names its service")
    if component.should_run:
        remedy = f"`mcpctl sync` records that it is no longer declared, {undeploy}"
        return Outcome(name, Result.SKIPPED, f"the registry says that it should run; {remedy}")
    if container and container.is_active:
        return Outcome(name, Result.SKIPPED, f"it is not stopped; {undeploy}")
    if run:
        # Forgotten, nobody could name it any more, to see it or to stop it.
        stop = f"`mcpctl run {component.service}/{name} --stop {run} --node {node}` stops it"
        return Outcome(name, Result.SKIPPED, f"run {run} of it goes on; {stop}")
    if container:
        return Outcome(name, Result.REMOVED, f"forgotten; its stopped container {container.name} stays")
    return Outcome(name, Result.REMOVED, "forgotten")


class Purge:
    """Forgets components of one service that nothing wants and nothing runs, as an operation."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._operation = operation

    async def run(self, defined: Collection[str]) -> None:
        target = self._operation.target
        service = await self._node.registry.service(target.service)
        if service is None:
            return
        outcomes = purgeable(service, target.component, await self._node.podman.containers(), defined, self._node.name)
        gone = [each.component for each in outcomes if each.result is Result.REMOVED]
        if gone:
            await self._operation.take("", Step.REMOVE, f"forgetting {', '.join(gone)}")
            await self._node.registry.forget(service.name, gone, datetime.now(UTC))
            await tidy_configs(self._node, service.name)
            for name in gone:
                await self._node.tell(service.name, name, "purged", "", self._operation.caller.name)
        await self._operation.conclude(*outcomes)
