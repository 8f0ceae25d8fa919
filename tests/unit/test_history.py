"""Timelines: how events become segments, segments become characters, and what a percentage may say."""

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.ui import history
from mcpctl.ui.history import Cell, Change, History, Mark, Segment, Span, Window
from mcpctl.ui.rows.alerts import AlertRow, alert_row
from mcpctl.ui.rows.changes import OperationRow
from mcpctl.ui.rows.status import ComponentRow, EventRow, component_row, event_row
from protos.mcp import v1

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = Window(START, START + 10 * HOUR)
UP, DOWN, DEGRADED, STOPPED, UNKNOWN = Cell.UP, Cell.DOWN, Cell.DEGRADED, Cell.STOPPED, Cell.UNKNOWN
DOWN_A_WHILE, DEGRADED_A_WHILE, ORDERED = Cell.DOWN_A_WHILE, Cell.DEGRADED_A_WHILE, Cell.ORDERED


def at(hours: float) -> datetime:
    return START + hours * HOUR


def fold(state: str, *changes: tuple[float, str], wanted: bool = True) -> list[tuple[float, float, str]]:
    """The segments of a component that was in ``state``, in hours since the start of a window of ten."""
    segments = history.fold(state, wanted, [Change(at(hours), kind) for hours, kind in changes], WINDOW)
    return [((each.start - START) / HOUR, (each.end - START) / HOUR, each.state) for each in segments]


# -- events to segments


def test_without_a_change_the_state_lasts_all_the_time() -> None:
    assert fold("running") == [(0, 10, "running")]


def test_each_observed_state_lasts_until_the_next() -> None:
    assert fold("running", (2, "exited"), (3, "running"), (7, "healthy")) == [
        (0, 2, "running"),
        (2, 3, "exited"),
        (3, 7, "running"),
        (7, 10, "healthy"),
    ]


def test_a_state_that_is_told_again_is_one_segment() -> None:
    assert fold("running", (2, "exited"), (3, "exited"), (4, "failed"), (5, "running")) == [
        (0, 2, "running"),
        (2, 5, "exited"),
        (5, 10, "running"),
    ]


def test_before_a_component_is_first_seen_its_state_is_unknown() -> None:
    assert fold("unspecified", (4, "running")) == [(0, 4, "unknown"), (4, 10, "running")]


def test_what_was_stopped_already_is_down_on_purpose() -> None:
    assert fold("exited", wanted=False) == [(0, 10, "stopped")]


@pytest.mark.parametrize("operation", ["stopped", "undeployed"])
def test_what_exits_after_an_operation_wanted_it_down_is_down_on_purpose(operation: str) -> None:
    assert fold("running", (2, operation), (2.5, "exited"), (4, "removed")) == [
        (0, 2.5, "running"),
        (2.5, 10, "stopped"),
    ]


def test_what_an_operation_took_down_is_on_purpose_although_seen_before_it_was_through() -> None:
    second = 1 / 3600
    assert fold("running", (2, "exited"), (2 + second, "removed"), (2 + 2 * second, "undeployed")) == [
        (0, 2, "running"),
        (2, 10, "stopped"),
    ]


def test_a_death_that_somebody_later_answers_with_stop_stays_a_death_until_then() -> None:
    assert fold("running", (2, "exited"), (3, "stopped")) == [(0, 2, "running"), (2, 3, "exited"), (3, 10, "stopped")]


def test_a_deploy_that_ends_at_rest_was_meant_to() -> None:
    assert fold("running", (2, "exited"), (2, "deployed")) == [(0, 2, "running"), (2, 10, "stopped")]


def test_a_death_after_it_ran_again_is_no_stop() -> None:
    assert fold("exited", (2, "running"), (3, "exited"), wanted=False) == [
        (0, 2, "stopped"),
        (2, 3, "running"),
        (3, 10, "exited"),
    ]


@pytest.mark.parametrize("operation", ["started", "restarted"])
def test_what_should_run_again_and_does_not_is_down(operation: str) -> None:
    assert fold("exited", (2, operation), wanted=False) == [(0, 2, "stopped"), (2, 10, "exited")]


def test_what_is_stopped_on_purpose_and_runs_all_the_same_runs() -> None:
    assert fold("exited", (2, "stopped"), (3, "unhealthy")) == [
        (0, 2, "exited"),
        (2, 3, "stopped"),
        (3, 10, "unhealthy"),
    ]


def test_what_happened_before_the_window_counts_at_its_start_and_what_comes_after_does_not() -> None:
    assert fold("running", (-1, "exited"), (10, "running"), (11, "running")) == [(0, 10, "exited")]


def test_the_ledgers_order_stands_when_a_clock_was_set_back() -> None:
    assert fold("running", (5, "exited"), (3, "paused"), (6, "running")) == [
        (0, 5, "running"),
        (5, 6, "paused"),
        (6, 10, "running"),
    ]


def test_a_stop_by_a_clock_that_was_set_back_does_not_excuse_a_long_death() -> None:
    assert fold("running", (5, "exited"), (8, "failed"), (3, "stopped")) == [
        (0, 5, "running"),
        (5, 8, "exited"),
        (8, 10, "stopped"),
    ]


OBSERVED = ["created", "running", "healthy", "unhealthy", "paused", "restarting", "exited", "removed", "unknown"]
OBSERVED += ["completed"]
OPERATIONS = ["deployed", "started", "stopped", "restarted", "undeployed", "failed", "of a newer agent"]
kinds = st.sampled_from(OBSERVED + OPERATIONS)
times = st.timedeltas(timedelta(hours=-2), timedelta(hours=12)).map(lambda since: START + since)
changes = st.lists(st.builds(Change, times, kinds))
lengths = st.timedeltas(timedelta(seconds=1), timedelta(days=4000))


@given(kinds, st.booleans(), changes)
def test_segments_cover_the_window_without_gap_or_overlap(state: str, wanted: bool, changes: list[Change]) -> None:
    segments = history.fold(state, wanted, changes, WINDOW)
    assert [segments[0].start, *(each.end for each in segments)] == [*(each.start for each in segments), WINDOW.end]
    assert segments[0].start == WINDOW.start
    assert all(each.start < each.end for each in segments)


@given(kinds, st.booleans(), changes)
def test_neighbours_are_in_different_states(state: str, wanted: bool, changes: list[Change]) -> None:
    segments = history.fold(state, wanted, changes, WINDOW)
    assert all(one.state != other.state for one, other in itertools.pairwise(segments))


@given(st.lists(st.builds(Change, times, kinds.filter(lambda kind: kind not in ("running", "healthy", "completed")))))
def test_nothing_is_up_that_was_never_seen_up(changes: list[Change]) -> None:
    segments = history.fold("exited", True, changes, WINDOW)
    assert history.uptime(segments) in (0, None)


# -- uptime


def segments(*parts: tuple[float, float, str]) -> tuple[Segment, ...]:
    return tuple(Segment(at(first), at(last), state) for first, last, state in parts)


def test_uptime_is_the_share_of_the_known_time_that_it_ran_or_was_healthy() -> None:
    parts = segments((0, 4, "unknown"), (4, 5, "running"), (5, 7, "healthy"), (7, 8, "unhealthy"), (8, 10, "stopped"))
    assert history.uptime(parts) == 50


def test_of_what_is_not_known_there_is_no_uptime() -> None:
    assert history.uptime(segments((0, 10, "unknown"))) is None
    assert history.percentage(None) == "-"


@given(kinds, st.booleans(), changes)
def test_uptime_is_a_percentage(state: str, wanted: bool, changes: list[Change]) -> None:
    value = history.uptime(history.fold(state, wanted, changes, WINDOW))
    assert value is None or 0 <= value <= 100


@given(st.integers(1, int(timedelta(days=4000) / timedelta(microseconds=1)) - 1))
def test_only_what_was_never_down_shows_100_percent(microseconds: int) -> None:
    end, down = START + timedelta(days=4000), START + timedelta(microseconds=microseconds)
    value = history.uptime([Segment(START, down, "running"), Segment(down, end, "exited")])
    shown = history.percentage(value)
    assert not shown.startswith("100")
    assert len(shown) <= 6
    assert history.percentage(100.0) == "100%"


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.00%"), (50.0, "50.00%"), (99.999, "99.99%"), (0.009, "0.00%")])
def test_a_percentage_is_cut_and_not_rounded(value: float, shown: str) -> None:
    assert history.percentage(value) == shown


# -- segments to cells


def test_a_cell_says_what_its_slice_of_time_was() -> None:
    parts = segments((0, 3, "running"), (3, 5, "exited"), (5, 6, "restarting"), (6, 8, "stopped"), (8, 10, "unknown"))
    expected = (UP, UP, UP, DOWN, DOWN, DEGRADED, STOPPED, STOPPED, UNKNOWN, UNKNOWN)
    assert history.cells(parts, WINDOW, 10) == expected


@pytest.mark.parametrize(("state", "shown"), [("exited", DOWN_A_WHILE), ("restarting", DEGRADED_A_WHILE)])
def test_a_moment_of_trouble_is_seen_in_a_slice_of_hours_and_does_not_look_like_hours_of_it(
    state: str, shown: Cell
) -> None:
    blink = timedelta(milliseconds=1) / HOUR
    parts = segments((0, 5, "running"), (5, 5 + blink, state), (5 + blink, 10, "running"))
    assert history.cells(parts, WINDOW, 5) == (UP, UP, shown, UP, UP)


def test_what_was_down_for_half_of_a_slice_was_down() -> None:
    parts = segments((0, 1, "exited"), (1, 2.1, "running"), (2.1, 4, "exited"), (4, 10, "running"))
    assert history.cells(parts, WINDOW, 5) == (DOWN, DOWN, UP, UP, UP)


def test_several_moments_count_together() -> None:
    parts = segments(*((number / 4, (number + 1) / 4, "exited" if number % 2 else "healthy") for number in range(40)))
    assert history.cells(parts, WINDOW, 10) == (DOWN,) * 10


def test_of_what_is_no_trouble_the_longest_is_seen() -> None:
    parts = segments((0, 0.4, "unknown"), (0.4, 1, "running"), (1, 1.6, "stopped"), (1.6, 10, "healthy"))
    assert history.cells(parts, WINDOW, 10)[:3] == (UP, STOPPED, UP)


def test_being_down_is_worse_than_being_degraded() -> None:
    parts = segments((0, 9, "paused"), (9, 10, "removed"))
    assert history.cells(parts, WINDOW, 1) == (DOWN_A_WHILE,)


def test_what_was_ordered_is_seen_however_short_it_was_and_is_no_trouble() -> None:
    blink = timedelta(seconds=1) / HOUR
    parts = [*segments((0, 5, "running")), Segment(at(5), at(5 + blink), "exited", ordered=True)]
    parts += segments((5 + blink, 10, "running"))
    assert history.cells(parts, WINDOW, 5) == (UP, UP, ORDERED, UP, UP)
    parts += segments((9, 9 + blink, "exited"))
    assert history.cells(parts, WINDOW, 1) == (DOWN_A_WHILE,)


# -- what was ordered


def spans(*found: tuple[float, float]) -> list[Span]:
    return [Span(at(start), at(end), "web", "") for start, end in found]


def test_what_an_operation_took_down_and_brought_back_was_ordered() -> None:
    parts = segments((0, 2, "running"), (2, 2.1, "exited"), (2.1, 2.2, "created"), (2.2, 10, "healthy"))
    told = history.ordered(parts, spans((1.9, 2.3)))
    assert [each.ordered for each in told] == [False, True, True, False]
    assert [(each.start, each.end, each.state) for each in told] == [
        (each.start, each.end, each.state) for each in parts
    ]


def test_what_is_down_after_the_operation_that_took_it_down_is_down() -> None:
    told = history.ordered(segments((0, 2, "running"), (2, 10, "exited")), spans((1.9, 3)))
    assert [(each.start, each.end, each.ordered) for each in told] == [
        (at(0), at(2), False),
        (at(2), at(3), True),
        (at(3), at(10), False),
    ]


def test_what_was_down_before_an_operation_mended_it_was_not_ordered() -> None:
    told = history.ordered(segments((0, 2, "running"), (2, 5, "exited"), (5, 10, "running")), spans((4.9, 5.1)))
    assert [each.ordered for each in told] == [False, False, False]


@pytest.mark.parametrize("kind", ["heal", "boot"])
def test_what_the_daemon_does_by_itself_orders_nothing(kind: str) -> None:
    events = [event(4, "web", "api", "exited"), event(5, "web", "api", "running")]
    assert [
        each.ordered
        for each in histories([row("web", "api")], events, operations=[operation(kind, 3, 6)])["web/api"].segments
    ] == [False, False, False]


def test_an_operation_orders_what_it_is_about() -> None:
    events = [event(4, "web", name, state) for name in ("api", "db") for state in ("exited", "running")]
    found = histories([row("web", "api"), row("web", "db")], events, operations=[operation("restart", 3, 6, "db")])
    assert not any(each.ordered for each in found["web/api"].segments)


def test_an_operation_that_goes_on_has_ordered_what_it_does() -> None:
    found = histories(
        [row("web", "api")], [event(4, "web", "api", "exited")], operations=[operation("deploy", 3, None)]
    )
    assert [each.ordered for each in found["web/api"].segments] == [False, True]


def test_what_a_deploy_replaced_is_gone_and_its_successor_runs() -> None:
    def ends(*later: tuple[float, str]) -> str:
        second = 1 / 3600
        replaced = [(2, "exited"), (2 + second, "running"), (2 + 2 * second, "deployed")]
        return fold("running", *replaced, *((2 + number * second, kind) for number, kind in later))[-1][2]

    assert ends((3, "removed")) == "running"
    # Long after it, and after an end of its own, it is the successor that is gone.
    assert ends((3, "removed"), (3000, "removed")) == "removed"
    assert ends((3, "removed"), (4, "exited"), (5, "removed")) == "removed"


@pytest.mark.parametrize("order", [("reverted", "removed"), ("removed", "reverted")])
def test_what_a_first_deploy_took_back_is_not_missing(order: tuple[str, str]) -> None:
    second = 1 / 3600
    changes = [(2, "running"), (2 + second, "exited"), *((2 + 2 * second, kind) for kind in order)]
    assert [state for *_, state in fold("unknown", *changes)] == ["unknown", "running", "exited", "unknown"]
    assert [state for *_, state in fold("running", *changes)][-1] == "removed"
    assert [state for *_, state in fold("unknown", (1, "running"), (1.5, "deployed"), *changes)][-1] == "removed"


@given(kinds, st.booleans(), changes, st.integers(1, 300))
def test_there_are_as_many_cells_as_the_line_is_wide(
    state: str, wanted: bool, changes: list[Change], width: int
) -> None:
    assert len(history.cells(history.fold(state, wanted, changes, WINDOW), WINDOW, width)) == width


@given(kinds, st.booleans(), changes, st.integers(1, 300))
def test_every_time_that_it_was_down_is_seen(state: str, wanted: bool, changes: list[Change], width: int) -> None:
    parts = history.fold(state, wanted, changes, WINDOW)
    shown = history.cells(parts, WINDOW, width)
    down = [each for each in parts if each.state in ("exited", "removed", "unhealthy")]
    assert {shown[WINDOW.cell(each.start, width)] for each in down} <= {DOWN, DOWN_A_WHILE}
    assert (DOWN in shown or DOWN_A_WHILE in shown) == bool(down)


@given(lengths, st.integers(1, 300), st.data())
def test_a_slice_begins_in_its_own_cell(length: timedelta, width: int, data: st.DataObject) -> None:
    window = Window(START, START + length)
    cell = data.draw(st.integers(0, width - 1))
    assert window.cell(window.begin(cell, width), width) == cell
    assert (window.begin(0, width), window.begin(width, width)) == window


# -- marks


def test_a_mark_stands_over_the_cell_that_it_fell_into() -> None:
    marks = [Mark(at(0), "deployed", ""), Mark(at(3.5), "alert", ""), Mark(at(9.99), "deployed", "")]
    assert history.marked(marks, "deployed", "v", WINDOW, 10) == "v        v"
    assert history.marked(marks, "alert", "!", WINDOW, 10) == "   !"
    assert history.marked([], "alert", "!", WINDOW, 10) == ""


# -- histories


def row(service: str, component: str, **values: object) -> ComponentRow:
    made = component_row("rift", v1.ComponentInfo(service=service, component=component))
    return msgspec.structs.replace(made, **{"observed": "running", "desired": "running", **values})


def event(hours: float, service: str, component: str, kind: str) -> EventRow:
    return event_row("rift", v1.EventInfo(1, service, component, at(hours), kind, f"{kind} it"))


def alert(hours: float, service: str, component: str, kind: str = "drift") -> AlertRow:
    return alert_row("rift", v1.AlertInfo(1, service, component, kind, "exited 1", at(hours)))


def operation(kind: str, start: float, end: float | None, component: str = "") -> OperationRow:
    ended = None if end is None else at(end)
    return OperationRow("rift", 1, "web", component, kind, "kyle", at(start), ended, "completed", "", "")


def histories(
    then: list[ComponentRow],
    events: list[EventRow],
    alerts: list[AlertRow] | None = None,
    operations: list[OperationRow] | None = None,
) -> dict[str, History]:
    found = history.histories("rift", then, events, alerts or [], WINDOW, operations or [])
    return {f"{each.service}/{each.component}": each for each in found}


def states(history: History) -> list[str]:
    return [each.state for each in history.segments]


def test_each_component_has_its_own_history() -> None:
    found = histories([row("web", "api"), row("web", "db")], [event(5, "web", "api", "exited")])
    assert states(found["web/api"]) == ["running", "exited"]
    assert states(found["web/db"]) == ["running"]
    assert (found["web/api"].uptime, found["web/db"].uptime) == (50, 100)


def test_what_came_later_than_the_start_is_unknown_before() -> None:
    found = histories([], [event(5, "web", "api", "running")])
    assert states(found["web/api"]) == ["unknown", "running"]
    assert found["web/api"].uptime == 100


def test_what_was_declared_stopped_at_the_start_is_down_on_purpose() -> None:
    found = histories([row("web", "api", observed="exited", desired="stopped")], [])
    assert states(found["web/api"]) == ["stopped"]


def test_what_happens_to_a_service_happens_to_all_its_components() -> None:
    events = [event(5, "web", "", "stopped"), event(6, "web", "api", "exited"), event(6, "web", "db", "exited")]
    found = histories([row("web", "api"), row("web", "db"), row("other", "x")], events)
    assert states(found["web/api"]) == states(found["web/db"]) == ["running", "stopped"]
    assert states(found["other/x"]) == ["running"]


def test_deploys_and_alerts_are_marked_in_order_and_recoveries_are_not() -> None:
    events = [event(1, "web", "api", "deployed"), event(6, "web", "api", "deployed")]
    alerts = [
        alert(3, "web", "api"),
        alert(4, "web", "api", "recovered"),
        alert(5, "web", "db"),
        alert(7, "", "", "reboot"),
    ]
    marks = histories([row("web", "api")], events, alerts)["web/api"].marks
    assert [(each.kind, each.detail) for each in marks] == [
        ("deployed", "deployed it"),
        ("alert", "exited 1"),
        ("deployed", "deployed it"),
        ("alert", "exited 1"),
    ]


def test_an_alert_from_before_the_window_is_not_drawn() -> None:
    assert histories([row("web", "api")], [], [alert(-1, "web", "api")])["web/api"].marks == ()


# -- the axis


def axis(window: Window, width: int) -> str:
    return history.axis(window, width, lambda when: when.astimezone(UTC))


def test_an_axis_has_its_times_at_round_moments() -> None:
    assert axis(Window(at(-0.5), at(23.5)), 48) == " |12:00      |18:00      |00:00      |06:00"


def test_an_axis_of_days_has_dates() -> None:
    assert "|03-05" in axis(Window(START, START + timedelta(days=7)), 70)


def test_a_label_stands_at_its_time() -> None:
    line = axis(WINDOW, 60)
    assert line.index("|18:00") == 36


@given(lengths, st.integers(1, 300))
def test_an_axis_is_never_wider_than_the_line(length: timedelta, width: int) -> None:
    assert len(axis(Window(START, START + length), width)) <= width


@given(lengths, st.integers(20, 300))
def test_an_axis_that_has_the_room_has_a_label(length: timedelta, width: int) -> None:
    assert "|" in axis(Window(START, START + length), width)
