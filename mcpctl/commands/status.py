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


def list_services(service: str = "", /, *, node: Nodes = (), common: Common = COMMON) -> int:
    """List deployed services, from the nodes' registries.

    For example: `mcpctl list`
    """
    return looking.list_services(_query(service, node, common))


def ps(
    service: str = "",
    /,
    *,
    undeclared: Annotated[
        bool, Parameter(name=("--all", "-a"), negative="", help="Containers that nobody declared, too.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show components as podman sees them now.

    For example: `mcpctl ps --all --node rift`
    """
    return looking.ps(_query(service, node, common), undeclared=undeclared)


def status(
    service: str = "",
    /,
    *,
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with 3 when anything drifts.")] = False,
    at: Annotated[str, Parameter(help="As it was this long ago (2h), or at a time (2026-01-31T12:00).")] = "",
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what should run against what runs, and why they disagree.

    For example: `mcpctl status web --exit-code`
    """
    when = past(at, "--at")
    if when and when > datetime.now(UTC):
        raise UsageError(f"--at: {at!r} is in the future")
    return looking.status(_query(service, node, common), exit_code=exit_code, at=when)


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


def _query(service: str, nodes: tuple[str, ...], common: Common) -> Query:
    return Query(service, nodes, common.config, common.json)
