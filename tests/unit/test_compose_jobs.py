"""Compose files whose services other programs run on a schedule: Ofelia, and swarm-cronjob."""

import re
from typing import Any

import pytest

from mcpctl.definitions.importing import Imported, crontab
from mcpctl.definitions.loss import Grade
from protos.spec import Component
from tests.support.compose import imported, messages, one, told

SCHEDULER = """\
  scheduler:
    image: mcuadros/ofelia:latest
    command: daemon --docker
"""
BACKUP = "services:\n  backup: {image: 'x:v1', container_name: the-backup, restart: 'no'}\n"


def swarm(schedule: str, *more: str) -> str:
    labels = ["swarm.cronjob.enable=true", f"swarm.cronjob.schedule={schedule}", *more]
    return f"deploy: {{replicas: 0, restart_policy: {{condition: none}}, labels: {labels}}}"


def ofelia(*labels: str, environment: str = "{}") -> str:
    """A file with a service and the scheduler that has the labels."""
    return f"{BACKUP}{SCHEDULER}    environment: {environment}\n    labels: {[*labels]}\n"


def component(found: Imported, name: str) -> Component:
    made = found.service.component(name)
    assert made is not None
    return made


# -- schedules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 2 * * *", ("0 2 * * *", None)),
        (" 0  2 * * * ", ("0 2 * * *", None)),
        ("0 0 2 * * *", ("0 2 * * *", None)),
        ("00 */5 * * * MON-FRI", ("*/5 * * * MON-FRI", None)),
        ("0 30 4 1 * ?", ("30 4 1 * *", None)),
        ("@daily", ("0 0 * * *", None)),
        ("@midnight", ("0 0 * * *", None)),
        ("@hourly", ("0 * * * *", None)),
        ("@Weekly", ("0 0 * * 0", None)),
        ("@monthly", ("0 0 1 * *", None)),
        ("@yearly", ("0 0 1 1 *", None)),
        ("@annually", ("0 0 1 1 *", None)),
        ("CRON_TZ=Europe/Berlin 0 2 * * *", ("0 2 * * *", "Europe/Berlin")),
        ("TZ=Asia/Tokyo @daily", ("0 0 * * *", "Asia/Tokyo")),
        ("0 0 13 * 5", ("0 0 13 * 5", None)),
    ],
)
def test_a_schedule_of_go_is_one_of_crontab(text: str, expected: tuple[str, str | None]) -> None:
    assert crontab.schedule(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30 0 2 * * *", "says seconds"),
        ("*/10 * * * * *", "says seconds"),
        ("* * * * * *", "says seconds"),
        ("@every 6h", "say 0 */6 * * *"),
        ("@every 15m", "say */15 * * * *"),
        ("@every 1h0m0s", "say 0 */1 * * *"),
        ("@every 7h", "counts from the start of its scheduler, and a schedule is times of the clock; say when"),
        ("@every 0h", "counts from the start"),
        ("@every 1h30m", "counts from the start"),
        ("@reboot", "'@reboot' is no schedule here"),
        ("0 2 * *", "needs five fields"),
        ("0 25 * * *", "is not a schedule"),
        ("CRON_TZ=Mars/Base 0 2 * * *", "is not a time zone"),
        ("0 0 */2 * 1", "match by date or by weekday"),
        ("", "needs five fields"),
    ],
)
def test_what_no_schedule_says_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        crontab.schedule(text)


# -- swarm-cronjob


def test_a_service_of_swarm_cronjob_is_a_job() -> None:
    made, found = one(swarm("0 0 2 * * *", "swarm.cronjob.skip-running=true", "swarm.cronjob.registry-auth=true"))
    assert (made.schedule, made.timezone, made.active, made.restart) == ("0 2 * * *", None, True, "no")
    schedule = "deploy.labels.swarm.cronjob.schedule"
    assert found == {"changed": [schedule], "ignored": ["deploy.labels.swarm.cronjob.registry-auth"]}


def test_what_its_scheduler_does_otherwise_is_told() -> None:
    (told_so,) = messages(imported("services:\n  api:\n    image: x\n    " + swarm("@daily")), Grade.CHANGED)
    assert told_so.endswith("is the schedule of api: 0 0 * * *, UTC: say timezone if its scheduler has another; "
                            "no run begins while another goes on")  # fmt: skip
    assert one(swarm("@daily", "swarm.cronjob.replicas=3"))[1]["lost"] == ["deploy.labels.swarm.cronjob.replicas"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (swarm("@every 5m"), {"lost": ["deploy.labels.swarm.cronjob.schedule"], "changed": ["deploy.replicas"]}),
        (swarm(""), {"lost": ["deploy.labels.swarm.cronjob.schedule"], "changed": ["deploy.replicas"]}),
        (
            swarm("@daily").replace("enable=true", "enable=false"),
            {"ignored": ["deploy.labels"], "changed": ["deploy.replicas"]},
        ),
    ],
)
def test_without_a_schedule_that_can_be_said_it_is_no_job(body: str, found: dict[str, Any]) -> None:
    made, paths = one(body)
    assert (made.schedule, made.active) == (None, False)
    assert paths == found


def test_other_labels_of_a_deploy_have_no_meaning_as_ever() -> None:
    assert "deploy.labels" in one(swarm("@daily", "traefik.enable=false"))[1]["ignored"]
    assert "ignored" not in one(swarm("@daily"))[1]


# -- Ofelia


def test_the_container_that_ofelia_starts_is_a_job() -> None:
    found = imported(ofelia("ofelia.job-run.b.schedule=0 0 2 * * *", "ofelia.job-run.b.container=the-backup"))
    assert component(found, "backup").schedule == "0 2 * * *"
    assert component(found, "scheduler").labels == {}
    assert told(found)["changed"][0] == "services.scheduler.labels.ofelia.job-run.b.schedule"
    assert "remove the component" in str(found.warnings[0])
    assert "lost" not in told(found)
    by_key = ofelia("ofelia.job-run.b.schedule=@daily", "ofelia.job-run.b.container=backup").replace("the-backup", "")
    assert component(imported(by_key), "backup").schedule == "0 0 * * *"


def test_its_time_zone_is_that_of_the_scheduler_or_the_schedules_own() -> None:
    labels = ("ofelia.job-run.b.schedule=@daily", "ofelia.job-run.b.container=backup")
    for environment in ("{TZ: Europe/Berlin}", "[TZ=Europe/Berlin]"):
        found = imported(ofelia(*labels, environment=environment))
        assert component(found, "backup").timezone == "Europe/Berlin"
    own = (labels[0].replace("@daily", "CRON_TZ=Asia/Tokyo @daily"), labels[1])
    assert component(imported(ofelia(*own, environment="[TZ=UTC]")), "backup").timezone == "Asia/Tokyo"
    wrong = imported(ofelia(*labels, environment="{TZ: Mars/Base}"))
    assert "Mars/Base" in messages(wrong, Grade.LOST)[0]


def test_a_job_of_a_services_own_image_is_a_job_with_its_command() -> None:
    body = (
        "labels:\n  ofelia.enabled: 'true'\n  a: b\n  ofelia.job-run.x.schedule: '@hourly'\n"
        "  ofelia.job-run.x.command: sh -c 'date; ls'\n  ofelia.job-run.x.no-overlap: 'true'\nrestart: on-failure\n"
        "healthcheck: {test: [CMD, check]}"
    )
    made, found = one(body)
    assert (made.schedule, made.cmd, made.labels) == ("0 * * * *", ("sh", "-c", "date; ls"), {"a": "b"})
    assert (made.restart, made.health) == ("no", None)
    assert found == {
        "changed": ["labels.ofelia.job-run.x.schedule"],
        "ignored": ["labels.ofelia.job-run.x.no-overlap", "healthcheck"],
        "lost": ["restart"],
    }
    assert one(f"{body}".replace("  a: b\n", "  ofelia.job-run.x.image: docker.io/library/x:v1\n"))[0].schedule


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["ofelia.job-exec.x.schedule=@daily", "ofelia.job-exec.x.command=a"], "runs nothing inside a running"),
        (["ofelia.job-local.x.schedule=@daily", "ofelia.job-local.x.command=a"], "cron or a timer on the node"),
        (["ofelia.job-service-run.x.schedule=@daily"], "mcpd has no job-service-run"),
        (["ofelia.job-run.x.schedule=@daily", "ofelia.job-run.x.image=other"], "other is run as a container of its"),
        (["ofelia.job-run.x.schedule=@daily", "ofelia.job-run.x.container=other"], "other is not of this file"),
        (["ofelia.job-run.x.schedule=@every 7s"], "api: '@every 7s' counts from the start"),
        (["ofelia.job-run.x.command=a"], "api: there is no schedule"),
    ],
)
def test_another_job_of_ofelias_is_lost_by_its_name(labels: list[str], said: str) -> None:
    found = imported(f"services:\n  api: {{image: 'x:v1', labels: {labels}}}\n")
    (message,) = messages(found, Grade.LOST)
    assert message.startswith("services.api.labels.ofelia.job-")
    assert said in message
    made = component(found, "api")
    # Whoever keeps Ofelia needs them.
    assert (made.schedule, len(made.labels)) == (None, len(labels))


def test_what_is_said_of_a_job_alone_is_lost() -> None:
    _, found = one("labels: ['ofelia.job-run.x.schedule=@daily', 'ofelia.job-run.x.volume=/a:/b']")
    assert found["lost"] == ["labels.ofelia.job-run.x.volume"]


def test_a_service_has_one_schedule() -> None:
    made, found = one("labels: ['ofelia.job-run.x.schedule=@daily', 'ofelia.job-run.y.schedule=@hourly']")
    assert made.schedule == "0 0 * * *"
    assert found["lost"] == ["labels.ofelia.job-run.y.schedule"]
    assert made.labels == {"ofelia.job-run.y.schedule": "@hourly"}


def test_what_runs_all_the_time_is_started_by_no_schedule() -> None:
    made, found = one("restart: unless-stopped\nlabels: ['ofelia.job-run.x.schedule=@daily']")
    assert (made.schedule, made.restart) == (None, "unless-stopped")
    assert found["lost"] == ["labels.ofelia.job-run.x.schedule"]
    # A swarm's own word says that the task ends; it is the default there.
    made, found = one(swarm("@daily").replace("condition: none", "condition: any"))
    assert (made.schedule, made.restart) == ("0 0 * * *", "no")
    assert "restart" in found["changed"]


def test_nothing_waits_for_a_job() -> None:
    text = ofelia("ofelia.job-run.b.schedule=@daily", "ofelia.job-run.b.container=backup")
    found = imported(f"{text}    depends_on: [backup, db]\n  db: {{image: y}}\n")
    assert component(found, "scheduler").depends_on == ("db",)
    assert [each.split(": ")[0] for each in messages(found, Grade.LOST)] == ["services.scheduler.depends_on"]


def test_what_others_wait_for_until_it_has_ended_is_no_job() -> None:
    text = "services:\n  a: {image: x, labels: ['ofelia.job-run.x.schedule=@daily']}\n"
    found = imported(f"{text}  b: {{image: y, depends_on: {{a: {{condition: service_completed_successfully}}}}}}\n")
    assert (component(found, "a").oneshot, component(found, "a").schedule) == (True, None)
    assert "so it is oneshot and has no schedule" in messages(found, Grade.LOST)[0]


@pytest.mark.parametrize("labels", ["[ofelia.x]", "{ofelia.job-run.x.schedule: }", "['ofelia.job-run..=', ofelia]"])
def test_labels_that_say_nothing_change_nothing(labels: str) -> None:
    assert one(f"labels: {labels}")[0].schedule is None
