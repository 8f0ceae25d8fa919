"""deploy, start, stop, restart, undeploy: what changes a node."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from mcpctl.actions import relocation, rollout
from mcpctl.actions.operations import BAD, Show, announce, ended_early, follow, left_alone, print_outcomes, shown, watch
from mcpctl.actions.plan import Wanted, changes, on_active_nodes, plan_all, plan_one, plan_several, preview
from mcpctl.actions.rollout import Done, Job
from mcpctl.commands.options import COMMON, Common, DryRun, Force, What, Whats, target
from mcpctl.config import NodeState, Settings
from mcpctl.definitions import definition, targets
from mcpctl.definitions.definition import Definition
from mcpctl.errors import (
    DONE,
    FAILED,
    PARTIAL,
    CliError,
    InterruptedByUserError,
    UnknownServiceError,
    UnreachableError,
    UsageError,
)
from mcpctl.nodes import client
from mcpctl.ui import render
from mcpctl.ui.cells import full_name as called
from mcpctl.ui.output import later, structured
from mcpctl.ui.rows import OutcomeRow, ReportRow, deploy_report, outcome_row
from protos import grammar
from protos.mcp import v1
from protos.wire import service_spec

T = TypeVar("T")
Call = Callable[[v1.AgentServiceStub, str, str], Awaitable[Any]]

Wait = Annotated[bool, Parameter(negative="", help="Wait for an operation that holds the service.")]


def deploy(
    *what: Whats,
    image: Annotated[str, Parameter(help="This image for the component, once, whatever its definition says.")] = "",
    dry_run: DryRun = False,
    plan: Annotated[str, Parameter(help="Only if this plan, as `mcpctl plan` shows it, still holds.")] = "",
    force: Force = False,
    accept_loss: Annotated[
        bool, Parameter(negative="", help="Make adopted containers anew without what no definition can say.")
    ] = False,
    wait: Wait = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), negative="", help="Without a name: do not ask.")] = False,
    and_undeploy_old: Annotated[
        bool,
        Parameter(
            negative="",
            help="Then undeploy it where it ran before; for a moment both run.",
        ),
    ] = False,
    common: Common = COMMON,
) -> int:
    """Make services, or one component of one, run as their definitions say.

    What is unchanged is not touched. When a step fails, everything of that service is put back as it was. An adopted
    container that has what no definition can say is made anew only with --accept-loss; `mcpctl plan` lists what that
    is. A service whose definition names another node than the one that runs it is refused, since it would run twice.

    Without a name all definitions are deployed: the plans are shown first, and nothing is done before you say yes, or
    unless --yes is given. Of several services those on different nodes are deployed at once, those on one node one
    after the other. One that fails stops no other.

    For example: `mcpctl deploy web`
    """
    if dry_run and plan:
        raise UsageError("--dry-run makes a plan, and takes none")
    of_one = {"--image": image, "--plan": plan, "--and-undeploy-old": and_undeploy_old}
    if len(what) != 1 and (option := next((name for name, value in of_one.items() if value), "")):
        raise UsageError(f"{option} is for one service: say which")
    settings = common.settings()
    if dry_run and not what:
        return plan_all(settings, force=force, how=common.how)
    if not what:
        return _deploy_all(settings, force=force, wait=wait, accept_loss=accept_loss, yes=yes, common=common)
    wanted = [Wanted(found, component, force) for found, component in _found(settings, what)]
    for each in wanted:
        definition.check_ports(settings, each.service)
    if len(wanted) > 1:
        if dry_run:
            return plan_several(settings, wanted, how=common.how)
        several = [(each, _request(each, wait=wait, accept_loss=accept_loss)) for each in wanted]
        return _deploy_several(settings, several, common)
    (one,) = wanted
    if image:
        changed = _with_image(one.service, one.component, image, verb="planning" if dry_run else "deploying")
        one = msgspec.structs.replace(one, service=changed, options=f" --image {image}")
    if dry_run:
        return plan_one(settings, one, how=common.how)
    request = _request(one, plan=plan, wait=wait, accept_loss=accept_loss)
    return _deploy_one(settings, one, request, common, moves=and_undeploy_old)


def _deploy_one(settings: Settings, one: Wanted, request: v1.DeployRequest, common: Common, *, moves: bool) -> int:
    node, name = settings.usable_node(one.node), one.service.service.name
    if moves and one.component:
        raise UsageError(f"--and-undeploy-old moves a whole service: say {name}, without a component")
    elsewhere = relocation.check(settings, {name: node.name}, "deploying", moves=moves)
    status = watch(
        settings,
        node,
        lambda stub: stub.deploy(request),
        deploy_report,
        subject=f"the deploy of {one.name}",
        how=common.how,
        kind="deploy",
    )
    if moves and status == DONE:
        return max((_undeploy_old(settings, name, each.node, common) for each in elsewhere.left), default=DONE)
    for warning in elsewhere.warnings:
        render.note(f"mcpctl: {warning}")
    return status


def _undeploy_old(settings: Settings, name: str, node: str, common: Common) -> int:
    """Its definition is not touched: it is about the node that has the service now."""
    if not common.quiet:
        render.note(f"mcpctl: {name} runs where its definition says; undeploying it on {node}")
    request = v1.UndeployServiceRequest(service=name)
    return _outcomes(settings, node, lambda stub: stub.undeploy_service(request), common, lines=True)


def _request(wanted: Wanted, *, plan: str = "", wait: bool, accept_loss: bool) -> v1.DeployRequest:
    return v1.DeployRequest(
        service=service_spec(wanted.service.service),
        component=wanted.component,
        force=wanted.force,
        plan_id=plan,
        wait=wait,
        accept_losses=accept_loss,
    )


def _deploy_all(settings: Settings, *, force: bool, wait: bool, accept_loss: bool, yes: bool, common: Common) -> int:
    """Deploys exactly what is shown: a plan that holds no longer by then is refused by its node."""
    is_terminal = sys.stdin.isatty() and render.is_terminal(sys.stdout)
    if not yes and (common.json or not is_terminal):
        raise UsageError(
            "deploy without a name deploys all definitions, and asks before: here is no terminal to ask on. "
            "`mcpctl plan` shows what it would do, `mcpctl deploy --yes` does it"
        )
    found, wrong = definition.without_clashes(settings, *definition.every(settings))
    if wrong:
        raise UsageError(
            "\n".join([*map(str, wrong), "nothing was sent to any node; `mcpctl deploy NAME...` deploys what is right"])
        )
    wanted = on_active_nodes(settings, [Wanted(each, force=force) for each in found])
    plans = preview(settings, wanted, how=common.how)
    count = sum(map(changes, plans.values()))
    if not yes and count and not _agreed(count):
        raise CliError("nothing was deployed")
    # Also what is unchanged: a node may have to take note of what a definition does not have any more.
    several = [
        (each, _request(each, plan=plans[each.name].plan_id, wait=wait, accept_loss=accept_loss))
        for each in wanted
        if each.name in plans
    ]
    status = _deploy_several(settings, several, common)
    return status if status != DONE or len(plans) == len(wanted) else PARTIAL


def _agreed(count: int) -> bool:
    print(f"Deploy {'these' if count > 1 else 'this'}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _deploy_several(settings: Settings, several: Sequence[tuple[Wanted, v1.DeployRequest]], common: Common) -> int:
    several, skipped = _on_active_nodes(settings, several)
    nodes = {each.node for each, _ in several}
    elsewhere = relocation.check(settings, {each.service.service.name: each.node for each, _ in several}, "deploying")
    done: list[Done] = []
    # Of each node the operation that it is at, with the name of what it deploys.
    running: dict[str, tuple[str, str]] = {}

    def job(wanted: Wanted, request: v1.DeployRequest, show: Show) -> Job:
        node, service = settings.node(wanted.node), wanted.service.service.name

        async def do(stub: v1.AgentServiceStub, keep: Callable[[OutcomeRow], None]) -> None:
            def tell(row: ReportRow) -> None:
                if (row.operation, wanted.name) != running.get(node.name):
                    announce(node, row.operation, f"the deploy of {wanted.name}", common.how)
                    running[node.name] = row.operation, wanted.name
                if row.outcome:
                    keep(row.outcome)
                show(msgspec.structs.replace(row, node=node.name, service=service))

            early = ended_early(node, f"the deploy of {wanted.name}")
            try:
                await follow(stub.deploy(request), deploy_report, tell, early)
            except UnreachableError as error:
                again = left_alone(settings, node, running[node.name][0], "deploy") if node.name in running else ""
                raise UnreachableError("\n".join(filter(None, (str(error), again)))) from None
            running.pop(node.name, None)

        return Job(node, service, wanted.component, do)

    async def command() -> None:
        async with shown(common.how, several=len(nodes) > 1) as show:
            await rollout.run(settings, [job(each, request, show) for each, request in several], done)

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        begun = [left_alone(settings, settings.node(node), number, "deploy") for node, (number, _) in running.items()]
        rest = ", ".join(each.job.name for each in done if not each.is_begun)
        lines = [*begun, *([f"not begun: {rest}"] if rest else [])]
        raise InterruptedByUserError("\n".join(["interrupted", *lines])) from None
    for warning in elsewhere.warnings:
        render.note(f"mcpctl: {warning}")
    return max(rollout.tell(done, common.how, as_rows=False), PARTIAL if skipped else DONE, key=_weight)


def _weight(status: int) -> int:
    """Of two ends of one command the one that says more."""
    return (DONE, PARTIAL, FAILED).index(status)


def _on_active_nodes(settings: Settings, several: Sequence[tuple[Wanted, T]]) -> tuple[list[tuple[Wanted, T]], bool]:
    """Those on nodes that are active, and whether there are others, of which it is said. Raises CliError for none."""
    active = [each for each in several if settings.node(each[0].node).state is NodeState.ACTIVE]
    for wanted, _ in several:
        node = settings.node(wanted.node)
        if node.state is not NodeState.ACTIVE:
            render.note(f"mcpctl: {wanted.name}: node {node.name} is {node.state}: skipped")
    if not active:
        settings.usable_node(several[0][0].node)
    return active, len(active) < len(several)


def _found(settings: Settings, names: Sequence[str]) -> list[tuple[Definition, str]]:
    """What is named, each once. Raises UsageError with everything that is wrong."""
    found: dict[tuple[str, str], tuple[Definition, str]] = {}
    wrong = []
    for name in names:
        try:
            one, component = definition.find(settings, name)
            found.setdefault((str(one.path), component), (one, component))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(wrong))
    return list(found.values())


def start(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Want services or components running, and start them.

    Writes active = true into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl start web/api`
    """

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.start_service(v1.StartServiceRequest(service=name, component=component, wait=wait))

    return _each("start", what, call, common, active=True)


def stop(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Want services or components stopped, and stop them.

    Writes active = false into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl stop web`
    """

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.stop_service(v1.StopServiceRequest(service=name, component=component, wait=wait))

    return _each("stop", what, call, common, active=False)


def restart(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Stop and start what should run; change no intent.

    For example: `mcpctl restart web/api`
    """

    def call(stub: v1.AgentServiceStub, name: str, component: str) -> Awaitable[Any]:
        return stub.restart_service(v1.RestartServiceRequest(service=name, component=component, wait=wait))

    return _each("restart", what, call, common)


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
    """Stop and remove the containers of a service, and forget them.

    Its definition stays, with active = false.

    For example: `mcpctl undeploy web`
    """
    settings = common.settings()
    name, component = target(what)
    if not node:
        found = definition.find(settings, what)[0] if targets.is_file(what) else definition.load(settings, name)
        node = found.service.node
        settings.usable_node(node)
        if not component:
            _write_active(found, "", False, quiet=common.quiet)
    request = v1.UndeployServiceRequest(service=name, component=component, wait=wait)
    try:
        return _outcomes(settings, node, lambda stub: stub.undeploy_service(request), common)
    except UnknownServiceError as error:
        raise UnknownServiceError(f"{error}{definition.nearest(settings, name, component)}") from None


def _each(command: str, what: Sequence[str], call: Call, common: Common, *, active: bool | None = None) -> int:
    """Writes the intent into the files, which are the source of truth, and then tells the agents (audit E3).

    ``active`` None: the intent stays.
    """
    if not what:
        raise UsageError(
            f"{command} needs to know what: `mcpctl {command} SERVICE`, or SERVICE/COMPONENT, or several of those; "
            "`mcpctl service list` lists the services"
        )
    settings = common.settings()
    wanted = [Wanted(found, component) for found, component in _found(settings, what)]
    several, skipped = _on_active_nodes(settings, [(each, None) for each in wanted]) if wanted[1:] else ([], False)
    if len(wanted) == 1:
        settings.usable_node(wanted[0].node)
        several = [(wanted[0], None)]
    if active:
        relocation.check(settings, {each.service.service.name: each.node for each, _ in several}, "starting")
    if active is not None:
        for each, _ in several:
            _write_active(each.service, each.component, active, quiet=common.quiet)
    if len(wanted) == 1:
        return _one(settings, wanted[0], call, common, active)
    jobs = [_job(settings, each, call, active) for each, _ in several]
    done: list[Done] = []
    asyncio.run(rollout.run(settings, jobs, done))
    return max(rollout.tell(done, common.how), PARTIAL if skipped else DONE, key=_weight)


def _one(settings: Settings, wanted: Wanted, call: Call, common: Common, active: bool | None) -> int:
    name, component = wanted.service.service.name, wanted.component
    try:
        return _outcomes(settings, wanted.node, lambda stub: call(stub, name, component), common)
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
    return f"{wanted.service.path} says active = {word}; `mcpctl sync` will settle it when the node is back"


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
