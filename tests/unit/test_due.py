"""When a job is due: in true time, in nights that have a time twice, and in those that have it not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpd.changes.jobs.due import MOST_COUNTED, Due, due_between, is_believed_back, next_due

BERLIN = "Europe/Berlin"
NOON = datetime(2027, 3, 27, 12, tzinfo=UTC)


def times(schedule: str, zone: str, first: datetime, last: datetime) -> list[str]:
    """As day and time in UTC."""
    found, after = [], first
    while (after := next_due(schedule, zone, after)) <= last:
        found.append(f"{after:%d %H:%M}")
    return found


# At 01:00 UTC on 2027-03-28, Berlin's clocks go from 02:00 to 03:00; on 2027-10-31, from 03:00 to 02:00.
SPRING = datetime(2027, 3, 27, 12, tzinfo=UTC), datetime(2027, 3, 29, 12, tzinfo=UTC)
IN_SPRING = datetime(2027, 3, 28, 0, tzinfo=UTC), datetime(2027, 3, 28, 2, tzinfo=UTC)
AUTUMN = datetime(2027, 10, 30, 12, tzinfo=UTC), datetime(2027, 11, 1, 12, tzinfo=UTC)
IN_AUTUMN = datetime(2027, 10, 31, 0, tzinfo=UTC), datetime(2027, 10, 31, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "night", "expected"),
    [
        # A night that has no 02:30: it is due as soon as the clock has jumped.
        ("30 2 * * *", SPRING, ["28 01:00", "29 00:30"]),
        # And not twice, when the time to which the clock jumps is one of its own.
        ("30 2,3 * * *", SPRING, ["28 01:00", "28 01:30", "29 00:30", "29 01:30"]),
        ("0 2,3 * * *", SPRING, ["28 01:00", "29 00:00", "29 01:00"]),
        # A night that has 02:30 twice: the first time.
        ("30 2 * * *", AUTUMN, ["31 00:30", "01 01:30"]),
        ("30 2,3 * * *", AUTUMN, ["31 00:30", "31 02:30", "01 01:30", "01 02:30"]),
        # What begins with * goes by true time: every hour has its own.
        (
            "30 * * * *",
            IN_SPRING,
            ["28 00:30", "28 01:30"],
        ),
        (
            "30 * * * *",
            IN_AUTUMN,
            ["31 00:30", "31 01:30"],
        ),
        ("*/30 2 * * *", SPRING, ["29 00:00", "29 00:30"]),
        ("*/30 2 * * *", AUTUMN, ["31 00:00", "31 00:30", "31 01:00", "31 01:30", "01 01:00", "01 01:30"]),
    ],
)
def test_a_night_in_which_clocks_change(schedule: str, night: tuple[datetime, datetime], expected: list[str]) -> None:
    assert times(schedule, BERLIN, *night) == expected


def test_where_clocks_change_by_half_an_hour_none_is_lost() -> None:
    """At 15:00 UTC on 2027-04-03, Lord Howe's clocks go from 02:00 to 01:30; on 2027-10-02, at 15:30, back."""
    autumn = datetime(2027, 4, 3, 1, tzinfo=UTC), datetime(2027, 4, 4, 2, tzinfo=UTC)
    for hours in range(12):
        begin = autumn[0] + timedelta(hours=hours)
        expected = [each for each in ("03 07:00", "03 13:00", "03 19:30", "04 01:30") if each > f"{begin:%d %H:%M}"]
        assert times("0 */6 * * *", "Australia/Lord_Howe", begin, autumn[1]) == expected
    spring = datetime(2027, 10, 2, 12, tzinfo=UTC), datetime(2027, 10, 3, 2, tzinfo=UTC)
    assert times("0 */6 * * *", "Australia/Lord_Howe", *spring) == ["02 13:30", "02 19:00", "03 01:00"]
    twice = datetime(2027, 4, 3, 14, tzinfo=UTC), datetime(2027, 4, 3, 16, tzinfo=UTC)
    assert times("45 * * * *", "Australia/Lord_Howe", *twice) == ["03 14:45", "03 15:15"]


def test_days_of_a_month_and_of_a_week_are_as_cron_has_them() -> None:
    june = datetime(2027, 6, 1, tzinfo=UTC) - timedelta(seconds=1), datetime(2027, 6, 30, tzinfo=UTC)
    # Either, when both are said.
    assert times("0 0 15 * mon", "UTC", *june) == ["07 00:00", "14 00:00", "15 00:00", "21 00:00", "28 00:00"]
    assert times("0 0 * * sun", "UTC", *june) == ["06 00:00", "13 00:00", "20 00:00", "27 00:00"]
    assert times("0 0 * * 0", "UTC", *june) == times("0 0 * * 7", "UTC", *june) == times("0 0 * * sun", "UTC", *june)


def test_the_time_itself_is_past() -> None:
    at = datetime(2027, 6, 1, 2, 30, tzinfo=UTC)
    assert next_due("30 2 * * *", "UTC", at) == at + timedelta(days=1)
    assert next_due("30 2 * * *", "UTC", at - timedelta(microseconds=1)) == at
    assert next_due("30 2 * * *", "UTC", at + timedelta(microseconds=1)) == at + timedelta(days=1)


def test_the_last_counts_and_the_others_were_missed() -> None:
    assert due_between("0 * * * *", "UTC", NOON, NOON + timedelta(minutes=59)) is None
    assert due_between("0 * * * *", "UTC", NOON, NOON + timedelta(hours=1)) == Due(NOON + timedelta(hours=1), 0)
    assert due_between("0 * * * *", "UTC", NOON, NOON + timedelta(hours=7.5)) == Due(NOON + timedelta(hours=7), 6)


def test_ten_years_are_looked_at_in_no_time() -> None:
    years = timedelta(days=3650)
    assert due_between("* * * * *", BERLIN, NOON - years, NOON) == Due(NOON, MOST_COUNTED)
    assert due_between("0 0 1 1 *", "UTC", NOON - years, NOON) == Due(datetime(2027, 1, 1, tzinfo=UTC), 9)


def test_a_clock_that_is_set_back_is_waited_for_unless_it_is_set_back_far() -> None:
    assert not is_believed_back(NOON + timedelta(hours=3), NOON)
    assert is_believed_back(NOON + timedelta(hours=3, seconds=1), NOON)


_schedules = st.sampled_from(
    ["30 2 * * *", "0 2,3 * * *", "*/20 * * * *", "0 */5 * * *", "15 1-3 * * *", "7 2 * * sun", "30 * 28-31 * *"]
)
_zones = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
# A few days before and after clocks change.
_moments = (
    st.datetimes(datetime(2027, 3, 26), datetime(2027, 4, 4))
    | st.datetimes(datetime(2027, 9, 30), datetime(2027, 11, 8))
    | st.datetimes(datetime(2027, 1, 1), datetime(2028, 1, 1))
).map(lambda at: at.replace(tzinfo=UTC))


@given(_schedules, _zones, _moments, st.lists(st.integers(1, 400_000), min_size=1, max_size=6))
def test_however_time_is_cut_nothing_is_due_twice_or_never(
    schedule: str, zone: str, begin: datetime, pieces: list[int]
) -> None:
    total = 0
    last = begin
    now = begin
    for seconds in pieces:
        now += timedelta(seconds=seconds)
        if due := due_between(schedule, zone, last, now):
            assert last < due.at <= now
            total += 1 + due.missed
            last = due.at
    whole = due_between(schedule, zone, begin, now)
    counted = 1 + whole.missed if whole else 0
    assert total == counted or counted > MOST_COUNTED
    assert whole is None or whole.at == last
