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
    since: Annotated[str, Parameter(help="Show calls since a time (2026-01-31T12:00) or a duration ago (2h).")] = "",
    caller: Annotated[str, Parameter(help="Show only calls by this caller.")] = "",
    method: Annotated[str, Parameter(help="Show only calls of this RPC, such as Deploy.")] = "",
    limit: Annotated[int, Parameter(help="Show at most this many per node, the newest.")] = calls.DEFAULT_ENTRIES,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative="", help="Keep showing new calls until Ctrl-C.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List the calls that the nodes received: who called what, and the result.

    The list includes refused calls. With --follow, JSON output is one line per call, and calls that read the audit log
    are left out, unless you ask for them with --method ListAudit.

    For example: `mcpctl audit --since 24h --method Deploy`
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    query = Query("", node, common.config, common.how)
    wanted = calls.Wanted(past(since, "--since"), caller, method, limit)
    return calls.follow(query, wanted) if follow else calls.audit(query, wanted)
