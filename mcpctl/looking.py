"""What list, ps, status and events do: ask the nodes, and print what they answer.

Apart from the commands' signatures, and without cyclopts, so that what is typed twenty times a day starts fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mcpctl import render
from mcpctl.config import Settings, load
from mcpctl.errors import DONE, DRIFT, UsageError
from mcpctl.fanout import ask
from mcpctl.rows import ComponentRow, EventRow, ServiceRow, component_row, event_row, service_row
from protos import naming
from protos.mcp import v1

_RECENT_EVENTS = 5
DEFAULT_EVENTS = 100


class Query(msgspec.Struct, frozen=True):
    """What to look at, and how to print it. ``target`` is a service, or "" for all; nodes likewise."""

    target: str = ""
    nodes: tuple[str, ...] = ()
    config: Path | None = None
    json: bool = False

    def settings(self) -> Settings:
        return load(self.config)

    def service(self) -> str:
        """Raises UsageError for a component: whole services are shown."""
        name, component = self.service_and_component()
        if component:
            raise UsageError(f"{self.target!r} names a component; this command takes a service")
        return name

    def service_and_component(self) -> tuple[str, str]:
        """Raises UsageError."""
        try:
            return naming.split_target(self.target) if self.target else ("", "")
        except ValueError as error:
            raise UsageError(str(error)) from None


def list_services(query: Query) -> int:
    request = v1.ListServicesRequest(service=query.service())
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_services(request)))
    rows = [service_row(each) for answer in found.answers for each in answer.services]
    if query.json:
        render.as_json(rows)
    else:
        render.table(("SERVICE", "NODE", "ACTIVE", "COMPONENTS", "VERSION", "UPDATED"), map(_service_cells, rows))
    return found.status


def ps(query: Query, *, undeclared: bool = False) -> int:
    request = v1.LiveCheckRequest(service=query.service(), all=undeclared)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.live_check(request)))
    rows = [component_row(answer.node, each) for answer in found.answers for each in answer.components]
    if query.json:
        render.as_json(rows)
    else:
        headers = ("NODE", "SERVICE", "COMPONENT", "CONTAINER", "VERSION", "STATE", "UP", "PORTS")
        render.table(headers, map(_container_cells, rows))
    return found.status


def status(query: Query, *, exit_code: bool = False) -> int:
    name = query.service()
    request = v1.GetStatusRequest(service=name, events=_RECENT_EVENTS if name else 0)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.get_status(request)))
    rows = [service_row(each) for answer in found.answers for each in answer.services]
    for answer in found.answers:
        if answer.warning:
            render.note(f"mcpctl: node {answer.node}: {answer.warning}")
    if query.json:
        render.as_json(rows)
    else:
        headers = ("SERVICE", "COMPONENT", "NODE", "VERSION", "DESIRED", "STATE", "FOR", "DRIFT")
        render.table(headers, (_status_cells(each) for row in rows for each in row.components))
        _print_recent([event_row(answer.node, each) for answer in found.answers for each in answer.events])
    drifts = any(each.drift for row in rows for each in row.components)
    return DRIFT if exit_code and drifts and found.status == DONE else found.status


def events(
    query: Query, *, since: datetime | None = None, until: datetime | None = None, limit: int = DEFAULT_EVENTS
) -> int:
    service, component = query.service_and_component()
    request = v1.ListEventsRequest(service=service, component=component, limit=limit)
    if since:
        request.since = since
    if until:
        request.until = until
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_events(request)))
    rows = [event_row(answer.node, each) for answer in found.answers for each in answer.events]
    # Within a node the ledger's order stands (sorting is stable); between nodes there are only the clocks.
    if len(found.answers) > 1:
        rows.sort(key=lambda row: row.at or datetime.min.replace(tzinfo=UTC))
    if query.json:
        render.as_json(rows)
    else:
        render.table(("TIME", "NODE", "WHAT", "EVENT", "BY", "DETAIL"), map(_event_cells, rows))
    return found.status


def _service_cells(row: ServiceRow) -> tuple[str, ...]:
    versions = ", ".join(sorted({each.version for each in row.components}))
    active = "yes" if row.active else "no"
    return row.name, row.node, active, str(len(row.components)), versions, render.moment(row.updated_at)


def _container_cells(row: ComponentRow) -> tuple[str, ...]:
    up = render.age(row.started_at) if row.pid else ""
    ports = " ".join(row.ports)
    return row.node, row.service or "-", row.component or "-", row.container, row.version, _state(row), up, ports


def _status_cells(row: ComponentRow) -> tuple[str, ...]:
    lasting = render.age(row.started_at if row.pid else row.finished_at)
    return row.service, row.component, row.node, row.version, row.desired, _state(row), lasting, row.drift


def _event_cells(row: EventRow) -> tuple[str, ...]:
    what = f"{row.service}/{row.component}" if row.component else row.service
    return render.moment(row.at), row.node, what, row.kind, row.caller, row.message


def _print_recent(rows: Iterable[EventRow]) -> None:
    cells = [(render.moment(each.at), each.component, each.kind, each.caller, each.message) for each in rows]
    if cells:
        print()
        render.table(("RECENT EVENT", "COMPONENT", "WHAT", "BY", "DETAIL"), cells)


def _state(row: ComponentRow) -> str:
    return f"exited {row.exit_code}" if row.observed == "exited" and row.exit_code is not None else row.observed
