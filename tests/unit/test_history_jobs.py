"""Jobs between their runs: at rest, and no trouble, wherever states are shown."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from mcpctl.actions.dash.fleet_screen import service_cells
from mcpctl.actions.live.fleet_state import NodeView
from mcpctl.ui import history, render
from mcpctl.ui.cells import state
from mcpctl.ui.rows.status import ComponentRow, ServiceRow, component_row, event_row
from protos.mcp import v1
from tests.support.agent import AT

HOUR = timedelta(hours=1)
WINDOW = history.Window(AT, AT + 10 * HOUR)


def job(**values: Any) -> ComponentRow:
    made = component_row("rift", v1.ComponentInfo(service="web", component="job"))
    return msgspec.structs.replace(made, **{"observed": "created", "desired": "scheduled", **values})


def history_of(then: ComponentRow, *events: tuple[float, str, str]) -> history.History:
    told = [
        event_row("rift", v1.EventInfo(1, "web", "job", _at(hours), kind, message)) for hours, kind, message in events
    ]
    (found,) = history.histories("rift", [then], told, [], WINDOW)
    return found


def _at(hours: float) -> datetime:
    return AT + hours * HOUR


def states(found: history.History) -> list[tuple[float, str]]:
    return [((each.start - AT) / HOUR, each.state) for each in found.segments]


@pytest.mark.parametrize(
    ("then", "shown"),
    [
        (job(), "completed"),
        (job(observed="exited"), "completed"),
        (job(observed="exited", exit_code=0), "completed"),
        (job(observed="exited", exit_code=1), "exited"),
        (job(observed="running"), "running"),
        (job(desired="running"), "created"),
        (job(desired="completed"), "created"),
        (job(desired="stopped"), "stopped"),
    ],
)
def test_a_job_whose_time_has_not_come_is_as_it_should_be(then: ComponentRow, shown: str) -> None:
    assert states(history_of(then)) == [(0, shown)]


def test_its_runs_are_seen_and_the_time_between_them_is_no_trouble() -> None:
    found = history_of(job(), (2, "running", ""), (4, "exited", "exited 0"), (6, "created", ""), (7, "deployed", ""))
    assert (states(found), found.uptime) == ([(0, "completed"), (2, "running"), (4, "completed")], 100)


def test_a_run_that_failed_is_trouble_until_the_next_one() -> None:
    found = history_of(job(), (2, "exited", "exited 3"), (6, "running", ""), (7, "exited", "exited 0"))
    assert states(found) == [(0, "completed"), (2, "exited"), (6, "running"), (7, "completed")]
    assert found.uptime == 60


def test_another_component_that_was_only_created_is_still_trouble() -> None:
    assert states(history_of(job(desired="running", observed="running"), (2, "created", ""))) == [
        (0, "running"),
        (2, "created"),
    ]


@pytest.mark.parametrize(
    ("component", "shown", "colour"),
    [
        (job(), "created", ""),
        (job(observed="exited", exit_code=0), "completed", "green"),
        (job(observed="exited", exit_code=3), "exited 3", "red"),
        (job(observed="running"), "running", "green"),
    ],
)
def test_status_shows_what_a_job_came_to(component: ComponentRow, shown: str, colour: str) -> None:
    assert (state(component), render.state_colour(state(component))) == (shown, colour)


@pytest.mark.parametrize("component", [job(), job(observed="exited", exit_code=0), job(observed="exited", exit_code=3)])
def test_a_service_is_not_missing_a_job_that_waits(component: ComponentRow) -> None:
    up = job(component="api", desired="running", observed="running")
    service = ServiceRow("rift", "web", True, 1, AT, (up, component))
    assert service_cells(NodeView("rift"), service)[2][1] == "green"
