"""The signatures of list, ps, status and events; what they do is in `mcpctl.looking`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl import looking
from mcpctl.errors import UsageError
from mcpctl.looking import Query
from mcpctl.options import COMMON, Common, Nodes
from protos import grammar


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
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what should run against what runs, and why they disagree.

    For example: `mcpctl status web --exit-code`
    """
    return looking.status(_query(service, node, common), exit_code=exit_code)


def events(
    service: str = "",
    /,
    *,
    since: Annotated[str, Parameter(help="From this long ago (2h), or from a time (2026-01-31T12:00).")] = "",
    until: Annotated[str, Parameter(help="Up to this long ago, or up to a time.")] = "",
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = looking.DEFAULT_EVENTS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what happened.

    For example: `mcpctl events web --since 24h`
    """
    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of events")
    query = _query(service, node, common)
    return looking.events(query, since=_moment(since, "--since"), until=_moment(until, "--until"), limit=limit)


def _query(service: str, nodes: tuple[str, ...], common: Common) -> Query:
    return Query(service, nodes, common.config, common.json)


def _moment(text: str, option: str) -> datetime | None:
    """A duration means so long ago. Raises UsageError."""
    if not text:
        return None
    try:
        return datetime.now(UTC) - grammar.duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is neither a duration (2h) nor a time (2026-01-31T12:00)") from None
