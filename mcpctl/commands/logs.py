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
        bool, Parameter(name=("--follow", "-f"), negative="", help="Keep showing new lines until Ctrl-C.")
    ] = False,
    tail: Annotated[
        int | None,
        Parameter(name=("--tail", "-n"), help="Show only the last N lines of each component. [default: all]"),
    ] = None,
    since: Annotated[str, Parameter(help="Show lines since a time (2026-01-31T12:00) or a duration ago (10m).")] = "",
    timestamps: Annotated[
        bool, Parameter(name=("--timestamps", "-t"), negative="", help="Show the time of each line.")
    ] = False,
    run: Annotated[str, Parameter(help="Show the log of a detached run, by its name.")] = "",
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show the logs of a service or component.

    The lines of all components are merged in order of time. With --output json, each is one line of JSON.

    For example: `mcpctl logs web/api -f --tail 20`
    """
    if tail is not None and tail < 0:
        raise UsageError(f"--tail must not be negative, but it is {tail}")
    query = Query(what, node, common.config, common.how)
    wanted = lines.Wanted(tail, past(since, "--since"), timestamps, run)
    return lines.follow(query, wanted) if follow else lines.logs(query, wanted)
