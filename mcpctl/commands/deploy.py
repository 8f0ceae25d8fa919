"""deploy: its signature; what it does is in `mcpctl.actions.deploy`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import deploy as action
from mcpctl.commands.options import COMMON, Common, DryRun, Engine, Force, Wait, Whats
from mcpctl.errors import UsageError

_PLANNED = "what a build makes is not known before; `mcpctl plan SERVICE` shows what the definition changes"
_NOT_WITH_BUILD = {
    "--dry-run": _PLANNED,
    "--plan": _PLANNED,
    "--image": "it builds the image that the definition names; raise the tag there",
}


def deploy(
    *what: Whats,
    image: Annotated[
        str, Parameter(help="Deploy this image instead of the one in the definition, this time only.")
    ] = "",
    build: Annotated[
        bool, Parameter(negative="", help="First build the images of components with a build in their definition.")
    ] = False,
    engine: Engine = None,
    dry_run: DryRun = False,
    plan: Annotated[str, Parameter(help="Deploy only if this plan from `mcpctl plan` still holds.")] = "",
    force: Force = False,
    accept_loss: Annotated[
        bool,
        Parameter(
            negative="", help="Recreate adopted containers without the settings that their definition does not have."
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
    have settings that its definition lacks: `mcpctl plan` lists them, and the deploy needs --accept-loss to drop them.
    If the definition names a new node and the old node still runs the service, the deploy is refused, because the
    service would run twice.

    Without a TARGET, all definitions are deployed: mcpctl shows the plans and asks first, unless you give --yes. Nodes
    are deployed to in parallel, the services of one node one after the other. If one service fails, the others
    continue.

    With --build, images are built on this machine first, as `mcpctl build` does. An image with a registry is pushed
    there, under a tag that is new; one without goes straight to the node. A container of another image is then
    replaced, even if its definition is unchanged. It cannot be given with --dry-run or --plan, because what would be
    built is not known before.

    For example: `mcpctl deploy web`
    """
    if dry_run and plan:
        raise UsageError("--dry-run cannot be given with --plan")
    of_built = {"--dry-run": dry_run, "--plan": plan, "--image": image}
    if build and (option := next((name for name, value in of_built.items() if value), "")):
        raise UsageError(f"--build cannot be given with {option}: {_NOT_WITH_BUILD[option]}")
    if build and not what:
        raise UsageError("--build needs a service: `mcpctl deploy SERVICE --build`")
    if engine and not build:
        raise UsageError("--with needs --build: it says which program builds")
    of_one = {"--image": image, "--plan": plan, "--and-undeploy-old": and_undeploy_old}
    if len(what) != 1 and (option := next((name for name, value in of_one.items() if value), "")):
        raise UsageError(f"{option} needs exactly one service")
    asked = action.Request(image, dry_run, plan, force, accept_loss, wait, yes, and_undeploy_old, build, engine)
    return action.deploy(common.settings(), what, asked, common.how)
