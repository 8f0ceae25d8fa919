"""logs: its signature; what it does is in `mcpctl.actions.logs`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import logs as lines
from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes, What, past
from mcpctl.errors import UsageError


def logs(
    what: What,
    /,
    *,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative="", help="Then what is printed, until Ctrl-C.")
    ] = False,
    tail: Annotated[
        int | None,
        Parameter(name=("--tail", "-n"), help="Only the last so many lines of each component. [default: all]"),
    ] = None,
    since: Annotated[str, Parameter(help="From this long ago (10m), or from a time (2026-01-31T12:00).")] = "",
    timestamps: Annotated[bool, Parameter(name=("--timestamps", "-t"), negative="", help="Show when, too.")] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what a service's components print, in the order of time.

    With --output json, one line of JSON per line.

    For example: `mcpctl logs web/api -f --tail 20`
    """
    if tail is not None and tail < 0:
        raise UsageError(f"--tail: {tail} is not a number of lines")
    query = Query(what, node, common.config, common.how)
    wanted = lines.Wanted(tail, past(since, "--since"), timestamps)
    return lines.follow(query, wanted) if follow else lines.logs(query, wanted)
