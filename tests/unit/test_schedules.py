"""What a definition may say of a job, and what it may not say beside that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from protos import scheduling
from protos.spec import examine_service

JOB = {"name": "work", "image": "job:v1", "schedule": "0 2 * * *"}
WEB = {"name": "web", "image": "x:v1"}


def problems(*components: dict[str, Any]) -> list[str]:
    _, found = examine_service({"name": "shop", "node": "rift", "components": list(components)})
    return [str(each) for each in found]


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "*/5 8-18 * * mon-fri", "0 0 1,15 jan-mar,dec *", "0 0 29 2 *", "  5  4 * * 7 ", "0-59/10 * * * *"],
)
def test_a_schedule_is_as_crontab_has_it(text: str) -> None:
    assert scheduling.schedule(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs five fields"),
        ("0 2 * *", "needs five fields"),
        ("0 0 2 * * *", "needs five fields"),
        ("@daily", "needs five fields"),
        ("60 2 * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 2 * * fri-mon", "bad day-of-week"),
        ("*/0 2 * * *", "bad minute"),
        # A day that never comes.
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 31 4,6 *", "bad day-of-month"),
        # What some libraries know and crontab(5) does not; the first of them never comes, either.
        ("0 0 LW * */7", "'LW' is no field of crontab(5)"),
        ("0 0 * * 5#3", "'5#3' is no field of crontab(5)"),
        ("0 0 ? * *", "'?' is no field of crontab(5)"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="is not a schedule") as raised:
        scheduling.schedule(text)
    assert words in str(raised.value)


@pytest.mark.parametrize("text", ["Berlin", "", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b", "x" * 300])
def test_what_is_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        scheduling.timezone(text)


def test_a_limit_is_of_whole_seconds() -> None:
    assert scheduling.timeout("1h") == timedelta(hours=1)
    for wrong in ("0s", "1.5s", "500ms", timedelta(seconds=2**31)):
        with pytest.raises(ValueError, match=r"whole seconds|too long|longer than zero"):
            scheduling.timeout(wrong)


def test_a_job_may_say_all_that_is_of_jobs() -> None:
    job = {**JOB, "timezone": "Europe/Berlin", "timeout": "1h", "depends_on": ["web"], "health": {"disable": True}}
    assert problems(job, WEB) == []
    assert problems({**WEB, "oneshot": True, "timeout": "1h"}) == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"oneshot": True}, "oneshot"),
        ({"routes": [{"host": "a.example.net"}]}, "routes"),
        ({"heal": "restart"}, "heal"),
        ({"heal": "alert"}, "heal"),
        ({"settle": "5s"}, "settle"),
        ({"restart": "on-failure"}, "restart"),
        ({"restart": "always"}, "restart"),
        ({"health": {"cmd": ["true"]}}, "health"),
        ({"update": "start-first"}, "update"),
    ],
)
def test_a_job_may_not_say_what_is_of_services(more: dict[str, Any], field: str) -> None:
    (found,) = [each for each in problems({**JOB, **more}) if f"components[0].{field}" in each]
    assert field in found


@pytest.mark.parametrize(
    "other",
    [{"depends_on": ["work"]}, {"network": "component:work"}, {"pid": "component:work"}, {"ipc": "component:work"}],
)
def test_nobody_can_need_a_job(other: dict[str, Any]) -> None:
    assert any("which is a job" in each for each in problems(JOB, {**WEB, **other}))


def test_what_is_of_a_schedule_is_refused_without_one() -> None:
    assert any("timezone" in each for each in problems({**WEB, "timezone": "UTC"}))
    assert any("timeout" in each for each in problems({**WEB, "timeout": "1h"}))
