"""audit: its signature; what it does is in `mcpctl.actions.audit`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import audit as calls
from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes, past
from mcpctl.errors import UsageError


def audit(
    *,
    since: Annotated[str, Parameter(help="From this long ago (2h), or from a time (2026-01-31T12:00).")] = "",
    caller: Annotated[str, Parameter(help="Only what this one called.")] = "",
    method: Annotated[str, Parameter(help="Only calls of this RPC: Deploy, ListAudit.")] = "",
    limit: Annotated[int, Parameter(help="At most so many of each node, the newest.")] = calls.DEFAULT_ENTRIES,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative="", help="Then what is called, until Ctrl-C.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show who called what on the nodes, and how it ended.

    Refused calls too. With --follow, JSON is one line per call, and what asks for the audit itself is left out, unless
    --method ListAudit wants it.

    For example: `mcpctl audit --since 24h --method Deploy`
    """
    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of calls")
    query = Query("", node, common.config, common.how)
    wanted = calls.Wanted(past(since, "--since"), caller, method, limit)
    return calls.follow(query, wanted) if follow else calls.audit(query, wanted)
