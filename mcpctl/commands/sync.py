"""sync, purge, recover: what makes whole nodes agree with what is declared."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import sync as action
from mcpctl.commands.options import COMMON, Common, DryRun, Nodes


def sync(*, dry_run: DryRun = False, node: Nodes = (), common: Common = COMMON) -> int:
    """Tell every node all that is declared; make nothing anew.

    Desired states and specs are recorded, what should be stopped is stopped, what should run and is stopped is started.
    What no definition names any more is left alone from then on. What needs a deploy is listed.

    For example: `mcpctl sync --dry-run`
    """
    return action.sync(common.settings(), node, common.how, dry_run=dry_run)


def purge(
    target: Annotated[
        str, Parameter(name="WHAT", help="SERVICE, or SERVICE/COMPONENT. [default: all that can be]")
    ] = "",
    /,
    *,
    dry_run: DryRun = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Make the nodes forget what nothing declares and nothing runs.

    What has a definition is never touched, nor what runs, nor a container.

    For example: `mcpctl purge web/old --dry-run`
    """
    return action.purge(common.settings(), target, node, common.how, dry_run=dry_run)


def recover(
    service: Annotated[str, Parameter(help="Only this service.")] = "",
    /,
    *,
    dry_run: DryRun = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Make again, from the nodes' registries, the containers that podman has lost.

    Needs no definitions, and no registry of images: what the node has is used.

    For example: `mcpctl recover --node rift --dry-run`
    """
    return action.recover(common.settings(), service, node, common.how, dry_run=dry_run)
