"""The history of a service's components, drawn as `mcpctl timeline` does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from mcpctl.actions.dash.table import style
from mcpctl.actions.timeline import LOOK, legend
from mcpctl.config import Node, Settings
from mcpctl.errors import CliError
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.ui import history
from mcpctl.ui.history import Cell, History, Window
from mcpctl.ui.rows.alerts import alert_row
from mcpctl.ui.rows.changes import operation_row
from mcpctl.ui.rows.status import component_row, event_row
from mcpctl.ui.text_width import fitted
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

_LENGTH = timedelta(hours=24)
_EVERY_S = 30.0
# As much as a node gives in one answer.
_MOST = 10_000
_GAP = "  "
_SHARE_WIDTH = 6
_NARROWEST = 10


class HistoryPane(VerticalScroll):
    """The last 24 hours; asked for when it is shown first, and every half minute."""

    def __init__(self, settings: Settings, node: Node, service: str) -> None:
        super().__init__()
        self._settings = settings
        self._node = node
        self._service = service
        self._told: tuple[list[History], Window] | None = None

    def compose(self) -> ComposeResult:
        yield Static("loading ...", id="drawn")

    def on_mount(self) -> None:
        self.run_worker(self._follow())

    def on_resize(self) -> None:
        self._draw()

    async def _follow(self) -> None:
        while True:
            now = datetime.now(UTC)
            window = Window(now - _LENGTH, now)
            try:
                async with agent(self._settings, self._node, deadline=read_deadline()) as stub:
                    self._told = await _ask(stub, self._node.name, self._service, window), window
                self._draw()
            except CliError as error:
                self.query_one("#drawn", Static).update(Text(str(error), style="red"))
            await asyncio.sleep(_EVERY_S)

    def _draw(self) -> None:
        if self._told and self.size.width:
            self.query_one("#drawn", Static).update(drawn(*self._told, self.size.width))


async def _ask(stub: AgentServiceStub, node: str, service: str, window: Window) -> list[History]:
    try:
        then = await stub.get_status(v1.GetStatusRequest(service=service, at=window.start))
    except GRPCError as error:
        if error.status is not Status.NOT_FOUND:
            raise
        then = v1.GetStatusResponse()
    since = await stub.list_events(v1.ListEventsRequest(service=service, since=window.start, limit=_MOST))
    alerts = await stub.list_alerts(v1.ListAlertsRequest(service=service, limit=_MOST))
    operations = await stub.list_operations(v1.ListOperationsRequest(service=service, limit=_MOST))
    return history.histories(
        node,
        [component_row(node, each) for found in then.services for each in found.components],
        [event_row(node, each) for each in since.events],
        [alert_row(node, each) for each in alerts.alerts],
        window,
        [operation_row(node, each) for each in operations.operations],
    )


def drawn(histories: Sequence[History], window: Window, width: int) -> Text:
    """Lines of ``width`` columns at most."""
    margin = min(max([len("TARGET"), *(len(each.component) for each in histories)]), width // 3)
    columns = max(_NARROWEST, width - margin - 2 * len(_GAP) - _SHARE_WIDTH)
    lead = " " * margin + _GAP
    lines = [Text(f"{'TARGET':{margin}}{_GAP}{'the last 24 hours':{columns}}{_GAP}{'UPTIME':>{_SHARE_WIDTH}}", "bold")]
    shown: set[Cell] = set()
    for each in histories:
        if deploys := history.marked(each.marks, "deployed", "v", window, columns):
            lines.append(Text(lead + deploys))
        line = Text(f"{fitted(each.component, margin)}{_GAP}")
        for cell in history.cells(each.segments, window, columns):
            shown.add(cell)
            block, colour, _ = LOOK[cell]
            line.append(block, style(colour))
        line.append(f"{_GAP}{history.percentage(each.uptime):>{_SHARE_WIDTH}}")
        lines.append(line)
        if alerts := history.marked(each.marks, "alert", "!", window, columns):
            lines.append(Text(lead + alerts, "red"))
    lines.append(Text(lead + history.axis(window, columns)))
    key = Text()
    for cell in legend(shown):
        block, colour, _ = LOOK[cell]
        key.append(block, style(colour)).append(f" {cell}  ")
    lines.append(key.append("v deploy  ! alert"))
    return Text("\n", no_wrap=True).join(lines)
