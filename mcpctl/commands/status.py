"""list, ps, status: their signatures; what they do is in `mcpctl.actions.status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import status as action
from mcpctl.commands.options import COMMON, Common, Nodes, Target, past
from mcpctl.errors import UsageError

# Between refreshes of what is watched: faster than anybody reads, slower than anybody watches.
_EVERY_S, _FASTEST_S, _SLOWEST_S = 2.0, 0.2, 3600.0

Watch = Annotated[
    bool, Parameter(name=("--watch", "-w"), negative="", help="Keep the view on screen and refresh it until Ctrl-C.")
]
Interval = Annotated[
    float | None,
    Parameter(
        help=f"Seconds between refreshes with --watch, {_FASTEST_S:g} to {_SLOWEST_S:g}. [default: {_EVERY_S:g}]"
    ),
]


def list_services(
    service: Annotated[str, Parameter(name="SERVICE", help="The service. [default: all]")] = "",
    /,
    *,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List deployed services.

    The list comes from the nodes' registries.

    For example: `mcpctl list`
    """
    return action.list_services(common.query(service, node))


def ps(
    what: Target = "",
    /,
    *,
    undeclared: Annotated[
        bool, Parameter(name=("--all", "-a"), negative="", help="Include containers that mcp does not manage.")
    ] = False,
    watch: Watch = False,
    interval: Interval = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List containers and their current state in podman.

    --watch also shows CPU (percent of one CPU over the last interval) and memory. If stdout is not a terminal, a new
    table is printed when something changes; with --output json, one line of JSON per refresh.

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
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with status 3 if anything drifts.")] = False,
    at: Annotated[str, Parameter(help="Show the state at a time (2026-01-31T12:00) or a duration ago (2h).")] = "",
    watch: Watch = False,
    interval: Interval = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what should run, what runs, and where the two differ.

    A note below the table lists definitions that are not deployed, and services that differ from their definition.

    --watch also shows open alerts and recent events. If stdout is not a terminal, a new table is printed when something
    changes; with --output json, one line of JSON per refresh.

    For example: `mcpctl status web --exit-code`
    """
    when, every = past(at, "--at"), _every(watch, interval)
    if when and when > datetime.now(UTC):
        raise UsageError(f"--at: {at!r} is in the future")
    query = common.query(what, node)
    if every is None:
        return action.status(query, exit_code=exit_code, at=when)
    if exit_code or when:
        raise UsageError("--watch shows the present until Ctrl-C, so it cannot be given with --exit-code or --at")
    from mcpctl.actions.live import watch as live

    return live.status(query, every)


def _every(watch: bool, interval: float | None) -> float | None:
    """Seconds between refreshes; None: it is not watched. Raises UsageError."""
    if not watch:
        if interval is not None:
            raise UsageError("--interval needs --watch")
        return None
    if interval is None:
        return _EVERY_S
    if not _FASTEST_S <= interval <= _SLOWEST_S:
        raise UsageError(f"--interval must be {_FASTEST_S:g} to {_SLOWEST_S:g} seconds, not {interval:g}")
    return interval
