"""When a job is due: a pure function of its schedule, its zone, and up to when it is accounted for.

As cron(8) of Debian has it where clocks change. A schedule with fixed hours and minutes is due once in a night that has
its time twice, the first time; in a night that has not, it is due when the clock has jumped. One whose minute or hour
begins with `*` follows true time: it is due in both of the hours that are called alike, and not in one that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as fixed
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

# Of what was missed, no more than this are counted: every minute of most of a day.
MOST_COUNTED = 1000
# As cron(8) of Debian: a clock that was set back by less is waited for, by more it is believed.
BELIEVED_BACK = timedelta(hours=3)
# Spans in which the last due time is looked for, the shortest first; then in all the time there is.
_LOOK_BACK = (timedelta(hours=2), timedelta(days=2), timedelta(days=70))
# More than the schedules of a node's jobs.
_KNOWN = 512


class Due(NamedTuple):
    """The last of the times that it was due at, and how many others came before that: `MOST_COUNTED` at most."""

    at: datetime
    missed: int


@lru_cache(_KNOWN)
def next_due(schedule: str, timezone: str, after: datetime) -> datetime:
    """The first time after ``after`` at which it is due, in UTC."""
    return next(_due_times(schedule, timezone, after))


def due_between(schedule: str, timezone: str, after: datetime, until: datetime) -> Due | None:
    """The times after ``after``, up to ``until``, at which it was due; None when it was not."""
    if next_due(schedule, timezone, after) > until:
        return None
    count = 0
    for each in _due_times(schedule, timezone, after):
        if each > until or count > MOST_COUNTED:
            break
        count += 1
    return Due(_last(schedule, timezone, after, until), count - 1)


def is_believed_back(accounted_until: datetime, now: datetime) -> bool:
    """Whether the clock was set back so far that what it says now counts, and what it said before does not."""
    return accounted_until > now + BELIEVED_BACK


def _last(schedule: str, timezone: str, after: datetime, until: datetime) -> datetime:
    """There is one."""
    found: datetime | None = None
    for span in (*_LOOK_BACK, until - after):
        for each in _due_times(schedule, timezone, max(after, until - span)):
            if each > until:
                break
            found = each
        if found:
            break
    assert found is not None
    return found


def _due_times(schedule: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """In UTC, ever later."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    minute, hour = schedule.split()[:2]
    goes_by_true_time = minute.startswith("*") or hour.startswith("*")
    last = after
    for found in _by_true_time(schedule, zone, after) if goes_by_true_time else _simulated(schedule, zone, after):
        # In the second of two hours that are called alike, fixed times begin with those of the first.
        if found > last:
            last = found
            yield found


def _simulated(schedule: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    from cronsim import CronSim  # a node without jobs has no use for it

    for each in CronSim(schedule, after.astimezone(zone)):
        yield each.astimezone(UTC)


def _by_true_time(schedule: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """From one change of the clocks to the next, by a clock that does not change.

    The library steps by whole hours, and loses one where clocks change by half of one (Lord Howe Island).
    """
    offset, seen = _offset(zone, after), after
    while True:
        until: datetime | None = None
        for each in _simulated(schedule, fixed(offset), after):
            until = _changes(zone, offset, seen, each)
            if until is not None:
                break
            yield each
            seen = each
        if until is None:
            return
        # What is due at the very moment of the change is due by the new clock.
        after, offset, seen = until - timedelta(seconds=1), _offset(zone, until), until


def _changes(zone: tzinfo, offset: timedelta, begin: datetime, end: datetime) -> datetime | None:
    """The first second after ``begin``, up to ``end``, at which the clocks have another offset."""
    high = begin
    while high < end and _offset(zone, high) == offset:
        # No clock is changed and changed back within a day.
        high = min(high + timedelta(days=1), end)
    if _offset(zone, high) == offset:
        return None
    low = max(begin, high - timedelta(days=1))
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high.replace(microsecond=0)


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)
