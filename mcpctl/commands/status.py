"""list, ps, status, events: what nodes know and see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl import client, render
from mcpctl.errors import DONE, DRIFT, UsageError
from mcpctl.fanout import Answers, ask
from mcpctl.options import COMMON, Common, Nodes, target
from mcpctl.wire import ComponentRow, ServiceRow, component_row, event_row, service_row
from protos.mcp import v1

_RECENT_EVENTS = 5


def list_services(service: str = "", /, *, node: Nodes = (), common: Common = COMMON) -> int:
    """List deployed services, from the nodes' registries.

    Example: mcpctl list
    """

    async def command() -> int:
        request = v1.ListServicesRequest(service=_service(service))
        found = await ask(common.settings(), node, lambda stub: stub.list_services(request))
        rows = [service_row(each) for answer in found.answers for each in answer.services]
        if common.json:
            render.as_json(rows)
        else:
            render.table(
                ("SERVICE", "NODE", "ACTIVE", "COMPONENTS", "VERSION", "UPDATED"),
                [
                    (
                        row.name,
                        row.node,
                        "yes" if row.active else "no",
                        str(len(row.components)),
                        ", ".join(sorted({each.version for each in row.components})),
                        render.moment(row.updated_at),
                    )
                    for row in rows
                ],
            )
        return found.status

    return client.run(command())


def ps(
    service: str = "",
    /,
    *,
    all_containers: Annotated[
        bool, Parameter(name=("--all", "-a"), negative="", help="Containers that nobody declared, too.")
    ] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show components as podman sees them now.

    Example: mcpctl ps --all --node rift
    """

    async def command() -> int:
        request = v1.LiveCheckRequest(service=_service(service), all=all_containers)
        found = await ask(common.settings(), node, lambda stub: stub.live_check(request))
        rows = [component_row(answer.node, each) for answer in found.answers for each in answer.components]
        if common.json:
            render.as_json(rows)
        else:
            render.table(
                ("NODE", "SERVICE", "COMPONENT", "CONTAINER", "VERSION", "STATE", "UP", "PORTS"),
                [
                    (
                        row.node,
                        row.service or "-",
                        row.component or "-",
                        row.container,
                        row.version,
                        _state(row),
                        render.age(row.started_at) if row.pid else "",
                        " ".join(row.ports),
                    )
                    for row in rows
                ],
            )
        return found.status

    return client.run(command())


def status(
    service: str = "",
    /,
    *,
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with 3 when anything drifts.")] = False,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what should run against what runs, and why they disagree.

    Example: mcpctl status web --exit-code
    """

    async def command() -> int:
        name = _service(service)
        request = v1.GetStatusRequest(service=name, events=_RECENT_EVENTS if name else 0)
        found = await ask(common.settings(), node, lambda stub: stub.get_status(request))
        rows = [service_row(each) for answer in found.answers for each in answer.services]
        if common.json:
            render.as_json(rows)
        else:
            _print_status(rows, found)
        drifts = any(each.drift for row in rows for each in row.components)
        if exit_code and drifts and found.status == DONE:
            return DRIFT
        return found.status

    return client.run(command())


def events(
    service: str = "",
    /,
    *,
    since: Annotated[str, Parameter(help="From this long ago (2h), or from a time (2026-01-31T12:00).")] = "",
    until: Annotated[str, Parameter(help="Up to this long ago, or up to a time.")] = "",
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = 100,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Show what happened.

    Example: mcpctl events web --since 24h
    """

    async def command() -> int:
        name, component = target(service) if service else ("", "")
        request = v1.ListEventsRequest(service=name, component=component, limit=limit)
        if since:
            request.since = _moment(since, "--since")
        if until:
            request.until = _moment(until, "--until")
        found = await ask(common.settings(), node, lambda stub: stub.list_events(request))
        rows = [event_row(answer.node, each) for answer in found.answers for each in answer.events]
        rows.sort(key=lambda row: row.at or datetime.min.replace(tzinfo=UTC))
        if common.json:
            render.as_json(rows)
        else:
            render.table(
                ("TIME", "NODE", "WHAT", "EVENT", "BY", "DETAIL"),
                [
                    (
                        render.moment(row.at),
                        row.node,
                        f"{row.service}/{row.component}" if row.component else row.service,
                        row.kind,
                        row.caller,
                        row.message,
                    )
                    for row in rows
                ],
            )
        return found.status

    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of events")
    return client.run(command())


def _print_status(rows: list[ServiceRow], found: Answers[v1.GetStatusResponse]) -> None:
    for answer in found.answers:
        if answer.warning:
            render.note(f"mcpctl: node {answer.node}: {answer.warning}")
    render.table(
        ("SERVICE", "COMPONENT", "NODE", "VERSION", "DESIRED", "STATE", "FOR", "DRIFT"),
        [
            (
                each.service,
                each.component,
                each.node,
                each.version,
                each.desired,
                _state(each),
                render.age(each.started_at if each.pid else each.finished_at),
                each.drift,
            )
            for row in rows
            for each in row.components
        ],
    )
    events = [event_row(answer.node, each) for answer in found.answers for each in answer.events]
    if events:
        print()
        render.table(
            ("RECENT EVENT", "COMPONENT", "WHAT", "BY", "DETAIL"),
            [(render.moment(each.at), each.component, each.kind, each.caller, each.message) for each in events],
        )


def _state(row: ComponentRow) -> str:
    return f"exited {row.exit_code}" if row.observed == "exited" and row.exit_code is not None else row.observed


def _service(text: str) -> str:
    """A service's name, or "" for all. Raises UsageError for a component: these commands show whole services."""
    if not text:
        return ""
    name, component = target(text)
    if component:
        raise UsageError(f"{text!r} names a component; this command takes a service")
    return name


def _moment(text: str, option: str) -> datetime:
    from protos import grammar

    try:
        return datetime.now(UTC) - grammar.duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is neither a duration (2h) nor a time (2026-01-31T12:00)") from None
