"""When a job runs: the notation of its schedule, its time zone and its limit; and the rules for what is a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from protos import grammar
from protos.grammar import quoted
from protos.validation import Problem

DEFAULT_TIMEZONE = "UTC"
_FIELDS = 5
_ANY_TIME = datetime(2000, 1, 1)
# A field of crontab(5): `*`, numbers, names, ranges and steps. What the library takes beyond that (L, W, #) may name
# a day that never comes.
_VALUE = r"(?:\*|(?:[0-9]+|[a-z]{3})(?:-(?:[0-9]+|[a-z]{3}))?)(?:/[0-9]+)?"
_FIELD = re.compile(rf"{_VALUE}(?:,{_VALUE})*", re.IGNORECASE)
_EXAMPLE = "0 2 * * * for 02:00 every day"
# The longest that conmon takes: it counts seconds in an int.
_MAX_TIMEOUT = timedelta(seconds=2**31 - 1)


def schedule(value: str) -> str:
    """Five fields as in crontab(5): minute, hour, day of month, month, day of week. Raises ValueError."""
    from cronsim import CronSim, CronSimError  # only who declares a job pays for it

    fields = value.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"{quoted(value)} is not a schedule: it needs five fields, say {_EXAMPLE}")
    if wrong := next((each for each in fields if not _FIELD.fullmatch(each)), None):
        raise ValueError(
            f"{quoted(value)} is not a schedule: {quoted(wrong)} is no field of crontab(5), say {_EXAMPLE}"
        )
    try:
        CronSim(value, _ANY_TIME)
    except CronSimError as error:
        reason = str(error)
        raise ValueError(f"{quoted(value)} is not a schedule: {reason[:1].lower()}{reason[1:]}") from None
    return value


def timezone(value: str) -> str:
    """A name of the IANA time zone database. Raises ValueError."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{quoted(value)} is not a time zone of the IANA database, say Europe/Berlin") from None
    return value


def timeout(value: str | timedelta) -> timedelta:
    """As podman-run(1), --timeout, takes it: whole seconds, at least one. Raises ValueError."""
    total = grammar.positive_duration(value)
    if total % timedelta(seconds=1):
        raise ValueError(f"{value!s} must be whole seconds")
    if total > _MAX_TIMEOUT:
        raise ValueError(f"{value!s} is too long: at most 68 years")
    return total


# Keys that say what a job cannot be, and why not.
_NOT_OF_JOBS = {
    "routes": "what runs now and then serves nobody",
    "heal": "its schedule runs it again",
    "settle": "nobody waits for its start",
}


def problems(component: Mapping[str, Any], path: str) -> list[Problem]:
    """What one component, in plain values, may not say together with a schedule, or only with one."""
    if component.get("schedule") is None:
        return _without_schedule(component, path)
    found = [
        Problem(f"{path}.{key}", f"cannot be used with schedule: {why}")
        for key, why in _NOT_OF_JOBS.items()
        if component.get(key)
    ]
    if component.get("oneshot") is True:
        found.append(Problem(f"{path}.oneshot", "cannot be used with schedule: a deploy runs the one, time the other"))
    restart, health = component.get("restart"), component.get("health")
    if isinstance(restart, str) and restart != "no":
        found.append(Problem(f"{path}.restart", f"is {restart!r}, but a job ends, and its schedule runs it again"))
    if isinstance(health, Mapping) and health.get("disable") is not True:
        found.append(Problem(f"{path}.health", "a job has no probe: its exit status says how it ended"))
    return found


def _without_schedule(component: Mapping[str, Any], path: str) -> list[Problem]:
    found = []
    if component.get("timezone"):
        found.append(Problem(f"{path}.timezone", "is of a schedule, and there is none"))
    if component.get("timeout") and component.get("oneshot") is not True:
        found.append(Problem(f"{path}.timeout", "is for what ends: a job (schedule) or a oneshot"))
    return found
