"""adopt: containers that run already come under management, untouched (audit E4)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import adopt as action
from mcpctl.commands.options import COMMON, Common, DryRun


def adopt(
    service: Annotated[str, Parameter(help="SERVICE.")],
    /,
    *,
    dry_run: DryRun = False,
    node: Annotated[
        str, Parameter(help="The node. [default: the definition's, or the one that has such containers]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """Take containers that run already under management, without touching them.

    Every container called SERVICE-NAME becomes the component NAME; one that is just called SERVICE becomes a component
    of that name. What belongs to another service is left alone and named. `mcpctl service export SERVICE` then writes
    the definition, and a deploy of it changes nothing.

    For example: `mcpctl adopt web --dry-run`
    """
    return action.adopt(common.settings(), service, node, common.how, dry_run=dry_run)
