"""What `mcpctl start`, `stop`, `restart` and `undeploy` do: to the definition first, then on the node (audit E3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mcpctl.actions import relocation, rollout
from mcpctl.actions.operation_progress import change
from mcpctl.actions.plan import Wanted
from mcpctl.actions.rollout import Done, Job
from mcpctl.config import Settings
from mcpctl.definitions import definition, targets, written_keys
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, PARTIAL, UnknownServiceError, UnreachableError
from mcpctl.ui import render
from mcpctl.ui.output import How
from mcpctl.ui.rows.changes import OutcomeRow, outcome_row
from protos.mcp import v1

Call = Callable[[v1.AgentServiceStub, str, str], Awaitable[Any]]


def start(settings: Settings, names: Sequence[str], how: How, *, wait: bool) -> int:
    """Raises CliError."""

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.start_service(v1.StartServiceRequest(service=name, component=component, wait=wait))

    return _each(settings, names, call, how, active=True)


def stop(settings: Settings, names: Sequence[str], how: How, *, wait: bool) -> int:
    """Raises CliError."""

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.stop_service(v1.StopServiceRequest(service=name, component=component, wait=wait))

    return _each(settings, names, call, how, active=False)


def restart(settings: Settings, names: Sequence[str], how: How, *, wait: bool) -> int:
    """Raises CliError."""

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.restart_service(v1.RestartServiceRequest(service=name, component=component, wait=wait))

    return _each(settings, names, call, how)


def undeploy(settings: Settings, what: str, node: str, how: How, *, wait: bool) -> int:
    """``node`` "": the one that its definition names. Raises CliError."""
    name, component = targets.split(what)
    if not node:
        found = definition.find(settings, what)[0] if targets.is_file(what) else definition.load(settings, name)
        node = found.service.node
        settings.usable_node(node)
        if not component:
            _write_active(found, "", False, quiet=how.quiet)
    request = v1.UndeployServiceRequest(service=name, component=component, wait=wait)
    try:
        return change(settings, node, lambda stub: stub.undeploy_service(request), how)
    except UnknownServiceError as error:
        raise UnknownServiceError(f"{error}{definition.nearest(settings, name, component)}") from None


def _each(settings: Settings, names: Sequence[str], call: Call, how: How, *, active: bool | None = None) -> int:
    """Writes the intent into the files, which are the source of truth, and then tells the agents (audit E3).

    ``active`` None: the intent stays.
    """
    wanted = [Wanted(found, component) for found, component in definition.find_several(settings, names)]
    if len(wanted) == 1:
        settings.usable_node(wanted[0].node)
        several, skipped = [(wanted[0], None)], False
    else:
        several, skipped = rollout.on_active_nodes(settings, [(each, None) for each in wanted])
    if active:
        relocation.check(settings, {each.service.service.name: each.node for each, _ in several}, "starting")
    if active is not None:
        for each, _ in several:
            _write_active(each.service, each.component, active, quiet=how.quiet)
    if len(wanted) == 1:
        return _one(settings, wanted[0], call, how, active)
    jobs = [_job(settings, each, call, active) for each, _ in several]
    done: list[Done] = []
    asyncio.run(rollout.run(settings, jobs, done))
    return max(rollout.tell(done, how), PARTIAL if skipped else DONE, key=rollout.weight)


def _one(settings: Settings, wanted: Wanted, call: Call, how: How, active: bool | None) -> int:
    name, component = wanted.service.service.name, wanted.component
    try:
        return change(settings, wanted.node, lambda stub: call(stub, name, component), how)
    except UnreachableError as error:
        raise UnreachableError("\n".join(filter(None, (str(error), _later(wanted, active))))) from None


def _job(settings: Settings, wanted: Wanted, call: Call, active: bool | None) -> Job:
    name, component = wanted.service.service.name, wanted.component

    async def do(stub: v1.AgentServiceStub, keep: Callable[[OutcomeRow], None]) -> None:
        for each in (await call(stub, name, component)).outcomes:
            keep(outcome_row(each))

    return Job(settings.node(wanted.node), name, component, do, _later(wanted, active))


def _later(wanted: Wanted, active: bool | None) -> str:
    """What settles it when its node is back; "" when nothing does."""
    if active is None:
        return ""
    word = str(active).lower()
    return f"{wanted.service.path} now says active = {word}; when the node is back, `mcpctl sync` applies it"


def _write_active(found: Definition, component: str, active: bool, *, quiet: bool) -> None:
    if written_keys.set_active(found, component, active) and not quiet:
        where = f" for {component}" if component else ""
        render.note(f"{found.path}: active = {str(active).lower()}{where}")
