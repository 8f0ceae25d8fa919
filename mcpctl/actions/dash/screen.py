"""What the screens have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Label

from mcpctl.actions.dash.table import Table
from mcpctl.actions.live.fleet_state import NodeView
from mcpctl.actions.live.screens import Row, alert_cells, greyed
from mcpctl.config import Settings
from mcpctl.ui.cells import LONG_AGO, full_name
from mcpctl.ui.rows.alerts import AlertRow


class Host(Protocol):
    """What a screen needs of the application that shows it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def views(self) -> tuple[NodeView, ...]: ...

    async def ack(self, alert: AlertRow, note: str) -> None: ...


class LiveScreen(Screen[None]):
    """A screen of what is in the views. It has a table of alerts, one of which can be acked."""

    BINDINGS = [Binding("a", "ack", "Ack alert")]

    @property
    def dash(self) -> Host:
        return cast("Host", self.app)

    def show(self, views: Sequence[NodeView]) -> None:
        """Shows them."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.show(self.dash.views)

    def on_screen_resume(self) -> None:
        self.show(self.dash.views)

    def action_ack(self) -> None:
        chosen = self.query_one("#alerts", Table).chosen
        alerts = {alert_key(alert): alert for each in self.dash.views for alert in each.alerts}
        if chosen is None or chosen not in alerts:
            self.notify("no open alert to acknowledge")
            return
        alert = alerts[chosen]

        def answered(note: str | None) -> None:
            if note is not None:
                self.run_worker(self.dash.ack(alert, note))

        self.app.push_screen(AckScreen(alert), answered)


def alert_key(alert: AlertRow) -> str:
    return f"{alert.node}/{alert.id}"


def alert_rows(views: Sequence[NodeView], now: datetime, node: str = "", service: str = "") -> dict[str, Row]:
    """The newest first; of one service on one node, where these are given."""
    found = [
        (each, alert)
        for each in views
        for alert in each.alerts
        if node in ("", alert.node) and service in ("", alert.service)
    ]
    found.sort(key=lambda pair: _opened(pair[1]), reverse=True)
    return {alert_key(alert): greyed(each, alert_cells(alert, now)) for each, alert in found}


def _opened(alert: AlertRow) -> datetime:
    return alert.opened_at or LONG_AGO


class AckScreen(ModalScreen[str | None]):
    """Asks for the note that goes with an ack; None: there is to be none."""

    DEFAULT_CSS = """
    AckScreen { align: center middle; }
    AckScreen > Label { width: 70; padding: 1 2 0 2; background: $panel; }
    AckScreen > Input { width: 70; }
    """
    BINDINGS = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, alert: AlertRow) -> None:
        super().__init__()
        self._alert = alert

    def compose(self) -> ComposeResult:
        alert = self._alert
        subject = full_name(alert.service, alert.component) or "the node"
        words = (
            f"Ack alert {alert.id} on {alert.node}, {alert.kind} of {subject}. Enter acknowledges it, Escape cancels."
        )
        yield Label(words, markup=False)
        yield Input(placeholder="Note (optional)")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
