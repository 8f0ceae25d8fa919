"""deploy, start, stop, restart, undeploy: their signatures; what they do is in `mcpctl.actions`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import deploy as deploying
from mcpctl.actions import lifecycle
from mcpctl.commands.options import COMMON, Common, DryRun, Force, What, Whats
from mcpctl.errors import UsageError

Wait = Annotated[bool, Parameter(negative="", help="Wait for a running operation on the service, instead of failing.")]


def deploy(
    *what: Whats,
    image: Annotated[
        str, Parameter(help="Deploy this image instead of the one in the definition, this time only.")
    ] = "",
    dry_run: DryRun = False,
    plan: Annotated[str, Parameter(help="Deploy only if this plan from `mcpctl plan` still holds.")] = "",
    force: Force = False,
    accept_loss: Annotated[
        bool,
        Parameter(
            negative="", help="Recreate adopted containers without the settings that a definition cannot express."
        ),
    ] = False,
    wait: Wait = False,
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", help="Deploy all definitions without asking.")
    ] = False,
    and_undeploy_old: Annotated[
        bool,
        Parameter(
            negative="",
            help="Then undeploy it from the node where it ran before; for a moment, both run.",
        ),
    ] = False,
    common: Common = COMMON,
) -> int:
    """Deploy services or components as their definitions say.

    Unchanged containers are not touched. If a step fails, the whole service is rolled back. An adopted container may
    have settings that a definition cannot express: `mcpctl plan` lists them, and the deploy needs --accept-loss to drop
    them. If the definition names a new node and the old node still runs the service, the deploy is refused, because
    the service would run twice.

    Without a TARGET, all definitions are deployed: mcpctl shows the plans and asks first, unless you give --yes. Nodes
    are deployed to in parallel, the services of one node one after the other. If one service fails, the others
    continue.

    For example: `mcpctl deploy web`
    """
    if dry_run and plan:
        raise UsageError("--dry-run cannot be given with --plan")
    of_one = {"--image": image, "--plan": plan, "--and-undeploy-old": and_undeploy_old}
    if len(what) != 1 and (option := next((name for name, value in of_one.items() if value), "")):
        raise UsageError(f"{option} needs exactly one service")
    asked = deploying.Request(image, dry_run, plan, force, accept_loss, wait, yes, and_undeploy_old)
    return deploying.deploy(common.settings(), what, asked, common.how)


def start(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Start services or components, and keep them running.

    Sets active = true in the definition, then starts the containers on the node.

    For example: `mcpctl start web/api`
    """
    _check_named("start", what)
    return lifecycle.start(common.settings(), what, common.how, wait=wait)


def stop(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Stop services or components, and keep them stopped.

    Sets active = false in the definition, then stops the containers on the node.

    For example: `mcpctl stop web`
    """
    _check_named("stop", what)
    return lifecycle.stop(common.settings(), what, common.how, wait=wait)


def restart(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Restart services or components.

    Components that should be stopped stay stopped.

    For example: `mcpctl restart web/api`
    """
    _check_named("restart", what)
    return lifecycle.restart(common.settings(), what, common.how, wait=wait)


def undeploy(
    what: What,
    /,
    *,
    node: Annotated[
        str, Parameter(help="The node, if the service has no definition, or its definition names another node.")
    ] = "",
    wait: Wait = False,
    common: Common = COMMON,
) -> int:
    """Remove a service or component from its node.

    Stops and removes the containers, and deletes their records on the node. The definition stays, with active = false.

    For example: `mcpctl undeploy web`
    """
    return lifecycle.undeploy(common.settings(), what, node, common.how, wait=wait)


def _check_named(command: str, what: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if not what:
        raise UsageError(
            f"{command} needs at least one SERVICE or SERVICE/COMPONENT: `mcpctl {command} SERVICE`; "
            "`mcpctl service list` lists the services"
        )
