"""Services that others run on a schedule, by labels of Ofelia's and of swarm-cronjob's: jobs of ours.

github.com/mcuadros/ofelia (docs/jobs.md) and github.com/crazy-max/swarm-cronjob (docs/get-started.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctl.definitions.importing import crontab
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import Names, full_image
from protos import scheduling

_OFELIA, _SWARM = "ofelia", "swarm-cronjob"
# The images of the schedulers, and of their best-known forks.
_SCHEDULER = re.compile(r"(?:.*/)?(ofelia|swarm-cronjob)(?:[:@].*)?")
_OFELIA_LABELS, _SWARM_LABELS = "ofelia.", "swarm.cronjob."
_RUN = "job-run"
# Of a job-run: what is read; what a run of ours does anyway, or that has no meaning without the scheduler.
_READ = frozenset({"schedule", "container", "image", "command"})
_MEANINGLESS = frozenset({"no-overlap", "delete"})
_SWARM_READ = frozenset({"enable", "schedule", "skip-running", "replicas"})
_HAS_SCHEDULE = "give a component of its own a schedule"
_OTHERS = {
    "job-exec": f"mcpd runs nothing inside a running container by the clock: {_HAS_SCHEDULE}",
    "job-local": "it runs where Ofelia does: use cron or a timer on the node",
}
# They run all the time, so that a start by the clock does nothing.
_FOREVER = ("always", "unless-stopped")
_NO_OVERLAP = "no run begins while another goes on"


class Job(msgspec.Struct, frozen=True):
    """``path``: what says it. ``command`` "": the service's own."""

    path: str
    schedule: str
    timezone: str | None
    command: str = ""


class Jobs(msgspec.Struct):
    """By the file's keys. ``labels``: those of each service that have become keys."""

    found: dict[str, Job] = {}
    labels: dict[str, set[str]] = {}


def jobs(services: Mapping[str, dict[str, Any]], oneshots: set[str], names: Names, report: Diagnostics) -> Jobs:
    """``oneshots``: the services whose end others wait for, which no schedule runs."""
    return _Reader(services, oneshots, names, report).read()


class _Reader:
    def __init__(
        self, services: Mapping[str, dict[str, Any]], oneshots: set[str], names: Names, report: Diagnostics
    ) -> None:
        self._services, self._oneshots, self._names, self._report = services, oneshots, names, report
        self._schedulers = {key: kind for key, each in services.items() if (kind := _scheduler(each))}
        self._jobs = Jobs()

    def read(self) -> Jobs:
        for key, service in self._services.items():
            path = f"services.{key}"
            self._swarm(key, service, path)
            self._ofelia(key, service, f"{path}.labels")
        for key, kind in self._schedulers.items():
            if any(_is_of(kind, each.path) for each in self._jobs.found.values()):
                words = "mcpd runs them: remove the component, unless it does more"
                self._report.warn(f"services.{key}", f"it runs jobs that have a schedule now, and {words}")
        return self._jobs

    # -- swarm-cronjob

    def _swarm(self, key: str, service: dict[str, Any], path: str) -> None:
        report = self._report
        deploy = report.mapping(service.get("deploy"), f"{path}.deploy")
        path = f"{path}.deploy.labels"
        labels = report.texts(deploy.get("labels"), path)
        said = {
            name.removeprefix(_SWARM_LABELS): text for name, text in labels.items() if name.startswith(_SWARM_LABELS)
        }
        if len(said) < len(labels):
            report.ignored(path)
        if not said:
            return
        if not report.is_true(said.get("enable")):
            report.ignored(path, f"{_SWARM_LABELS}enable is not true: it has no schedule")
            return
        self._tell_of_others(said, _SWARM_READ, f"{path}.{_SWARM_LABELS}")
        if said.get("replicas", "1").strip() not in ("", "1"):
            report.lost(f"{path}.{_SWARM_LABELS}replicas", f"{said['replicas']}: a component is one container")
        told = "" if report.is_true(said.get("skip-running")) else _NO_OVERLAP
        self._add(key, said.get("schedule", ""), _SWARM, f"{path}.{_SWARM_LABELS}schedule", told)

    # -- Ofelia

    def _ofelia(self, key: str, service: dict[str, Any], path: str) -> None:
        labels = self._report.texts(service.get("labels"), path)
        if not any(each.startswith(_OFELIA_LABELS) for each in labels):
            return
        taken: set[str] = set()
        for (kind, name), said in _ofelia_jobs(labels).items():
            start = f"{_OFELIA_LABELS}{kind}.{name}"
            here = f"{path}.{start}"
            if kind != _RUN:
                self._report.lost(here, _OTHERS.get(kind, f"mcpd has no {kind}: {_HAS_SCHEDULE}"))
            elif self._ofelia_run(key, service, said, here):
                taken |= {f"{start}.{each}" for each in said}
        if taken:
            others = {each for each in labels if each.startswith(f"{_OFELIA_LABELS}job-")} - taken
            switches = {each for each in labels if each in ("ofelia.enabled", "ofelia.service")}
            self._jobs.labels[key] = taken | (set() if others else switches)

    def _ofelia_run(self, key: str, service: dict[str, Any], said: Mapping[str, str], path: str) -> bool:
        """Whether it is a job of ours now."""
        target, command = key, said.get("command", "")
        if said.get("container") and not said.get("image"):
            # That starts a container that is there, with its own command.
            found = self._named(said["container"])
            if found is None:
                self._report.lost(path, f"{said['container']} is not of this file; give its component a schedule")
                return False
            target, command = found, ""
        elif key in self._schedulers or full_image(said.get("image") or _image(service)) != full_image(_image(service)):
            image = said.get("image") or "it"
            self._report.lost(
                path, f"{image} is run as a container of its own: make a component of it, with a schedule"
            )
            return False
        if not self._add(target, said.get("schedule", ""), _OFELIA, f"{path}.schedule", _NO_OVERLAP, command):
            return False
        self._tell_of_others(said, _READ, f"{path}.")
        return True

    def _named(self, container: str) -> str | None:
        names = {str(each.get("container_name") or key): key for key, each in self._services.items()}
        return names.get(container, container if container in self._services else None)

    # -- both

    def _add(self, key: str, text: str, kind: str, path: str, told: str, command: str = "") -> bool:
        """Makes a job of a service, or tells why it is none."""
        name = self._names.components[key]
        try:
            schedule, zone = self._schedule(text, kind)
        except ValueError as error:
            self._report.lost(path, f"{name}: {error}")
            return False
        reason = self._why_not(key, kind)
        if reason:
            self._report.lost(path, f"{name}: {reason}")
            return False
        self._jobs.found[key] = Job(path, schedule, zone, command)
        is_here = kind in self._schedulers.values()
        where = f", {zone}" if zone else "" if is_here else ", UTC: say timezone if its scheduler has another"
        self._report.changed(path, f"is the schedule of {name}: {schedule}{where}{f'; {told}' if told else ''}")
        return True

    def _schedule(self, text: str, kind: str) -> tuple[str, str | None]:
        """Raises ValueError."""
        if not text.strip():
            raise ValueError("there is no schedule")
        schedule, zone = crontab.schedule(text)
        if zone is None:
            scheduler = next((each for each, found in self._schedulers.items() if found == kind), "")
            said = self._services[scheduler].get("environment") if scheduler else None
            variables = dict(self._report.pairs(said, f"services.{scheduler}.environment"))
            zone = scheduling.timezone(told) if (told := variables.get("TZ")) else None
        return schedule, zone

    def _why_not(self, key: str, kind: str) -> str:
        if key in self._jobs.found:
            return f"it has the schedule {self._jobs.found[key].schedule} already: make another component"
        if key in self._oneshots:
            return "others wait for its end, so it is oneshot and has no schedule"
        restart = str(self._services[key].get("restart") or "")
        if kind == _OFELIA and restart in _FOREVER:
            return f"it runs all the time (restart: {restart}), so that nothing starts it by the clock"
        return ""

    def _tell_of_others(self, said: Mapping[str, str], read: frozenset[str], path: str) -> None:
        for each in said:
            if each in _MEANINGLESS or (path.endswith(_SWARM_LABELS) and each not in read):
                self._report.ignored(f"{path}{each}")
            elif each not in read:
                self._report.lost(f"{path}{each}", "is said of the job alone: say it of the component")


def _ofelia_jobs(labels: Mapping[str, str]) -> dict[tuple[str, str], dict[str, str]]:
    """What is said of each job, by its kind and name."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for label, text in labels.items():
        parts = label.split(".", 3)
        if len(parts) == 4 and parts[0] == _OFELIA and parts[1].startswith("job-"):
            found.setdefault((parts[1], parts[2]), {})[parts[3].lower()] = text
    return found


def _scheduler(service: dict[str, Any]) -> str:
    match = _SCHEDULER.fullmatch(_image(service))
    return match[1] if match else ""


def _image(service: dict[str, Any]) -> str:
    return str(service.get("image") or "")


def _is_of(kind: str, path: str) -> bool:
    return (f".{_SWARM_LABELS}" in path) is (kind == _SWARM)


# -- their components


def make(job: Job, made: dict[str, Any], words: list[str], path: str, report: Diagnostics) -> None:
    """Makes a component a job. ``words``: of its command, where the job has one of its own."""
    made["schedule"] = job.schedule
    if job.timezone:
        made["timezone"] = job.timezone
    if words:
        made["cmd"] = words
    restart = made.get("restart")
    if restart in _FOREVER:
        report.changed(f"{path}.restart", f"{restart} is no: its schedule runs it again")
    elif restart and restart != "no":
        report.lost(f"{path}.restart", f"{restart}: a run that fails is not tried again before its next time")
    made.pop("restart", None)
    if made.get("health") and "disable" not in made["health"]:
        report.ignored(f"{path}.healthcheck", "has no meaning for what runs to its end")
        del made["health"]


def let_nobody_wait(found: Jobs, made: Mapping[str, dict[str, Any]], names: Names, report: Diagnostics) -> None:
    """A job runs when it is due: nothing can depend on it."""
    ours = {names.components[key] for key in found.found}
    for key, component in made.items():
        waited = [name for name in component.get("depends_on", ()) if name in ours]
        if not waited:
            continue
        for name in waited:
            report.lost(f"services.{key}.depends_on", f"{name} is a job, which nothing can wait for")
        kept = [name for name in component["depends_on"] if name not in ours]
        component.pop("depends_on")
        component |= {"depends_on": kept} if kept else {}
