"""adopt: containers that run already come under management, untouched (audit E4)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import adopt as action
from mcpctl.commands.options import COMMON, Common, DryRun


def adopt(
    service: Annotated[str, Parameter(help="The service.")],
    /,
    *,
    dry_run: DryRun = False,
    node: Annotated[
        str, Parameter(help="The node. [default: the definition's node, or the one that has such containers]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """Bring existing containers under management, without touching them.

    A container called SERVICE-NAME becomes the component NAME. A container called SERVICE becomes a component of the
    same name. Containers of other services are left alone, and are listed. Afterwards, `mcpctl service export SERVICE`
    writes the definition; deploying it changes nothing.

    For example: `mcpctl adopt web --dry-run`
    """
    return action.adopt(common.query(service), node, dry_run=dry_run)
