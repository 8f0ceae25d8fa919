"""The first screen: nodes, services, and the alerts that are open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Footer, Static

from mcpctl.dash.base import PictureScreen, alert_rows
from mcpctl.dash.service import ServiceScreen
from mcpctl.dash.tables import Table, text
from mcpctl.picture import NodePicture
from mcpctl.rows import ServiceRow
from mcpctl.views import Row, greyed, open_alerts, trouble
from mcpctl.widths import Line

_UP = ("running", "healthy")


class FleetScreen(PictureScreen):
    """Enter on a service shows it alone."""

    DEFAULT_CSS = """
    FleetScreen #nodes { height: auto; max-height: 6; padding: 0 1; }
    FleetScreen #services { height: 2fr; }
    FleetScreen #alerts { height: 1fr; min-height: 5; border-top: solid $secondary; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="nodes")
        yield Table(("SERVICE", "NODE", "UP", "VERSION", "ALERTS", "DRIFT"), id="services")
        yield Table(("OPEN ALERT", "WHAT", "NODE", "FOR", "REASON"), id="alerts")
        yield Footer()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#services", Table).focus()

    def show(self, pictures: Sequence[NodePicture]) -> None:
        now = datetime.now(UTC)
        nodes = Text("\n", no_wrap=True, overflow="ellipsis").join(text(node_line(each, now)) for each in pictures)
        self.query_one("#nodes", Static).update(nodes)
        services = [(picture, each) for picture in pictures for each in picture.services]
        services.sort(key=lambda found: (not _drift(found[1]), found[1].name))
        self.query_one("#services", Table).show(
            {f"{picture.node}/{each.name}": greyed(picture, service_cells(picture, each)) for picture, each in services}
        )
        self.query_one("#alerts", Table).show(alert_rows(pictures, now))

    def on_data_table_row_selected(self, event: Table.RowSelected) -> None:
        if event.data_table.id == "services" and event.row_key.value:
            node, _, service = event.row_key.value.partition("/")
            self.app.push_screen(ServiceScreen(node, service))


def node_line(picture: NodePicture, now: datetime) -> Line:
    """One node, and what is the matter with it."""
    if found := trouble(picture, now):
        return found
    drifting = sum(bool(each.drift) for each in picture.components)
    # What is silenced is there, and no reason to look up.
    loud = any(not each.is_silenced for each in picture.alerts)
    return [
        (picture.node, "bold"),
        (f"  {len(picture.services)} services, {len(picture.components)} components", ""),
        (f"  {drifting} drifting", "red" if drifting else "green"),
        (f"  {open_alerts(picture.alerts)}", "red" if loud else "green"),
    ]


def service_cells(picture: NodePicture, service: ServiceRow) -> Row:
    up = sum(each.observed in _UP for each in service.components)
    wanted = sum(each.desired == "running" for each in service.components)
    alerts = [each for each in picture.alerts if each.service == service.name]
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
