"""The screen of one service on one node: its components, their history, what they print, its alerts and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Static, TabbedContent, TabPane

from mcpctl.dash.base import PictureScreen, alert_rows
from mcpctl.dash.history import HistoryPane
from mcpctl.dash.printed import PrintedPane
from mcpctl.dash.tables import Table, text
from mcpctl.looking import state
from mcpctl.picture import NodePicture, Used
from mcpctl.rows import ComponentRow
from mcpctl.views import Row, cpu, event_cells, greyed, memory, status_cells, trouble

_TABS = ("components", "history", "logs", "open-alerts", "events")


class ServiceScreen(PictureScreen):
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
                yield Table(("OPEN ALERT", "WHAT", "NODE", "FOR", "REASON"), id="alerts")
            with TabPane("5 Events", id="events"):
                yield Table(("EVENT", "WHAT", "NODE", "KIND", "DETAIL"), id="happened")
        yield Footer()

    def show(self, pictures: Sequence[NodePicture]) -> None:
        now = datetime.now(UTC)
        (picture,) = [each for each in pictures if each.node == self._node]
        title = trouble(picture, now) or [(f"{self._service} on {self._node}", "bold")]
        self.query_one("#title", Static).update(text(title))
        rows = [each for each in picture.components if each.service == self._service]
        rows.sort(key=lambda row: (not row.drift, row.component))
        self.query_one("#table", Table).show(
            {
                row.component: greyed(picture, component_cells(row, picture.used.get(row.container_id), now))
                for row in rows
            }
        )
        self.query_one("#alerts", Table).show(alert_rows([picture], now, self._node, self._service))
        events = [each for each in reversed(picture.events) if each.service == self._service]
        self.query_one("#happened", Table).show({str(each.id): greyed(picture, event_cells(each)) for each in events})

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        for table in self.query_one(f"#{name}").query(Table):
            table.focus()


def component_cells(row: ComponentRow, used: Used | None, now: datetime) -> Row:
    _, component, _, version, desired, (_, colour), lasting, drift = status_cells(row, now)
    uses = ((cpu(used).rjust(6), ""), (memory(used), ""))
    return (component, version, desired, (state(row), colour), lasting, *uses, drift)
