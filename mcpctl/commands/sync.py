"""sync, purge, recover: what makes whole nodes agree with what is declared."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import sync as action
from mcpctl.commands.options import COMMON, Common, DryRun, Nodes


def sync(*, dry_run: DryRun = False, node: Nodes = (), common: Common = COMMON) -> int:
    """Send all definitions to the nodes, without recreating containers.

    The nodes record the definitions, and start or stop existing containers to match. Containers that no definition
    names any more are left alone from then on. Changes that need a deploy are listed.

    For example: `mcpctl sync --dry-run`
    """
    return action.sync(common.settings(), node, common.how, dry_run=dry_run)


def purge(
    target: Annotated[
        str, Parameter(name="TARGET", help="SERVICE or SERVICE/COMPONENT. [default: all that can be purged]")
    ] = "",
    /,
    *,
    dry_run: DryRun = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Delete the records of components that are not defined and do not run.

    Keeps the records of services that have a definition, and of components that run or should run. No container is
    touched.

    For example: `mcpctl purge web/old --dry-run`
    """
    return action.purge(common.query(target, node), dry_run=dry_run)


def recover(
    service: Annotated[str, Parameter(help="Recover only this service.")] = "",
    /,
    *,
    dry_run: DryRun = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Recreate containers that podman has lost, from the nodes' registries.

    Needs no definitions and no image registry: the node uses the images that it has.

    For example: `mcpctl recover --node rift --dry-run`
    """
    return action.recover(common.query(service, node), dry_run=dry_run)
