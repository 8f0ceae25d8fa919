"""What `mcpctl deploy` does: one service, several, or all that are defined, each with the plan that was agreed to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

import msgspec

from mcpctl.actions import plan as plans
from mcpctl.actions import relocation, rollout
from mcpctl.actions.operation_progress import (
    Show,
    announce,
    change,
    ended_early,
    follow,
    follow_deploy,
    left_alone,
    shown,
)
from mcpctl.actions.plan import Wanted
from mcpctl.actions.rollout import Done, Job
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, PARTIAL, CliError, InterruptedByUserError, UnreachableError, UsageError
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How
from mcpctl.ui.rows.changes import OutcomeRow, ReportRow, deploy_report
from protos import grammar
from protos.mcp import v1
from protos.wire import service_spec


class Request(msgspec.Struct, frozen=True):
    """What is asked of a deploy. ``image``: for the component, whatever its definition says; ``plan``: its id.

    ``build``: images are built first; ``engine``: with which, None for whichever is here.
    """

    image: str = ""
    dry_run: bool = False
    plan: str = ""
    force: bool = False
    accept_loss: bool = False
    wait: bool = False
    yes: bool = False
    and_undeploy_old: bool = False
    build: bool = False
    engine: str | None = None


def deploy(settings: Settings, names: Sequence[str], asked: Request, how: How) -> int:
    """Of ``names``; without any, of all definitions. Raises CliError."""
    if asked.dry_run and not names:
        return plans.plan_all(settings, force=asked.force, how=how)
    if not names:
        return _deploy_all(settings, asked, how)
    wanted = [Wanted(found, component, asked.force) for found, component in definition.find_several(settings, names)]
    for each in wanted:
        definition.check_ports(settings, each.service)
    if asked.build:
        # It brings httpx along, which every other deploy does without.
        from mcpctl.actions.deploy_build import build_first

        wanted = build_first(settings, wanted, asked.engine, how)
    if len(wanted) > 1:
        if asked.dry_run:
            return plans.plan_several(settings, wanted, how=how)
        several = [(each, _request(each, wait=asked.wait, accept_loss=asked.accept_loss)) for each in wanted]
        return _deploy_several(settings, several, how)
    (one,) = wanted
    if asked.image:
        changed = _with_image(
            one.service, one.component, asked.image, verb="planning" if asked.dry_run else "deploying"
        )
        one = msgspec.structs.replace(one, service=changed, options=f" --image {asked.image}")
    if asked.dry_run:
        return plans.plan_one(settings, one, how=how)
    request = _request(one, plan=asked.plan, wait=asked.wait, accept_loss=asked.accept_loss)
    return _deploy_one(settings, one, request, how, moves=asked.and_undeploy_old)


def _deploy_one(settings: Settings, one: Wanted, request: v1.DeployRequest, how: How, *, moves: bool) -> int:
    node, name = settings.usable_node(one.node), one.service.service.name
    if moves and one.component:
        raise UsageError(f"--and-undeploy-old moves a whole service: give {name} without a component")
    elsewhere = relocation.check(settings, {name: node.name}, "deploying", moves=moves)
    status = follow_deploy(settings, node, request, f"the deploy of {one.name}", how)
    if moves and status == DONE:
        return max((_undeploy_old(settings, name, each.node, how) for each in elsewhere.left), default=DONE)
    relocation.warn(elsewhere)
    return status


def _undeploy_old(settings: Settings, name: str, node: str, how: How) -> int:
    """Its definition is not touched: it is about the node that has the service now."""
    if not how.quiet:
        render.note(f"mcpctl: {name} runs on its new node; undeploying it from {node}")
    request = v1.UndeployServiceRequest(service=name)
    return change(settings, node, lambda stub: stub.undeploy_service(request), how, lines=True)


def _request(wanted: Wanted, *, plan: str = "", wait: bool, accept_loss: bool) -> v1.DeployRequest:
    return v1.DeployRequest(
        service=service_spec(wanted.service.service),
        component=wanted.component,
        force=wanted.force,
        plan_id=plan,
        wait=wait,
        accept_losses=accept_loss,
        built=list(wanted.built),
    )


def _deploy_all(settings: Settings, asked: Request, how: How) -> int:
    """Deploys exactly what is shown: a plan that holds no longer by then is refused by its node."""
    is_terminal = sys.stdin.isatty() and render.is_terminal(sys.stdout)
    if not asked.yes and (how.structured or not is_terminal):
        raise UsageError(
            "deploy without a service deploys all definitions and asks first, but there is no terminal to ask on; "
            "`mcpctl plan` shows what would change, `mcpctl deploy --yes` deploys without asking"
        )
    found, wrong = definition.without_clashes(settings, *definition.every(settings))
    if wrong:
        raise UsageError(
            "\n".join(
                [*map(str, wrong), "nothing was sent to any node; `mcpctl deploy SERVICE...` deploys the valid ones"]
            )
        )
    wanted = plans.on_active_nodes(settings, [Wanted(each, force=asked.force) for each in found])
    shown_plans = plans.preview(settings, wanted, how=how)
    count = sum(map(plans.changes, shown_plans.values()))
    if not asked.yes and count and not _agreed(count):
        raise CliError("nothing was deployed")
    # Also what is unchanged: a node may have to take note of what a definition does not have any more.
    several = [
        (each, _request(each, plan=shown_plans[each.name].plan_id, wait=asked.wait, accept_loss=asked.accept_loss))
        for each in wanted
        if each.name in shown_plans
    ]
    status = _deploy_several(settings, several, how)
    return status if status != DONE or len(shown_plans) == len(wanted) else PARTIAL


def _agreed(count: int) -> bool:
    print(f"Deploy {'these' if count > 1 else 'this'}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _deploy_several(settings: Settings, several: Sequence[tuple[Wanted, v1.DeployRequest]], how: How) -> int:
    several, skipped = rollout.on_active_nodes(settings, several)
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
                    announce(node, row.operation, f"the deploy of {wanted.name}", how)
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
        async with shown(how, several=len(nodes) > 1) as show:
            await rollout.run(settings, [job(each, request, show) for each, request in several], done)

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        begun = [left_alone(settings, settings.node(node), number, "deploy") for node, (number, _) in running.items()]
        rest = ", ".join(each.job.name for each in done if not each.is_begun)
        lines = [*begun, *([f"not started: {rest}"] if rest else [])]
        raise InterruptedByUserError("\n".join(["interrupted", *lines])) from None
    relocation.warn(elsewhere)
    return max(rollout.tell(done, how, as_rows=False), PARTIAL if skipped else DONE, key=rollout.weight)


def _with_image(found: Definition, component: str, image: str, *, verb: str) -> Definition:
    """The definition with another image for ``component``; says what that means. Raises UsageError."""
    try:
        grammar.image(image)
    except ValueError as error:
        raise UsageError(f"--image: {error}") from None
    service = found.service
    if not component and len(service.components) > 1:
        known = ", ".join(service.component_names)
        raise UsageError(f"--image needs one component; {service.name} has {known}: give {service.name}/COMPONENT")
    component = component or service.components[0].name
    told = service.component(component)
    if told and told.image != image:
        render.note(
            f"mcpctl: {full_name(service.name, component)}: {verb} {image}; {found.path} still says {told.image}, and "
            "the next deploy goes back to it unless you edit the file"
        )
    components = tuple(
        msgspec.structs.replace(each, image=image) if each.name == component else each for each in service.components
    )
    return msgspec.structs.replace(found, service=msgspec.structs.replace(service, components=components))
