"""The first screen: nodes, services, and the alerts that are open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Footer, Static

from mcpctl.actions.dash.screen import LiveScreen, alert_rows
from mcpctl.actions.dash.service_screen import ServiceScreen
from mcpctl.actions.dash.table import Table, text
from mcpctl.actions.live.fleet_state import NodeView
from mcpctl.actions.live.screens import Row, greyed, open_alerts, trouble
from mcpctl.ui.rows.status import ServiceRow
from mcpctl.ui.text_width import Line

_UP = ("running", "healthy")
_WANTS_UP = ("running", "completed")


class FleetScreen(LiveScreen):
    """Enter on a service shows it alone."""

    DEFAULT_CSS = """
    FleetScreen #nodes { height: auto; max-height: 6; padding: 0 1; }
    FleetScreen #services { height: 2fr; }
    FleetScreen #alerts { height: 1fr; min-height: 5; border-top: solid $secondary; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="nodes")
        yield Table(("SERVICE", "NODE", "UP", "VERSION", "ALERTS", "DRIFT"), id="services")
        yield Table(("OPEN ALERT", "TARGET", "NODE", "FOR", "REASON"), id="alerts")
        yield Footer()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#services", Table).focus()

    def show(self, views: Sequence[NodeView]) -> None:
        now = datetime.now(UTC)
        nodes = Text("\n", no_wrap=True, overflow="ellipsis").join(text(node_line(each, now)) for each in views)
        self.query_one("#nodes", Static).update(nodes)
        services = [(view, each) for view in views for each in view.services]
        services.sort(key=lambda found: (not _drift(found[1]), found[1].name))
        self.query_one("#services", Table).show(
            {f"{view.node}/{each.name}": greyed(view, service_cells(view, each)) for view, each in services}
        )
        self.query_one("#alerts", Table).show(alert_rows(views, now))

    def on_data_table_row_selected(self, event: Table.RowSelected) -> None:
        if event.data_table.id == "services" and event.row_key.value:
            node, _, service = event.row_key.value.partition("/")
            self.app.push_screen(ServiceScreen(node, service))


def node_line(view: NodeView, now: datetime) -> Line:
    """One node, and what is the matter with it."""
    if found := trouble(view, now):
        return found
    drifting = sum(bool(each.drift) for each in view.components)
    # What is silenced is there, and no reason to look up.
    loud = any(not each.is_silenced for each in view.alerts)
    return [
        (view.node, "bold"),
        (f"  {len(view.services)} services, {len(view.components)} components", ""),
        (f"  {drifting} drifting", "red" if drifting else "green"),
        (f"  {open_alerts(view.alerts)}", "red" if loud else "green"),
    ]


def service_cells(view: NodeView, service: ServiceRow) -> Row:
    up = sum(each.observed in _UP or each.has_completed for each in service.components)
    wanted = sum(each.desired in _WANTS_UP for each in service.components)
    alerts = [each for each in view.alerts if each.service == service.name]
    silenced = sum(each.is_silenced for each in alerts)
    counted = f"{len(alerts)}" + (f" ({silenced} silenced)" if silenced else "") if alerts else ""
    versions = ", ".join(sorted({each.version for each in service.components}))
    return (
        (service.name, ""),
        (service.node, ""),
        (f"{up}/{len(service.components)}", "green" if up >= wanted else "red"),
        (versions, ""),
        (counted, "red" if len(alerts) > silenced else ""),
        (_drift(service), "red"),
    )


def _drift(service: ServiceRow) -> str:
    return "; ".join(f"{each.component}: {each.drift}" for each in service.components if each.drift)
