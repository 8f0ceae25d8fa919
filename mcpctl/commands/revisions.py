"""history and rollback: their signatures; what they do is in `mcpctl.actions.revisions`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import revisions as action
from mcpctl.commands.options import COMMON, Common, DryRun, Nodes, Wait
from mcpctl.errors import UsageError

Service = Annotated[str, Parameter(name="SERVICE", help="The service.")]


def history(
    service: Service,
    /,
    *,
    limit: Annotated[int, Parameter(help="Show at most this many per node, the newest.")] = action.DEFAULT_REVISIONS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List the revisions of a service: what deploys have made of it.

    A deploy that changes something makes a revision; so does a rollback. A node keeps 20 of each service, unless its
    configuration says otherwise.

    For example: `mcpctl history web`
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    return action.history(common.query(service, node), limit=limit)


def rollback(
    service: Service,
    /,
    *,
    to: Annotated[
        int | None,
        Parameter(help="The revision to go back to, from `mcpctl history SERVICE`. [default: the one before]"),
    ] = None,
    dry_run: DryRun = False,
    plan: Annotated[str, Parameter(help="Roll back only if this plan from --dry-run still holds.")] = "",
    accept_loss: Annotated[
        bool,
        Parameter(
            negative="", help="Recreate adopted containers without the settings that the revision does not have."
        ),
    ] = False,
    wait: Wait = False,
    node: Annotated[
        str, Parameter(help="The node, if the service has no definition, or its definition names another node.")
    ] = "",
    common: Common = COMMON,
) -> int:
    """Deploy an earlier revision of a service again.

    If a step fails, everything is put back, as in any deploy. Images that are still on the node are used without
    asking a registry. What was stopped stays stopped. Afterwards the images in the definition are those of the
    revision; mcpctl shows what else the definition says otherwise. Rolling back twice goes back two revisions.

    For example: `mcpctl rollback web --to 3`
    """
    if to is not None and to < 1:
        raise UsageError(f"{to} is not a valid revision")
    if dry_run and plan:
        raise UsageError("--dry-run cannot be given with --plan")
    return action.rollback(
        common.settings(), service, node, action.Request(to or 0, dry_run, plan, accept_loss, wait), common.how
    )
