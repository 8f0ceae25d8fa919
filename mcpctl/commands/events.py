"""events: its signature; what it does is in `mcpctl.actions.events`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import events as action
from mcpctl.commands.options import COMMON, Common, Nodes, Target, past
from mcpctl.errors import UsageError


def events(
    service: Target = "",
    /,
    *,
    since: Annotated[str, Parameter(help="Show events since a time (2026-01-31T12:00) or a duration ago (2h).")] = "",
    until: Annotated[str, Parameter(help="Show events up to a time, or up to a duration ago.")] = "",
    limit: Annotated[int, Parameter(help="Show at most this many, the newest.")] = action.DEFAULT_EVENTS,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative="", help="Keep showing new events until Ctrl-C.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List events on the nodes.

    With --follow, JSON output is one line per event.

    For example: `mcpctl events web --since 24h --follow`
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    query, first, last = common.query(service, node), past(since, "--since"), past(until, "--until")
    if not follow:
        return action.events(query, since=first, until=last, limit=limit)
    if last:
        raise UsageError("--follow runs until Ctrl-C, so it cannot be given with --until")
    return action.follow(query, since=first, limit=limit)
