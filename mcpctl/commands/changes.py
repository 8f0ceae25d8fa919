"""deploy, start, stop, restart, undeploy: what changes a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from cyclopts import Parameter

from mcpctl import client, definition, render
from mcpctl.config import Settings
from mcpctl.definition import Definition
from mcpctl.errors import DONE, FAILED, UnreachableError
from mcpctl.intent import service_spec
from mcpctl.options import COMMON, Common, target
from mcpctl.rows import OutcomeRow, outcome_row, progress_row
from protos.mcp import v1

What = Annotated[str, Parameter(help="SERVICE, or SERVICE/COMPONENT.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait for an operation that holds the service.")]
_BAD = ("failed", "reverted")


def deploy(
    what: What,
    /,
    *,
    force: Annotated[bool, Parameter(negative="", help="Recreate what is unchanged, too.")] = False,
    wait: Wait = False,
    common: Common = COMMON,
) -> int:
    """Make a service, or one component of it, run as its definition says.

    What is unchanged is not touched. When a step fails, everything is put back as it was.

    For example: `mcpctl deploy web`
    """
    settings = common.settings()
    name, component = target(what)
    found = definition.load(settings, name)
    found.check_component(component)
    node = settings.usable_node(found.service.node)

    async def command() -> int:
        request = v1.DeployRequest(service=service_spec(found.service), component=component, force=force, wait=wait)
        outcomes: list[OutcomeRow] = []
        completed = False
        try:
            async with client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub:
                async for response in stub.deploy(request):
                    _show(response, outcomes, common)
                    completed = response.is_set("completed")
        finally:
            if outcomes and not common.json:
                _print_outcomes(outcomes)
        if not completed:
            # grpclib takes a connection that closes right behind an error for the end of a good stream.
            raise UnreachableError(
                f"node {node.name}: the connection ended before the deploy did; it ends there by itself, completed or "
                f"undone: see `mcpctl status {name}`"
            )
        return DONE

    return client.run(command())


def start(what: What, /, *, wait: Wait = False, common: Common = COMMON) -> int:
    """Want a service or component running, and start it.

    Writes active = true into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl start web/api`
    """
    return _switch(
        what,
        True,
        lambda stub, name, component: stub.start_service(
            v1.StartServiceRequest(service=name, component=component, wait=wait)
        ),
        common,
    )


def stop(what: What, /, *, wait: Wait = False, common: Common = COMMON) -> int:
    """Want a service or component stopped, and stop it.

    Writes active = false into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl stop web`
    """
    return _switch(
        what,
        False,
        lambda stub, name, component: stub.stop_service(
            v1.StopServiceRequest(service=name, component=component, wait=wait)
        ),
        common,
    )


def restart(what: What, /, *, wait: Wait = False, common: Common = COMMON) -> int:
    """Stop and start what should run; change no intent.

    For example: `mcpctl restart web/api`
    """
    settings = common.settings()
    name, component = target(what)
    found = definition.load(settings, name)
    found.check_component(component)
    request = v1.RestartServiceRequest(service=name, component=component, wait=wait)
    return _outcomes(settings, found.service.node, lambda stub: stub.restart_service(request), common)


def undeploy(
    what: What,
    /,
    *,
    node: Annotated[str, Parameter(help="The node, for a service that has no definition any more.")] = "",
    wait: Wait = False,
    common: Common = COMMON,
) -> int:
    """Stop and remove a service's containers, and forget them.

    Its definition stays, with active = false.

    For example: `mcpctl undeploy web`
    """
    settings = common.settings()
    name, component = target(what)
    if not node:
        found = definition.load(settings, name)
        node = found.service.node
        settings.usable_node(node)
        if not component:
            _write_active(found, "", False)
    request = v1.UndeployServiceRequest(service=name, component=component, wait=wait)
    return _outcomes(settings, node, lambda stub: stub.undeploy_service(request), common)


def _switch(
    what: str, active: bool, call: Callable[[v1.AgentServiceStub, str, str], Awaitable[Any]], common: Common
) -> int:
    """Writes the intent into the file, which is the source of truth, and then tells the agent (audit E3)."""
    settings = common.settings()
    name, component = target(what)
    found = definition.load(settings, name)
    found.check_component(component)
    settings.usable_node(found.service.node)
    _write_active(found, component, active)
    try:
        return _outcomes(settings, found.service.node, lambda stub: call(stub, name, component), common)
    except UnreachableError as error:
        word = str(active).lower()
        raise UnreachableError(
            f"{error}\n{found.path} says active = {word}; `mcpctl sync` will settle it when the node is back"
        ) from None


def _outcomes(
    settings: Settings, node_name: str, call: Callable[[v1.AgentServiceStub], Awaitable[Any]], common: Common
) -> int:
    node = settings.usable_node(node_name)

    async def command() -> int:
        async with client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub:
            response = await call(stub)
        rows = [outcome_row(each) for each in response.outcomes]
        if common.json:
            render.as_json(rows)
        else:
            _print_outcomes(rows)
        return FAILED if any(row.result in _BAD for row in rows) else DONE

    return client.run(command())


def _show(response: v1.DeployResponse, outcomes: list[OutcomeRow], common: Common) -> None:
    if response.is_set("outcome"):
        row = outcome_row(response.outcome)
        outcomes.append(row)
        if common.json:
            render.as_json_line({"operation": response.operation_id, "outcome": row})
    elif response.is_set("progress"):
        step = progress_row(response.progress)
        if common.json:
            render.as_json_line({"operation": response.operation_id, "progress": step})
        else:
            render.note(f"{step.component:16} {step.step:8} {step.message}")


def _print_outcomes(rows: list[OutcomeRow]) -> None:
    render.table(("COMPONENT", "RESULT", "DETAIL"), [(row.component, row.result, row.message) for row in rows])


def _write_active(found: Definition, component: str, active: bool) -> None:
    if definition.set_active(found, component, active):
        where = f" for {component}" if component else ""
        render.note(f"{found.path}: active = {str(active).lower()}{where}")
