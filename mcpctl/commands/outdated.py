"""outdated: its signature; what it does is in `mcpctl.actions.outdated`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import outdated as action
from mcpctl.commands.options import COMMON, Common, Nodes, Target


def outdated(
    what: Target = "",
    /,
    *,
    exit_code: Annotated[
        bool, Parameter(negative="", help="Exit with status 3 if a registry has something newer.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show for which components the image registries have something newer.

    That is another image under the same tag (rebuilt), or a tag that is a newer version (newer). Nothing is pulled or
    changed. mcpctl asks the registries itself, from this machine, with the logins of podman and docker. It exits with
    status 4 if something could not be found out; that is shown as unknown.

    --quiet prints only the components that something newer exists for.

    For example: `mcpctl outdated web --exit-code`
    """
    return action.outdated(common.query(what, node), exit_code=exit_code)
