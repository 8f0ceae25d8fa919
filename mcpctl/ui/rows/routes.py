"""The printed rows of routes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class RouteServerRow(msgspec.Struct, frozen=True):
    container: str
    address: str
    draining: bool


class RouteRow(msgspec.Struct, frozen=True):
    """One route of ``routes --output json``. ``problem``: why the node's proxy does not have what it should have."""

    node: str
    service: str
    component: str
    host: str
    path: str
    listen: int
    mode: str
    state: str
    servers: tuple[RouteServerRow, ...]
    certificate_ends_at: datetime | None
    proxy: str
    problem: str


def route_rows(answer: v1.ListRoutesResponse) -> list[RouteRow]:
    return [
        RouteRow(
            node=answer.node,
            service=each.service,
            component=each.component,
            host=each.host,
            path=each.path,
            listen=each.listen,
            mode=each.mode,
            state=each.state,
            servers=tuple(RouteServerRow(it.container, it.address, it.draining) for it in each.servers),
            certificate_ends_at=instant(each.certificate_ends_at),
            proxy=answer.proxy,
            problem=answer.reason,
        )
        for each in answer.routes
    ]
