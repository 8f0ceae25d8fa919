"""The screen of one service on one node: its components, their history, what they print, its alerts and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Static, TabbedContent, TabPane

from mcpctl.actions.dash.history_pane import HistoryPane
from mcpctl.actions.dash.log_pane import PrintedPane
from mcpctl.actions.dash.screen import LiveScreen, alert_rows
from mcpctl.actions.dash.table import Table, text
from mcpctl.actions.live.fleet_state import NodeView, Used
from mcpctl.actions.live.screens import Row, cpu, event_cells, greyed, memory, status_cells, trouble
from mcpctl.ui.cells import state
from mcpctl.ui.rows.status import ComponentRow

_TABS = ("components", "history", "logs", "open-alerts", "events")


class ServiceScreen(LiveScreen):
    """Digits choose what is shown of it."""

    DEFAULT_CSS = """
    ServiceScreen #title { height: 1; padding: 0 1; text-style: bold; }
    ServiceScreen TabPane { padding: 0; }
    ServiceScreen TabbedContent { height: 1fr; }
    """
    BINDINGS = [
        Binding("escape", "app.pop_screen", "Back"),
        *(Binding(str(number), f"tab('{name}')", show=False) for number, name in enumerate(_TABS, 1)),
    ]

    def __init__(self, node: str, service: str) -> None:
        super().__init__()
        self._node = node
        self._service = service

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with TabbedContent(initial=_TABS[0]):
            with TabPane("1 Components", id="components"):
                yield Table(("COMPONENT", "VERSION", "DESIRED", "STATE", "FOR", "CPU", "MEM", "DRIFT"), id="table")
            with TabPane("2 History", id="history"):
                yield HistoryPane(self.dash.settings, self.dash.settings.node(self._node), self._service)
            with TabPane("3 Logs", id="logs"):
                yield PrintedPane(self.dash.settings, self.dash.settings.node(self._node), self._service)
            with TabPane("4 Alerts", id="open-alerts"):
                yield Table(("OPEN ALERT", "TARGET", "NODE", "FOR", "REASON"), id="alerts")
            with TabPane("5 Events", id="events"):
                yield Table(("TIME", "TARGET", "NODE", "EVENT", "DETAIL"), id="happened")
        yield Footer()

    def show(self, views: Sequence[NodeView]) -> None:
        now = datetime.now(UTC)
        (view,) = [each for each in views if each.node == self._node]
        title = trouble(view, now) or [(f"{self._service} on {self._node}", "bold")]
        self.query_one("#title", Static).update(text(title))
        rows = [each for each in view.components if each.service == self._service]
        rows.sort(key=lambda row: (not row.drift, row.component))
        self.query_one("#table", Table).show(
            {row.component: greyed(view, component_cells(row, view.used.get(row.container_id), now)) for row in rows}
        )
        self.query_one("#alerts", Table).show(alert_rows([view], now, self._node, self._service))
        events = [each for each in reversed(view.events) if each.service == self._service]
        self.query_one("#happened", Table).show({str(each.id): greyed(view, event_cells(each)) for each in events})

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        for table in self.query_one(f"#{name}").query(Table):
            table.focus()


def component_cells(row: ComponentRow, used: Used | None, now: datetime) -> Row:
    _, component, _, version, desired, (_, colour), lasting, drift = status_cells(row, now)
    uses = ((cpu(used).rjust(6), ""), (memory(used), ""))
    return (component, version, desired, (state(row), colour), lasting, *uses, drift)
