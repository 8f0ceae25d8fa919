"""list, ps, status: their signatures; what they do is in `mcpctl.actions.status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import status as action
from mcpctl.commands.options import COMMON, Common, Nodes, past
from mcpctl.errors import UsageError

# Between refreshes of what is watched: faster than anybody reads, slower than anybody watches.
_EVERY_S, _FASTEST_S, _SLOWEST_S = 2.0, 0.2, 3600.0

Watch = Annotated[
    bool, Parameter(name=("--watch", "-w"), negative="", help="Go on showing it, refreshed, until Ctrl-C.")
]
Interval = Annotated[
    float | None,
    Parameter(help=f"The pace of --watch in seconds, {_FASTEST_S:g} to {_SLOWEST_S:g}. [default: {_EVERY_S:g}]"),
]
Target = Annotated[str, Parameter(name="WHAT", help="SERVICE, or SERVICE/COMPONENT. [default: all]")]


def list_services(service: str = "", /, *, node: Nodes = (), common: Common = COMMON) -> int:
    """List deployed services, from the nodes' registries.

    For example: `mcpctl list`
    """
    return action.list_services(common.query(service, node))


def ps(
    what: Target = "",
    /,
    *,
    undeclared: Annotated[
        bool, Parameter(name=("--all", "-a"), negative="", help="Containers that nobody declared, too.")
    ] = False,
    watch: Watch = False,
    interval: Interval = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show components as podman sees them now.

    With --watch also what they use: CPU is in percent of one, over the last interval. What is no terminal gets a table
    when something changed; with --output json, a line of JSON a refresh.

    For example: `mcpctl ps --all --node rift`
    """
    query, every = common.query(what, node), _every(watch, interval)
    if every is None:
        return action.ps(query, undeclared=undeclared)
    from mcpctl.actions.live import watch as live

    return live.ps(query, every, undeclared=undeclared)


def status(
    what: Target = "",
    /,
    *,
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with 3 when anything drifts.")] = False,
    at: Annotated[str, Parameter(help="As it was this long ago (2h), or at a time (2026-01-31T12:00).")] = "",
    watch: Watch = False,
    interval: Interval = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what should run against what runs, and why they disagree.

    A line below says which definitions are not deployed, and what is deployed otherwise than it is defined.

    With --watch also open alerts and the last events. What is no terminal gets a table when something changed; with
    --output json, a line of JSON a refresh.

    For example: `mcpctl status web --exit-code`
    """
    when, every = past(at, "--at"), _every(watch, interval)
    if when and when > datetime.now(UTC):
        raise UsageError(f"--at: {at!r} is in the future")
    query = common.query(what, node)
    if every is None:
        return action.status(query, exit_code=exit_code, at=when)
    if exit_code or when:
        raise UsageError("--watch has no end and shows what is now, so it cannot be given with --exit-code or --at")
    from mcpctl.actions.live import watch as live

    return live.status(query, every)


def _every(watch: bool, interval: float | None) -> float | None:
    """Seconds between refreshes; None: it is not watched. Raises UsageError."""
    if not watch:
        if interval is not None:
            raise UsageError("--interval is the pace of --watch: give that, too")
        return None
    if interval is None:
        return _EVERY_S
    if not _FASTEST_S <= interval <= _SLOWEST_S:
        raise UsageError(f"--interval: {interval:g} s is not between {_FASTEST_S:g} and {_SLOWEST_S:g} s")
    return interval
