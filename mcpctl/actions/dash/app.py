"""The application: it observes the fleet, and gives every view to the screen that is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from textual.app import App
from textual.binding import Binding

from mcpctl.actions.dash.fleet_screen import FleetScreen
from mcpctl.actions.dash.screen import LiveScreen
from mcpctl.actions.live.fleet_state import Fleet, Interest, NodeView
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, CliError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import chosen
from mcpctl.ui.rows.alerts import AlertRow
from protos.mcp import v1

_EVERY_S = 2.0
_EVENTS = 50
# Ages change by themselves.
_TICK_S = 1.0
_BREATH_S = 0.1


class Dash(App[int]):
    """``failure``: why it ended by itself."""

    TITLE = "mcpctl dash"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [
        Binding("r", "ask_soon", "Refresh"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, settings: Settings, nodes: Sequence[Node]) -> None:
        super().__init__()
        self.settings = settings
        self.failure: CliError | None = None
        interest = Interest(services=True, containers=True, alerts=True, events=_EVENTS)
        self.fleet = Fleet(settings, nodes, interest, _EVERY_S)

    @property
    def views(self) -> tuple[NodeView, ...]:
        return self.fleet.views

    def on_mount(self) -> None:
        self.push_screen(FleetScreen())
        self.run_worker(self._observe())

    async def _observe(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._show())
                group.create_task(self.fleet.run())
        except* CliError as several:
            (self.failure, *_) = several.exceptions  # type: ignore[assignment]
            self.exit()

    async def _show(self) -> None:
        news = self.fleet.news
        while True:
            news.clear()
            self.show_news()
            try:
                async with asyncio.timeout(_TICK_S):
                    await news.wait()
                await asyncio.sleep(_BREATH_S)
            except TimeoutError:
                continue

    def show_news(self) -> None:
        """Gives the views to the screen that is shown. One that was just pushed has no widgets yet, and asks itself."""
        screen = self.screen
        if isinstance(screen, LiveScreen) and screen.is_mounted:
            screen.show(self.views)

    def action_ask_soon(self) -> None:
        self.fleet.ask_soon()

    async def ack(self, alert: AlertRow, note: str) -> None:
        """Says on the screen how that went."""
        request = v1.AckAlertRequest(id=alert.id, note=note)
        try:
            node = self.settings.node(alert.node)
            async with client.agent(self.settings, node, deadline=client.read_deadline()) as stub:
                await stub.ack_alert(request)
        except CliError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify(f"alert {alert.id} on {alert.node} acknowledged", markup=False)
        self.fleet.ask_soon()


def run(query: Query) -> int:
    """Until somebody quits. Raises CliError when no node is left to ask."""
    settings = query.settings()
    app = Dash(settings, chosen(settings, query.nodes))
    app.run()
    if app.failure:
        raise app.failure
    return app.return_code or DONE
