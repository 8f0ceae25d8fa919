"""What list, ps, status and events do: ask the nodes, and print what they answer.

Apart from the commands' signatures, and without cyclopts, so that what is typed twenty times a day starts fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from mcpctl.actions.query import Query
from mcpctl.errors import DONE, DRIFT, UnknownServiceError
from mcpctl.nodes.fanout import Answers, ask
from mcpctl.ui import render
from mcpctl.ui.cells import full_name, state
from mcpctl.ui.output import View, listing, structured
from mcpctl.ui.rows.status import ComponentRow, EventRow, ServiceRow, component_row, event_row, service_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

_RECENT_EVENTS = 5
# Of a service's last events, for those of one component: an answer has no such filter.
_LOOKED_THROUGH = 500


def list_services(query: Query) -> int:
    request = v1.ListServicesRequest(service=query.service())
    found = asyncio.run(
        ask(query.settings(), query.nodes, lambda stub: stub.list_services(request), service=request.service)
    )
    rows = [service_row(each) for answer in found.answers for each in answer.services]
    listing(rows, query.how, _SERVICES, found.nothing("no services are deployed"))
    return found.status


def ps(query: Query, *, undeclared: bool = False) -> int:
    name, component = query.service_and_component()
    request = v1.LiveCheckRequest(service=name, all=undeclared)
    found = asyncio.run(
        ask(query.settings(), query.nodes, lambda stub: stub.live_check(request), service=request.service)
    )
    rows = [component_row(answer.node, each) for answer in found.answers for each in answer.components]
    rows = only(rows, component, name, anyhow=found.status != DONE)
    none = "no containers found" if undeclared else "no managed containers found"
    # What nobody declared has no other name than its container's.
    spare = ("CONTAINER", "VERSION") if all(row.service for row in rows) else ("VERSION",)
    listing(rows, query.how, _CONTAINERS._replace(fit=Fit(spare=spare)), found.nothing(none))
    return found.status


def status(query: Query, *, exit_code: bool = False, at: datetime | None = None) -> int:
    """``at``: as it was then."""
    name, component = query.service_and_component()
    most = _LOOKED_THROUGH if component else _RECENT_EVENTS
    request = v1.GetStatusRequest(service=name, events=most if name else 0)
    if at:
        request.at = at
    # For people; and of the past no definition says anything.
    compares = not (at or query.json or query.how.quiet)
    found, beside = asyncio.run(_status(query, request, compares=compares))
    rows = [service_row(each) for answer in found.answers for each in answer.services]
    for answer in found.answers:
        if answer.warning:
            render.note(f"mcpctl: node {answer.node}: {answer.warning}")
    if at:
        render.note(f"mcpctl: this is the state at {render.moment(at)}, not the current one")
    components = only([each for row in rows for each in row.components], component, name, anyhow=found.status != DONE)
    rows = [msgspec.structs.replace(row, components=_those(row.components, component)) for row in rows]
    if query.json:
        structured(rows, query.how, rows)
    else:
        view = _STATES._replace(cells=lambda row: _status_cells(row, at))
        listing(components, query.how, view, found.nothing("no services are deployed"))
        if not query.how.quiet:
            told = [event_row(answer.node, each) for answer in found.answers for each in answer.events]
            ours = [each for each in told if component == each.component][-_RECENT_EVENTS:] if component else told
            _print_recent(ours)
    for line in beside:
        render.note(f"mcpctl: {line}")
    drifts = any(each.drift for each in components)
    return DRIFT if exit_code and drifts and found.status == DONE else found.status


def only(
    components: Sequence[ComponentRow], component: str, service: str, *, anyhow: bool = False
) -> list[ComponentRow]:
    """Those of ``component``, "" for all. Raises UnknownServiceError when there is none, unless ``anyhow``."""
    found = _those(components, component)
    if component and not found and not anyhow:
        raise UnknownServiceError(no_component(service, component, [each.component for each in components]))
    return list(found)


def _those(components: Iterable[ComponentRow], component: str) -> tuple[ComponentRow, ...]:
    return tuple(each for each in components if component in ("", each.component))


def no_component(service: str, component: str, known: Iterable[str]) -> str:
    """What is said of a component that a service does not have: which it has, and which may be meant."""
    import difflib

    names = sorted(set(known))
    close = difflib.get_close_matches(component, names, n=1)
    meant = f"; did you mean {full_name(service, close[0])}?" if close else ""
    return f"{service} has no component {component!r}; it has {', '.join(names) or 'none'}{meant}"


async def _status(
    query: Query, request: v1.GetStatusRequest, *, compares: bool
) -> tuple[Answers[v1.GetStatusResponse], list[str]]:
    """The answers, and what there is to say of definitions that are not, or not so, deployed."""
    settings = query.settings()
    if not compares:
        return await ask(settings, query.nodes, lambda stub: stub.get_status(request), service=request.service), []
    from mcpctl.definitions import comparison

    # While the nodes are waited for.
    reading = asyncio.create_task(asyncio.to_thread(comparison.read, settings, request.service))
    found = await ask(settings, query.nodes, lambda stub: stub.get_status(request), service=request.service)
    told = {node.name: answer.services for node, answer in zip(found.answered, found.answers, strict=True)}
    read = await reading
    return found, comparison.sentences(read, comparison.difference(read.services, told))


def _service_cells(row: ServiceRow) -> tuple[str, ...]:
    versions = ", ".join(sorted({each.version for each in row.components}))
    active = "yes" if row.active else "no"
    return row.name, row.node, active, str(len(row.components)), versions, render.moment(row.updated_at)


def _container_cells(row: ComponentRow) -> tuple[str, ...]:
    up = render.age(row.started_at) if row.pid else ""
    ports = " ".join(row.ports)
    return row.node, row.service or "-", row.component or "-", row.container, row.version, state(row), up, ports


def _status_cells(row: ComponentRow, at: datetime | None) -> tuple[str, ...]:
    since = row.started_at if row.pid else row.finished_at
    # What is folded from the events of the past knows when a state began, and little else.
    lasting = render.age(since or row.observed_at, at) if at else render.age(since)
    return row.service, row.component, row.node, row.version, row.desired, state(row), lasting, row.drift


def _short(text: str) -> str:
    """As many digits of a hash or an id as podman shows."""
    return text.removeprefix("sha256:")[:12]


def _runtime_cells(row: ComponentRow) -> tuple[str, ...]:
    pid = str(row.pid) if row.pid else ""
    return row.image, pid, _short(row.container_id), _short(row.spec_hash)


def _print_recent(rows: Iterable[EventRow]) -> None:
    cells = [(render.moment(each.at), each.component, each.kind, each.caller, each.message) for each in rows]
    if cells:
        print()
        render.table(("TIME", "COMPONENT", "EVENT", "BY", "DETAIL"), cells)


_RUNTIME = ("IMAGE", "PID", "CONTAINER ID", "SPEC HASH")
_SERVICES: View[ServiceRow] = View(
    ("SERVICE", "NODE", "ACTIVE", "COMPONENTS", "VERSION", "UPDATED"),
    _service_cells,
    lambda row: row.name,
    ("REVISION", "NAMES", "IMAGES"),
    lambda row: (
        str(row.revision),
        ", ".join(each.component for each in row.components),
        ", ".join(sorted({each.image for each in row.components})),
    ),
    Fit(flows=("VERSION",)),
)
_CONTAINERS: View[ComponentRow] = View(
    ("NODE", "SERVICE", "COMPONENT", "CONTAINER", "VERSION", "STATE", "UP", "PORTS"),
    _container_cells,
    lambda row: row.container,
    _RUNTIME,
    _runtime_cells,
)
_STATES: View[ComponentRow] = View(
    ("SERVICE", "COMPONENT", "NODE", "VERSION", "DESIRED", "STATE", "FOR", "DRIFT"),
    lambda row: _status_cells(row, None),
    lambda row: full_name(row.service, row.component),
    ("CONTAINER", *_RUNTIME),
    lambda row: (row.container, *_runtime_cells(row)),
    Fit(spare=("DESIRED", "VERSION")),
)
