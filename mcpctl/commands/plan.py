"""plan: its signature; what it does is in `mcpctl.actions.plan`, which `deploy --dry-run` does too."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions.plan import Wanted, plan_all, plan_one
from mcpctl.commands.options import COMMON, Common, Force
from mcpctl.definitions import definition


def plan(
    what: Annotated[str, Parameter(name="TARGET", help="SERVICE or SERVICE/COMPONENT. [default: all services]")] = "",
    /,
    *,
    force: Force = False,
    common: Common = COMMON,
) -> int:
    """Show what a deploy would change, without changing anything.

    Lists each field that differs.

    For example: `mcpctl plan web`
    """
    settings = common.settings()
    if not what:
        return plan_all(settings, force=force, how=common.how)
    found, component = definition.find(settings, what)
    definition.check_ports(settings, found)
    return plan_one(settings, Wanted(found, component, force), how=common.how)
