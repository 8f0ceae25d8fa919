"""When a job runs, as systemd and Kubernetes say it; and what an export loses of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mcpctl.definitions.exporting.formats import Losses
from protos.scheduling import DEFAULT_TIMEZONE
from protos.spec import Component

# As crontab(5) counts them, 0 and 7 being Sunday; systemd's week begins with Monday.
_WEEK = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_MONDAY_FIRST = (1, 2, 3, 4, 5, 6, 0)
_MINUTES, _HOURS, _DAYS, _MONTHS = range(60), range(24), range(1, 32), range(1, 13)
# A run of fewer is said one by one.
_FEWEST = 3
_ANY_TIME = datetime(2000, 1, 1)
# Of those in which zones have the summer time that they have now.
_A_YEAR = 2025
_EVERY = "*"
NO_ALERT = "no alert is sent when a run fails, is late or is missed"
_SKIPPED = "a time that the change to summer time leaves out is skipped, where mcpd runs it right after"
_ONCE = "in the hour that the end of summer time repeats it runs once, where mcpd runs it both times"


class _Times(NamedTuple):
    """The fields of a schedule as numbers. ``is_either``: a day counts by its date or by its weekday, not by both."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool


def on_calendar(component: Component) -> list[str]:
    """systemd.time(7), calendar events: it runs at each of these. [] where nothing there says the same."""
    times = _read(component.schedule or "")
    if times is None:
        return []
    zone = component.timezone or DEFAULT_TIMEZONE
    at = f"{_field(times.hours, _HOURS)}:{_field(times.minutes, _MINUTES)}:00 {zone}"
    both = [(times.days, times.weekdays)]
    if times.is_either:
        both = [(times.days, frozenset(range(7))), (frozenset(_DAYS), times.weekdays)]
    dates = ((_weekdays(week), _field(days, _DAYS)) for days, week in both)
    months = _field(times.months, _MONTHS)
    return [f"{week}*-{months}-{days} {at}" for week, days in dict.fromkeys(dates)]


def of_kubernetes(component: Component, lost: Losses) -> tuple[str, bool]:
    """A CronJob's schedule, and whether it is the same. It has no 7 for Sunday, and another idea of ``*/2``."""
    text = component.schedule or ""
    times = _read(text)
    fields = text.split()
    if times is None:
        lost.add("schedule", f"{text}: Kubernetes knows no L, W or #: the CronJob is suspended until you say it")
        return " ".join([*fields[:2], "*", fields[3], "*"]), False
    if _says_seven(fields[4]):
        fields[4] = ",".join(map(str, sorted(times.weekdays)))
    restricted = len(times.days) < len(_DAYS) and len(times.weekdays) < len(_WEEK)
    if restricted and not times.is_either:
        lost.add("schedule", f"{text}: Kubernetes runs it on days that match by date or by weekday, not only by both")
    return " ".join(fields), True


def tell_of_summer_time(component: Component, lost: Losses, *, repeats_hours: bool) -> None:
    """Neither systemd nor Kubernetes makes up for a time that one day of the year does not have.

    ``repeats_hours``: whether what runs all day long does so in both of two hours that are called alike.
    """
    zone = component.timezone or DEFAULT_TIMEZONE
    if len({ZoneInfo(zone).utcoffset(datetime(_A_YEAR, month, 1)) for month in _MONTHS}) == 1:
        return
    # As crontab(5) of Debian tells the two apart.
    is_all_day = any(each.startswith(_EVERY) for each in (component.schedule or "").split()[:2])
    if not is_all_day:
        lost.add("timezone", f"{zone}: {_SKIPPED}")
    elif not repeats_hours:
        lost.add("timezone", f"{zone}: {_ONCE}")


def limit(component: Component) -> int | None:
    """The most seconds that a run may take; None: without limit."""
    return component.timeout // timedelta(seconds=1) if component.timeout else None


def _read(schedule: str) -> _Times | None:
    """None for what is more than numbers: the last day of a month, the second Tuesday."""
    from cronsim import CronSim

    read = CronSim(schedule, _ANY_TIME)
    if any(not isinstance(each, int) or each < 0 for each in (*read.days, *read.weekdays)):
        return None
    days = frozenset(each for each in read.days if isinstance(each, int))
    week = frozenset(each % len(_WEEK) for each in read.weekdays if isinstance(each, int))
    return _Times(frozenset(read.minutes), frozenset(read.hours), days, frozenset(read.months), week, not read.day_and)


def _says_seven(field: str) -> bool:
    """Whether it says Sunday as 7. ``*`` has it, too, and needs no other word."""
    from cronsim import CronSim

    return not field.startswith(_EVERY) and 7 in CronSim(f"0 0 * * {field}", _ANY_TIME).weekdays


def _weekdays(wanted: Collection[int]) -> str:
    """With a space behind it; "" for every day."""
    if len(wanted) == len(_WEEK):
        return ""
    places = [place for place, day in enumerate(_MONDAY_FIRST) if day in wanted]
    return f"{','.join(_ranges(places, lambda place: _WEEK[_MONDAY_FIRST[place]]))} "


def _field(wanted: Collection[int], every: range) -> str:
    if len(wanted) == len(every):
        return _EVERY
    numbers = sorted(wanted)
    step = numbers[1] - numbers[0] if len(numbers) >= _FEWEST else 1
    if step > 1 and numbers == [*range(numbers[0], every.stop, step)]:
        return f"{numbers[0]:02}/{step}"
    return ",".join(_ranges(numbers, "{:02}".format))


def _ranges(numbers: list[int], written: Callable[[int], str]) -> Iterator[str]:
    """Numbers in a row as one range."""
    while numbers:
        length = next((index for index, each in enumerate(numbers) if each != numbers[0] + index), len(numbers))
        if length >= _FEWEST:
            yield f"{written(numbers[0])}..{written(numbers[length - 1])}"
        else:
            yield from map(written, numbers[:length])
        numbers = numbers[length:]
