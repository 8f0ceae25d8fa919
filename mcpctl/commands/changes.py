"""deploy, start, stop, restart, undeploy: what changes a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from mcpctl import client, definition, moved, render
from mcpctl.config import Settings
from mcpctl.definition import Definition
from mcpctl.errors import DONE, FAILED, UnreachableError, UsageError
from mcpctl.looking import what as called
from mcpctl.options import COMMON, Common, DryRun, Force, What, target
from mcpctl.output import later, structured
from mcpctl.planning import Wanted, plan_one
from mcpctl.reports import BAD, print_outcomes, watch
from mcpctl.rows import deploy_report, outcome_row
from protos import grammar
from protos.mcp import v1
from protos.wire import service_spec

Wait = Annotated[bool, Parameter(negative="", help="Wait for an operation that holds the service.")]


def deploy(
    what: What,
    /,
    *,
    image: Annotated[str, Parameter(help="This image for the component, once, whatever its definition says.")] = "",
    dry_run: DryRun = False,
    plan: Annotated[str, Parameter(help="Only if this plan, as `mcpctl plan` shows it, still holds.")] = "",
    force: Force = False,
    wait: Wait = False,
    and_undeploy_old: Annotated[
        bool,
        Parameter(
            negative="",
            help="Then undeploy it where it ran before; for a moment both run.",
        ),
    ] = False,
    common: Common = COMMON,
) -> int:
    """Make a service, or one component of it, run as its definition says.

    What is unchanged is not touched. When a step fails, everything is put back as it was. A service whose definition
    names another node than the one that runs it is refused, since it would run twice.

    For example: `mcpctl deploy web`
    """
    if dry_run and plan:
        raise UsageError("--dry-run makes a plan, and takes none")
    settings = common.settings()
    name, component = target(what)
    found = definition.load(settings, name)
    found.check_component(component)
    definition.check_ports(settings, found)
    node = settings.usable_node(found.service.node)
    if image:
        found = _with_image(found, component, image, verb="planning" if dry_run else "deploying")
    if dry_run:
        options = f" --image {image}" if image else ""
        return plan_one(settings, Wanted(found, component, force, options), how=common.how)
    if and_undeploy_old and component:
        raise UsageError(f"--and-undeploy-old moves a whole service: say {name}, without a component")
    elsewhere = moved.check(settings, name, node.name, "deploying", moves=and_undeploy_old)
    request = v1.DeployRequest(
        service=service_spec(found.service), component=component, force=force, plan_id=plan, wait=wait
    )
    status = watch(
        settings,
        node,
        lambda stub: stub.deploy(request),
        deploy_report,
        subject="the deploy",
        how=common.how,
    )
    if and_undeploy_old:
        return max(status, *(_undeploy_old(settings, name, each.node, common) for each in elsewhere.left), DONE)
    for warning in elsewhere.warnings:
        render.note(f"mcpctl: {warning}")
    return status


def _undeploy_old(settings: Settings, name: str, node: str, common: Common) -> int:
    """Its definition is not touched: it is about the node that has the service now."""
    if not common.quiet:
        render.note(f"mcpctl: {name} runs where its definition says; undeploying it on {node}")
    request = v1.UndeployServiceRequest(service=name)
    return _outcomes(settings, node, lambda stub: stub.undeploy_service(request), common)


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
    node: Annotated[
        str, Parameter(help="The node, for a service that has no definition any more, or one for another node.")
    ] = "",
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
            _write_active(found, "", False, quiet=common.quiet)
    request = v1.UndeployServiceRequest(service=name, component=component, wait=wait)
    return _outcomes(settings, node, lambda stub: stub.undeploy_service(request), common, lines=True)


def _switch(
    what: str, active: bool, call: Callable[[v1.AgentServiceStub, str, str], Awaitable[Any]], common: Common
) -> int:
    """Writes the intent into the file, which is the source of truth, and then tells the agent (audit E3)."""
    settings = common.settings()
    name, component = target(what)
    found = definition.load(settings, name)
    found.check_component(component)
    settings.usable_node(found.service.node)
    if active:
        moved.check(settings, name, found.service.node, "starting")
    _write_active(found, component, active, quiet=common.quiet)
    try:
        return _outcomes(settings, found.service.node, lambda stub: call(stub, name, component), common)
    except UnreachableError as error:
        word = str(active).lower()
        raise UnreachableError(
            f"{error}\n{found.path} says active = {word}; `mcpctl sync` will settle it when the node is back"
        ) from None


def _outcomes(
    settings: Settings,
    node_name: str,
    call: Callable[[v1.AgentServiceStub], Awaitable[Any]],
    common: Common,
    *,
    lines: bool = False,
) -> int:
    """``lines``: as JSON, a line for each, since others were printed before."""
    node = settings.usable_node(node_name)

    async def command() -> int:
        async with client.agent(settings, node, deadline=client.CHANGE_DEADLINE_S) as stub:
            response = await call(stub)
        rows = [outcome_row(each) for each in response.outcomes]
        if common.json and lines:
            for row in rows:
                later(row, common.how)
        elif common.json:
            structured(rows, common.how, rows)
        else:
            print_outcomes(rows, quiet=common.quiet)
        return FAILED if any(row.result in BAD for row in rows) else DONE

    return client.run(command())


def _with_image(found: Definition, component: str, image: str, *, verb: str) -> Definition:
    """The definition with another image for ``component``; says what that means. Raises UsageError."""
    try:
        grammar.image(image)
    except ValueError as error:
        raise UsageError(f"--image: {error}") from None
    service = found.service
    if not component and len(service.components) > 1:
        known = ", ".join(service.component_names)
        raise UsageError(f"--image is for one component, and {service.name} has {known}: say {service.name}/COMPONENT")
    component = component or service.components[0].name
    told = service.component(component)
    if told and told.image != image:
        render.note(
            f"mcpctl: {called(service.name, component)}: {verb} {image}; {found.path} says {told.image} until you "
            "edit it: the next deploy goes back to that"
        )
    components = tuple(
        msgspec.structs.replace(each, image=image) if each.name == component else each for each in service.components
    )
    return msgspec.structs.replace(found, service=msgspec.structs.replace(service, components=components))


def _write_active(found: Definition, component: str, active: bool, *, quiet: bool) -> None:
    if definition.set_active(found, component, active) and not quiet:
        where = f" for {component}" if component else ""
        render.note(f"{found.path}: active = {str(active).lower()}{where}")
