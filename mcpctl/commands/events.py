"""events: its signature; what it does is in `mcpctl.actions.events`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import events as action
from mcpctl.commands.options import COMMON, Common, Nodes, past
from mcpctl.errors import UsageError


def events(
    service: str = "",
    /,
    *,
    since: Annotated[str, Parameter(help="From this long ago (2h), or from a time (2026-01-31T12:00).")] = "",
    until: Annotated[str, Parameter(help="Up to this long ago, or up to a time.")] = "",
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = action.DEFAULT_EVENTS,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative="", help="Then what happens, as it happens, until Ctrl-C.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what happened, and what happens.

    With --follow, JSON is one line per event.

    For example: `mcpctl events web --since 24h --follow`
    """
    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of events")
    query, first, last = common.query(service, node), past(since, "--since"), past(until, "--until")
    if not follow:
        return action.events(query, since=first, until=last, limit=limit)
    if last:
        raise UsageError("--follow has no end, so it cannot be given with --until")
    return action.follow(query, since=first, limit=limit)
