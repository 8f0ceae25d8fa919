"""Timelines of what runs to its end: a good end is no time that it was down."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mcpctl.actions.timeline import LOOK, legend
from mcpctl.ui import history
from mcpctl.ui.history import Cell, History, Window
from mcpctl.ui.rows.changes import OperationRow
from mcpctl.ui.rows.status import ComponentRow, component_row, event_row
from protos.mcp import v1

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = 1 / 3600
WINDOW = Window(START, START + 10 * HOUR)


def job(**values: Any) -> ComponentRow:
    made = component_row("rift", v1.ComponentInfo(service="web", component="job"))
    return msgspec.structs.replace(made, **{"observed": "exited", "desired": "completed", **values})


def history_of(
    then: ComponentRow | None, *events: tuple[float, str, str], operations: tuple[OperationRow, ...] = ()
) -> History:
    told = [
        event_row("rift", v1.EventInfo(1, "web", "job", START + hours * HOUR, kind, message))
        for hours, kind, message in events
    ]
    (found,) = history.histories("rift", [then] if then else [], told, [], WINDOW, operations)
    return found


def states(found: History) -> list[tuple[float, str]]:
    return [((each.start - START) / HOUR, each.state) for each in found.segments]


def test_what_had_completed_at_the_start_and_runs_no_more_was_as_wanted_all_the_time() -> None:
    found = history_of(job())
    assert (states(found), found.uptime) == ([(0, "completed")], 100)
    assert history.cells(found.segments, WINDOW, 3) == (Cell.COMPLETED,) * 3


def test_each_run_that_ends_well_is_seen_and_no_time_that_it_was_down() -> None:
    found = history_of(job(), (2, "running", ""), (4, "exited", "exited 0"))
    assert (states(found), found.uptime) == ([(0, "completed"), (2, "running"), (4, "completed")], 100)


def test_one_that_fails_is_down_until_it_has_completed() -> None:
    found = history_of(
        job(), (2, "running", ""), (3, "exited", "exited 1"), (7, "running", ""), (8, "exited", "exited 0")
    )
    assert [state for _, state in states(found)] == ["completed", "running", "exited", "running", "completed"]
    assert found.uptime == 60


@pytest.mark.parametrize(
    ("then", "state"),
    [
        (job(drift="did not complete: exited 1"), "exited"),
        (job(exit_code=1, drift="did not complete: exited 1"), "exited"),
        (job(exit_code=0, drift="image v1 ran, v2 is wanted"), "completed"),
        (job(desired="running"), "exited"),
        (job(desired="stopped"), "stopped"),
        (job(observed="unknown"), "unknown"),
    ],
)
def test_how_it_was_at_the_start_is_what_the_node_says(then: ComponentRow, state: str) -> None:
    assert states(history_of(then)) == [(0, state)]


def test_what_is_wanted_to_run_and_ends_with_0_is_down() -> None:
    found = history_of(job(observed="running", desired="running"), (5, "exited", "exited 0"))
    assert (states(found), found.uptime) == ([(0, "running"), (5, "exited")], 50)


def test_a_deploy_that_runs_it_again_removes_the_run_of_before_and_takes_nothing_away() -> None:
    events = [
        (2, "running", ""),
        (2 + SECOND, "exited", "exited 0"),
        (2 + 2 * SECOND, "deployed", "v2"),
        (2 + 3 * SECOND, "removed", ""),
    ]
    found = history_of(job(), *events)
    assert [state for _, state in states(found)] == ["completed", "running", "completed"]
    assert found.uptime == 100
    assert [each.kind for each in found.marks] == ["deployed"]


def test_its_first_run_is_the_first_that_is_known() -> None:
    found = history_of(
        job(observed="unknown"), (2, "running", ""), (3, "exited", "exited 0"), (3 + SECOND, "deployed", "v1")
    )
    assert [state for _, state in states(found)] == ["unknown", "running", "completed"]


def test_what_is_gone_is_down() -> None:
    assert states(history_of(job(), (5, "removed", ""))) == [(0, "completed"), (5, "removed")]


def test_it_has_a_sign_of_its_own_which_is_explained_where_it_is_drawn() -> None:
    assert Cell.COMPLETED not in legend([Cell.UP])
    assert Cell.COMPLETED in legend([Cell.COMPLETED])
    assert len({(block, colour) for block, colour, _ in LOOK.values()}) == len(LOOK)
    assert len({sign for _, _, sign in LOOK.values()}) == len(LOOK)
    assert LOOK[Cell.COMPLETED][1] == LOOK[Cell.UP][1]
