"""The printed rows of processes."""

from __future__ import annotations

import msgspec

from protos.mcp import v1


class ProcessRow(msgspec.Struct, frozen=True):
    """One process. ``pid`` is its number in the container, ``host_pid`` on the node.

    ``cpu_percent``: of one core, on average since it started; ``elapsed``: seconds since then.
    """

    pid: int
    host_pid: int
    user: str
    cpu_percent: float
    resident_bytes: int
    elapsed: float
    command: str


class ComponentProcessesRow(msgspec.Struct, frozen=True):
    """The processes of a component, or of a run of it. ``message``: why there are none, or not all of them."""

    node: str
    service: str
    component: str
    container: str
    run: str
    processes: tuple[ProcessRow, ...]
    message: str


def process_rows(answer: v1.ListProcessesResponse) -> list[ComponentProcessesRow]:
    return [
        ComponentProcessesRow(
            node=answer.node,
            service=each.service,
            component=each.component,
            container=each.container,
            run=each.run,
            processes=tuple(_row(it) for it in each.processes),
            message=each.message,
        )
        for each in answer.components
    ]


def _row(info: v1.ProcessInfo) -> ProcessRow:
    return ProcessRow(
        pid=info.pid,
        host_pid=info.host_pid,
        user=info.user,
        cpu_percent=info.cpu_percent,
        resident_bytes=info.resident_bytes,
        elapsed=info.elapsed.total_seconds(),
        command=info.command,
    )
