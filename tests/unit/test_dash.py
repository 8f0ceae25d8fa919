"""`mcpctl dash` as somebody at the keyboard sees it, with Textual's own pilot."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="the extra dash is not installed")

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from textual.pilot import Pilot

from mcpctl.actions.dash.app import Dash
from mcpctl.actions.dash.service_screen import ServiceScreen
from mcpctl.config import load
from mcpctl.errors import CliError
from protos.mcp import v1
from tests.support.agent import HOSTILE, Node, Run
from tests.support.live_agent import LiveAgent, alive, an_alert, an_event
from tests.support.waiting import DEADLINE_S, until

Play = Callable[[Callable[[Pilot[int]], Awaitable[None]]], Dash]


@pytest.fixture
def live(nodes: tuple[Node, Node]) -> LiveAgent:
    agent, other = map(alive, nodes)
    agent.component("api")
    agent.component("worker")
    other.component("db", service="store")
    return agent


@pytest.fixture
def play(plain_asyncio: None, live: LiveAgent, tmp_path: Path) -> Play:  # noqa: ARG001
    """Runs the application at 80x24, and at its keyboard what a test does."""

    def play(keyboard: Callable[[Pilot[int]], Awaitable[None]]) -> Dash:
        settings = load(tmp_path / "mcp.toml")

        async def main() -> Dash:
            app = Dash(settings, settings.nodes)
            async with app.run_test(size=(80, 24), notifications=True) as pilot:
                await keyboard(pilot)
            return app

        # As the program does, it leaves it to its own end to close what is open.
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            app = asyncio.run(main())
            gc.collect()
        return app

    return play


def shown(pilot: Pilot[int]) -> str:
    """The screen as text."""
    screen = pilot.app.screen
    strips = screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def sees(pilot: Pilot[int], *words: str) -> None:
    """Waits until all of them are on the screen."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not all(word in shown(pilot) for word in words):
        assert loop.time() < deadline, f"not on the screen: {words}\n{shown(pilot)}"
        await pilot.pause(0.02)


def test_the_fleet_is_on_one_screen_and_changes_with_it(play: Play, live: LiveAgent, rift: Node) -> None:
    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "rift", "orion", "web", "store", "2/2", "1/1", "0 drifting", "Quit", "Ack alert")
        live.fail("worker")
        live.alerts = [an_alert()]
        await asyncio.to_thread(rift.append, an_event(1, component="worker"))
        await sees(pilot, "1/2", "worker: it exited with 1", "1 drifting", "1 open alert", "api is down")

    assert play(keyboard).failure is None


def test_what_is_silenced_is_marked_and_counted_apart(play: Play, live: LiveAgent) -> None:
    live.alerts = [an_alert(7), an_alert(8)]
    live.alerts[0].silenced_until = datetime.now(UTC) + timedelta(days=400)

    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "2 open alerts (1 silenced)", "2 (1 silenced)", "silenced until ")

    play(keyboard)


def test_news_that_come_while_a_screen_is_being_made_end_nothing(play: Play) -> None:
    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "rift", "web")
        app = pilot.app
        assert isinstance(app, Dash)
        app.push_screen(ServiceScreen("rift", "web"))
        app.show_news()
        await sees(pilot, "web on rift", "api", "worker")

    assert play(keyboard).failure is None


def test_a_service_is_looked_into_and_left_again(play: Play, live: LiveAgent, rift: Node) -> None:
    now = datetime.now(UTC)
    live.lines = [b"\x1b[32mhello\x1b[0m \x1b[2Jthere", b"[red]no markup[/red]"]
    event = v1.EventInfo(1, "web", "api", now - timedelta(hours=2), "running", "up")

    async def keyboard(pilot: Pilot[int]) -> None:
        await asyncio.to_thread(rift.append, event)
        await sees(pilot, "web", "store")
        # The cursor stays on its row: this is the second one.
        await pilot.press("down", "enter")
        await sees(pilot, "web on rift", "worker", "running", "12.0 MiB / 64.0 MiB")
        await pilot.press("2")
        await sees(pilot, "UPTIME", "100%", "█", "stopped")
        await pilot.press("3")
        await sees(pilot, "api | hello", "there", "api | [red]no markup[/red]")
        await pilot.press("5")
        await sees(pilot, "EVENT", "running", "up")
        await pilot.press("escape")
        await sees(pilot, "store")

    play(keyboard)
    (asked,) = live.asked(v1.LogsRequest)
    assert (asked.service, asked.follow) == ("web", True)


def test_an_alert_is_acked_with_a_note(play: Play, live: LiveAgent) -> None:
    live.alerts = [an_alert(7)]

    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "api is down")
        await pilot.press("a")
        await sees(pilot, "Ack alert 7 on rift")
        await pilot.press("escape", "a")
        await sees(pilot, "Ack alert 7 on rift")
        await pilot.press(*"mine", "enter")
        await sees(pilot, "acked by kyle")

    play(keyboard)
    assert [(each.id, each.note) for each in live.asked(v1.AckAlertRequest)] == [(7, "mine")]


def test_an_ack_that_is_refused_is_said(play: Play, live: LiveAgent) -> None:
    live.alerts = [an_alert(7)]
    live.prepared["AckAlertRequest"] = GRPCError(Status.PERMISSION_DENIED, "kyle may only look")

    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "api is down")
        await pilot.press("a")
        await sees(pilot, "Ack alert 7")
        await pilot.press("enter")
        await sees(pilot, "kyle may only look")

    play(keyboard)


def test_a_node_that_goes_away_is_grey_until_it_is_back(play: Play, live: LiveAgent, rift: Node) -> None:
    assert live.components

    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "web", "store")
        await asyncio.to_thread(rift.cut, for_good=True)
        await sees(pilot, "node rift: unreachable since", "web", "store")
        await asyncio.to_thread(rift.listen)
        await sees(pilot, "rift  1 services, 2 components")

    play(keyboard)


def test_hostile_words_are_words(play: Play, live: LiveAgent) -> None:
    live.fail("api", f"[bold]{HOSTILE}[/bold]")

    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "[bold] [2J")
        await pilot.press("enter")
        await sees(pilot, "web on rift", "[bold]")

    play(keyboard)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_ends_when_it_is_told_to_with_nothing_running(play: Play, rift: Node, key: str) -> None:
    async def keyboard(pilot: Pilot[int]) -> None:
        await sees(pilot, "web")
        await pilot.press(key)

    app = play(keyboard)
    assert app.return_code == 0
    until(lambda: not rift.agent.calls_running)


def test_when_no_node_is_left_to_ask_it_ends_and_says_why(play: Play, nodes: tuple[Node, Node]) -> None:
    for each in nodes:
        each.agent.prepared["GetStatusRequest"] = GRPCError(Status.PERMISSION_DENIED, "kyle may not look")

    async def keyboard(pilot: Pilot[int]) -> None:
        while pilot.app.is_running:  # noqa: ASYNC110 (its end is what a test waits for)
            await asyncio.sleep(0.02)

    failure = play(keyboard).failure
    assert isinstance(failure, CliError)
    assert "kyle may not look" in str(failure)


def test_without_textual_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    found = run("dash")
    assert found.status == 1
    assert "pip install 'mcp-control-plane[dash]'" in found.err


@pytest.mark.parametrize("words", [(), ("--output", "json")])
def test_it_is_for_people_at_a_terminal(run: Run, nodes: Any, words: tuple[str, ...]) -> None:  # noqa: ARG001
    found = run("dash", *words)
    assert found.status == 2
    assert "status --watch" in found.err
