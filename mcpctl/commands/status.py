"""The signatures of list, ps, status, events and timeline; what they do is in modules without cyclopts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from mcpctl import looking
from mcpctl.errors import UsageError
from mcpctl.looking import Query
from mcpctl.options import COMMON, Common, Nodes, past
from mcpctl.timeline import Window

# Of a timeline: narrower has no place for a name and a picture, wider is no terminal, shorter no history.
_NARROWEST, _WIDEST = 30, 1000
_SHORTEST = timedelta(seconds=1)
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
    return looking.list_services(_query(service, node, common))


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
    query, every = _query(what, node, common), _every(watch, interval)
    if every is None:
        return looking.ps(query, undeclared=undeclared)
    from mcpctl import watching

    return watching.ps(query, every, undeclared=undeclared)


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
    query = _query(what, node, common)
    if every is None:
        return looking.status(query, exit_code=exit_code, at=when)
    if exit_code or when:
        raise UsageError("--watch has no end and shows what is now, so it cannot be given with --exit-code or --at")
    from mcpctl import watching

    return watching.status(query, every)


def events(
    service: str = "",
    /,
    *,
    since: Annotated[str, Parameter(help="From this long ago (2h), or from a time (2026-01-31T12:00).")] = "",
    until: Annotated[str, Parameter(help="Up to this long ago, or up to a time.")] = "",
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = looking.DEFAULT_EVENTS,
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
    query, first, last = _query(service, node, common), past(since, "--since"), past(until, "--until")
    if not follow:
        return looking.events(query, since=first, until=last, limit=limit)
    if last:
        raise UsageError("--follow has no end, so it cannot be given with --until")
    from mcpctl import following

    return following.events(query, since=first, limit=limit)


def timeline(
    service: str = "",
    /,
    *,
    since: Annotated[str, Parameter(help="From this long ago, or from a time (2026-01-31T12:00).")] = "24h",
    width: Annotated[
        int | None, Parameter(help=f"Characters in a line, {_NARROWEST} to {_WIDEST}. [default: the terminal's]")
    ] = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Draw the states of each component over time, with deploys and alerts.

    A character is a slice of time. Trouble shows however short it was; otherwise what lasted longest. The percentage is
    the share of the known time in which the component was running or healthy.

    For example: `mcpctl timeline web --since 7d`
    """
    if width is not None and not _NARROWEST <= width <= _WIDEST:
        raise UsageError(f"--width: {width} is not {_NARROWEST} to {_WIDEST}")
    first, now = past(since, "--since"), datetime.now(UTC)
    if first is None or now - first < _SHORTEST:
        raise UsageError(f"--since: {since!r} is less than a second ago")
    from mcpctl import drawing

    columns = width or min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    return drawing.timeline(_query(service, node, common), Window(first, now), columns)


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


def _query(service: str, nodes: tuple[str, ...], common: Common) -> Query:
    return Query(service, nodes, common.config, common.how)
