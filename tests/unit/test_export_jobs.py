"""Jobs in other notations: their times, read by systemd itself, and what no notation has."""

import heapq
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from cronsim import CronSim
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import compose, kube, quadlet, schedules
from mcpctl.definitions.exporting.formats import Exported, Format
from protos.spec import Component, Service
from tests.support.builders import component, service
from tests.support.waiting import DEADLINE_S

BERLIN = "Europe/Berlin"
# A Thursday, behind it months of every length, and both ends of a summer time.
START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
_ELAPSE = re.compile(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w+ (\S+ \S+) UTC")


def job(**keys: Any) -> Component:
    return component("backup", **{"schedule": "0 2 * * *", **keys})


def times_of_systemd(line: str, count: int, start: datetime) -> list[datetime]:
    base = f"--base-time={start:%Y-%m-%d %H:%M:%S} UTC"
    ran = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={count}", base, line],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
    )
    assert ran.returncode == 0, ran.stderr
    return [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in _ELAPSE.findall(ran.stdout)]


def times_of_cron(of: Component, start: datetime) -> Iterator[datetime]:
    found = CronSim(of.schedule or "", start.astimezone(ZoneInfo(of.timezone or "UTC")))
    return (each.astimezone(UTC) for each in found)


def check(of: Component, count: int = 8, start: datetime = START) -> None:
    """A timer elapses at each of its OnCalendar=, and once where they are at the same time."""
    lines = schedules.on_calendar(of)
    merged = heapq.merge(*(times_of_systemd(line, count, start) for line in lines))
    found = [time for time, _ in itertools.groupby(merged)][:count]
    assert found == list(itertools.islice(times_of_cron(of, start), count)), lines


@pytest.fixture
def _systemd() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")


# -- times


@pytest.mark.parametrize(
    ("schedule", "lines"),
    [
        ("0 2 * * *", ["*-*-* 02:00:00 UTC"]),
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("*/15 * * * *", ["*-*-* *:00/15:00 UTC"]),
        ("5/20 8-18 * * *", ["*-*-* 08..18:05/20:00 UTC"]),
        ("0 0 1 * *", ["*-*-01 00:00:00 UTC"]),
        ("30 4 1,15 * *", ["*-*-01,15 04:30:00 UTC"]),
        ("0 9 * * 1-5", ["Mon..Fri *-*-* 09:00:00 UTC"]),
        ("0 9 * * MON-FRI", ["Mon..Fri *-*-* 09:00:00 UTC"]),
        ("0 9 * * 0", ["Sun *-*-* 09:00:00 UTC"]),
        ("0 9 * * 7", ["Sun *-*-* 09:00:00 UTC"]),
        ("0 9 * * 5-7", ["Fri..Sun *-*-* 09:00:00 UTC"]),
        ("0 9 * * 0-2", ["Mon,Tue,Sun *-*-* 09:00:00 UTC"]),
        ("0 9 * JAN,JUL *", ["*-01,07-* 09:00:00 UTC"]),
        ("0 9 * */3 *", ["*-01/3-* 09:00:00 UTC"]),
        ("0 0 31 * *", ["*-*-31 00:00:00 UTC"]),
        ("0 0 29 2 *", ["*-02-29 00:00:00 UTC"]),
        # Either of them, as cron has it, unless one begins with a star.
        ("0 0 13 * 5", ["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
        ("0 0 */2 * 1", ["Mon *-*-01/2 00:00:00 UTC"]),
        ("0 0 1-31 * 1", ["*-*-* 00:00:00 UTC", "Mon *-*-* 00:00:00 UTC"]),
        ("7,8,9,40 1,3 * * *", ["*-*-* 01,03:07..09,40:00 UTC"]),
    ],
)
@pytest.mark.usefixtures("_systemd")
def test_a_schedule_is_calendar_events_of_the_same_times(schedule: str, lines: list[str]) -> None:
    made = job(schedule=schedule)
    assert schedules.on_calendar(made) == lines
    check(made, 4 if "29 2" in schedule else 12)


@pytest.mark.usefixtures("_systemd")
@pytest.mark.parametrize("schedule", ["0 4 * * *", "*/30 * * * *", "0 12 1 * 1"])
@pytest.mark.parametrize("start", [START, datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)])
def test_a_time_zone_goes_with_it(schedule: str, start: datetime) -> None:
    made = job(schedule=schedule, timezone=BERLIN)
    assert all(each.endswith(f" {BERLIN}") for each in schedules.on_calendar(made))
    # Of an hour that comes twice, below.
    check(made, 48 if schedule.startswith("*") else 12, start)


def fields(first: int, last: int) -> st.SearchStrategy[str]:
    number = st.integers(first, last)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(ranges | st.just("*") | number.map(str), st.integers(1, last)).map("{0[0]}/{0[1]}".format)
    items = number.map(str) | ranges | steps
    return st.just("*") | st.lists(items, min_size=1, max_size=3).map(",".join)


# A program runs for each.
@settings(max_examples=25, phases=[Phase.generate])
@given(st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join))
@pytest.mark.usefixtures("_systemd")
def test_any_schedule_is_calendar_events_of_the_same_times(schedule: str) -> None:
    check(job(schedule=schedule), 5)


# -- quadlet


def files(of: Service) -> dict[str, list[str]]:
    return {file.name: file.text.splitlines() for file in quadlet.export(of).files}


def test_a_job_is_a_container_and_a_timer() -> None:
    made = service(component(), job(timezone=BERLIN, timeout=timedelta(minutes=90)))
    found = files(made)
    assert found["web-backup.timer"] == [
        "[Unit]",
        "Description=web/backup",
        "",
        "[Timer]",
        "OnCalendar=*-*-* 02:00:00 Europe/Berlin",
        "AccuracySec=1s",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    unit = found["web-backup.container"]
    # A service that remains active is started by no timer a second time; and boot is not its time.
    assert unit[unit.index("[Service]") :] == ["[Service]", "Restart=no", "Type=oneshot"]
    assert "PodmanArgs=--timeout=5400" in unit
    assert "web-api.timer" not in found


def test_a_job_that_is_inactive_has_a_timer_that_nothing_starts() -> None:
    for made in (service(component(), job(active=False)), service(component(), job(), active=False)):
        assert "[Install]" not in files(made)["web-backup.timer"]


@pytest.mark.usefixtures("_systemd")
def test_systemd_finds_nothing_wrong_with_the_timer(tmp_path: Any) -> None:
    made = service(component(), job(schedule="0 0 13 * 5", timezone=BERLIN))
    (tmp_path / "web-backup.timer").write_text("\n".join(files(made)["web-backup.timer"]) + "\n")
    (tmp_path / "web-backup.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    timer = str(tmp_path / "web-backup.timer")
    ran = subprocess.run(["systemd-analyze", "verify", timer], capture_output=True, text=True, timeout=DEADLINE_S)
    assert [each for each in ran.stderr.splitlines() if "web-backup" in each] == []


# -- kube


def cron_job(of: Component, **keys: Any) -> dict[str, Any]:
    (file,) = kube.export(service(component(), of, **keys)).files
    (found,) = [each for each in yaml.safe_load_all(file.text) if each["kind"] == "CronJob"]
    assert isinstance(found, dict)
    return found


def test_a_job_is_a_cron_job_of_its_pod() -> None:
    found = cron_job(job(timezone=BERLIN, timeout=timedelta(minutes=90), labels={"a": "b"}, cmd=("dump",)))
    assert (found["apiVersion"], found["metadata"]["name"]) == ("batch/v1", "web-backup")
    template = found["spec"]["jobTemplate"]["spec"].pop("template")
    assert found["spec"] == {
        "schedule": "0 2 * * *",
        "timeZone": BERLIN,
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"backoffLimit": 0, "activeDeadlineSeconds": 5400}},
    }
    assert template["metadata"] == {"labels": {"app": "web", "a": "b"}}
    assert template["spec"]["restartPolicy"] == "Never"
    assert template["spec"]["containers"][0]["args"] == ["dump"]
    assert "activeDeadlineSeconds" not in template["spec"]


@pytest.mark.parametrize(
    ("schedule", "theirs", "is_told"),
    [
        ("*/5 8-18 * JAN MON-FRI", "*/5 8-18 * JAN MON-FRI", False),
        ("0 9 * * 7", "0 9 * * 0", False),
        ("0 9 * * 5-7", "0 9 * * 0,5,6", False),
        ("0 9 * * sun", "0 9 * * sun", False),
        ("0 0 13 * 5", "0 0 13 * 5", False),
        ("0 0 */2 * 1", "0 0 */2 * 1", True),
    ],
)
def test_a_schedule_is_said_as_kubernetes_reads_it(schedule: str, theirs: str, is_told: bool) -> None:
    assert cron_job(job(schedule=schedule))["spec"]["schedule"] == theirs
    told = messages(kube.export(service(component(), job(schedule=schedule))), "schedule")
    assert (len(told) == 2) is is_told


def test_a_job_that_is_inactive_is_suspended() -> None:
    assert cron_job(job(active=False))["spec"]["suspend"] is True
    assert cron_job(job(), active=False)["spec"]["suspend"] is True
    assert "suspend" not in cron_job(job())["spec"]


def test_a_name_that_is_too_long_for_a_cron_job_is_told() -> None:
    made = service(component(), job(), name="w" * 46)
    assert messages(kube.export(made), "name")[-1].endswith("52 characters at most for a CronJob")
    assert not any("CronJob" in each for each in messages(kube.export(service(component(), job())), "name"))


def test_a_oneshot_with_a_limit_is_a_pod_with_one() -> None:
    made = service(component(oneshot=True, timeout=timedelta(seconds=90)))
    (pod,) = yaml.safe_load_all(kube.export(made).files[0].text)
    assert pod["spec"]["activeDeadlineSeconds"] == 90
    assert "PodmanArgs=--timeout=90" in files(made)["web-api.container"]


# -- what is lost


def messages(exported: Exported, key: str, of: str = "backup") -> list[str]:
    return [each.message for each in exported.losses if each.path == f"components[{of}].{key}"]


def test_compose_does_not_start_a_job_and_tells_what_has_to() -> None:
    exported = compose.export(service(component(), job(timezone=BERLIN, timeout=timedelta(minutes=90))))
    made = yaml.safe_load(exported.files[0].text)["services"]
    assert made["backup"]["profiles"] == ["jobs"]
    assert "profiles" not in made["api"]
    (told,) = messages(exported, "schedule")
    assert "`run --rm backup`" in told
    assert messages(exported, "timezone") == ["Europe/Berlin: say it where you say the schedule"]
    assert "`timeout 5400`" in messages(exported, "timeout")[0]


@pytest.mark.parametrize("to", [Format.QUADLET, Format.KUBE, Format.COMPOSE])
def test_that_nobody_is_told_of_a_failure_is_told(to: Format) -> None:
    told = messages(exporting.export(service(component(), job()), to), "schedule")
    assert any("no alert is sent when a run fails" in each for each in told)


@pytest.mark.parametrize(
    ("keys", "of_quadlet", "of_kube"),
    [
        ({"timezone": BERLIN}, ["skipped"], ["skipped"]),
        ({"timezone": BERLIN, "schedule": "*/10 * * * *"}, ["once"], []),
        ({"timezone": "Asia/Tokyo"}, [], []),
        ({"timezone": "UTC"}, [], []),
        ({}, [], []),
    ],
)
def test_what_summer_time_does_is_told(keys: dict[str, Any], of_quadlet: list[str], of_kube: list[str]) -> None:
    made = service(component(), job(**keys))
    for exported, words in ((quadlet.export(made), of_quadlet), (kube.export(made), of_kube)):
        told = messages(exported, "timezone")
        assert len(told) == len(words)
        assert all(word in each for word, each in zip(words, told, strict=True))


@pytest.mark.usefixtures("_systemd")
def test_systemd_skips_such_a_time_and_counts_a_repeated_one_once_indeed() -> None:
    made = job(schedule="30 2 * * *", timezone=BERLIN)
    day_before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times_of_systemd(*schedules.on_calendar(made), 1, day_before) == [datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    assert next(times_of_cron(made, day_before)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    made = job(schedule="0 * * * *", timezone=BERLIN)
    midnight = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    assert [each.hour for each in times_of_systemd(*schedules.on_calendar(made), 2, midnight)] == [0, 2]
    assert [each.hour for each in itertools.islice(times_of_cron(made, midnight), 3)] == [0, 1, 2]


def test_toml_says_all_of_it() -> None:
    (file,) = exporting.export(service(job(timezone=BERLIN, timeout=timedelta(minutes=90))), Format.TOML).files
    assert {'schedule = "0 2 * * *"', 'timezone = "Europe/Berlin"', 'timeout = "1h30m"'} <= {*file.text.splitlines()}
