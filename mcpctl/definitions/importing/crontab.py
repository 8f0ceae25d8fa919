"""Schedules as Go's schedulers write them (robfig/cron), as five fields of crontab(5)."""

from __future__ import annotations

import re

from protos import scheduling

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
_EVERY = re.compile(r"@every\s+([0-9]+)(h|m)(?:0m)?(?:0s)?")
# Of an hour's minutes, of a day's hours.
_WHOLE = {"m": (60, "*/{} * * * *"), "h": (24, "0 */{} * * *")}
_FIELDS = 5
_EXAMPLE = "say when it runs as five fields: 0 2 * * * is 02:00 every day"


def schedule(text: str) -> tuple[str, str | None]:
    """The schedule, and the time zone that it says itself. Raises ValueError with what cannot be said."""
    zone = None
    if match := _ZONE.fullmatch(text.strip()):
        zone, text = scheduling.timezone(match[1]), match[2]
    words = text.split()
    if text.strip().startswith("@"):
        named = _NAMED.get(text.strip().lower())
        if named is None:
            raise ValueError(_unnamed(text.strip()))
        return named, zone
    if len(words) == _FIELDS + 1:
        if words[0].strip("0") or not words[0]:
            raise ValueError(f"{text!r} says seconds, and a job begins with a minute; {_EXAMPLE}")
        words = words[1:]
    words = ["*" if each == "?" else each for each in words]
    made = scheduling.schedule(" ".join(words))
    _, _, day, _, weekday = words
    # There, only a bare star is no wish for certain days; here, all that begins with one is.
    if "*" not in (day, weekday) and (day.startswith("*") or weekday.startswith("*")):
        raise ValueError(f"{text!r} means days that match by date or by weekday, and here by both; {_EXAMPLE}")
    return made, zone


def _unnamed(text: str) -> str:
    if not text.lower().startswith("@every"):
        return f"{text!r} is no schedule here; {_EXAMPLE}"
    words = f"{text!r} counts from the start of its scheduler, and a schedule is times of the clock"
    match = _EVERY.fullmatch(text)
    whole, form = _WHOLE[match[2]] if match else (1, "")
    number = int(match[1]) if match else 0
    return f"{words}; say {form.format(number)}" if number and whole % number == 0 else f"{words}; {_EXAMPLE}"
