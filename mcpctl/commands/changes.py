"""deploy, start, stop, restart, undeploy: their signatures; what they do is in `mcpctl.actions`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import deploy as deploying
from mcpctl.actions import lifecycle
from mcpctl.commands.options import COMMON, Common, DryRun, Force, What, Whats
from mcpctl.errors import UsageError

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
    asked = deploying.Request(image, dry_run, plan, force, accept_loss, wait, yes, and_undeploy_old)
    return deploying.deploy(common.settings(), what, asked, common.how)


def start(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Want services or components running, and start them.

    Writes active = true into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl start web/api`
    """
    _check_named("start", what)
    return lifecycle.start(common.settings(), what, common.how, wait=wait)


def stop(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Want services or components stopped, and stop them.

    Writes active = false into the definition, which is the source of truth, and tells the agent.

    For example: `mcpctl stop web`
    """
    _check_named("stop", what)
    return lifecycle.stop(common.settings(), what, common.how, wait=wait)


def restart(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Stop and start what should run; change no intent.

    For example: `mcpctl restart web/api`
    """
    _check_named("restart", what)
    return lifecycle.restart(common.settings(), what, common.how, wait=wait)


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
    return lifecycle.undeploy(common.settings(), what, node, common.how, wait=wait)


def _check_named(command: str, what: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if not what:
        raise UsageError(
            f"{command} needs to know what: `mcpctl {command} SERVICE`, or SERVICE/COMPONENT, or several of those; "
            "`mcpctl service list` lists the services"
        )
