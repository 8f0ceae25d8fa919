"""A service as a file of the Compose Specification, which podman-compose and docker compose run."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.exporting import compose_resources as resources
from mcpctl.definitions.exporting import routes, schedules, yamltext
from mcpctl.definitions.exporting.formats import (
    Exported,
    File,
    Losses,
    cpus,
    go_duration,
    of_component,
    plain,
    seconds,
    size,
    waits_for,
)
from mcpctl.definitions.loss import Loss
from protos import podman_notation
from protos.parts import Health, Log, LogDriver, Pull
from protos.podman_notation import UNLIMITED
from protos.spec import Component, Service

FILE_NAME = "compose.yaml"
# Compose has a word for these, which podman-compose (1.6) does not read.
_FOR_DOCKER_ONLY = "podman-compose ignores it; docker compose does not, and --format quadlet can say it"
# podman-compose makes a pod, in which podman allows no user namespace of a container's own.
_WITHOUT_POD = {"x-podman": {"in_pod": False}}
_JOBS = "jobs"
# Docker's word for podman's own format; podman knows both.
_DRIVERS = {LogDriver.K8S_FILE: LogDriver.JSON_FILE}


def export(service: Service) -> Exported:
    losses: list[Loss] = []
    networks = resources.network_keys(service)
    services = {}
    for component in service.components:
        lost = of_component(component)
        services[component.name] = _service(service, component, networks, lost)
        losses += lost.found
    document: dict[str, Any] = {"name": service.name, "services": services}
    document |= resources.declarations(service, networks, losses)
    if any(each.userns for each in service.components):
        document |= _WITHOUT_POD
    return Exported((File(FILE_NAME, yamltext.document(_literal(document))),), tuple(losses))


def _service(service: Service, component: Component, networks: dict[str, str], lost: Losses) -> dict[str, Any]:
    _tell_what_is_missing(service, component, lost)
    made: dict[str, Any] = {
        "container_name": service.container(component.name),
        "image": component.image,
        # Only what is named is started of it.
        "profiles": [_JOBS] if component.schedule else None,
        "build": resources.build(component, lost),
        "pull_policy": _pull(component, lost),
        **resources.joins(service, component, networks),
        "restart": component.restart,
        "command": list(component.cmd),
        "user": component.user,
        "env_file": resources.files_beside("env_file", component.env_file, lost),
        "environment": resources.pairs(component.env),
        "ports": list(component.ports),
        "volumes": [resources.mount(each, index, lost) for index, each in enumerate(component.mounts)],
        "secrets": resources.secrets(component, lost),
        "configs": resources.configs(component, lost),
        "depends_on": {name: {"condition": _condition(service, name)} for name in waits_for(component)},
        "stop_grace_period": f"{seconds(component.stop_timeout)}s",
        "healthcheck": _healthcheck(component.health, lost) if component.health else None,
        **_limits(component, lost),
        "logging": _logging(component.log) if component.log != Log() else None,
        **_plain(service, component, lost),
    }
    kept = {key: value for key, value in made.items() if value}
    # An empty one is none; without this key it is the image's.
    return kept if component.entrypoint is None else {**kept, "entrypoint": list(component.entrypoint)}


def _tell_what_is_missing(service: Service, component: Component, lost: Losses) -> None:
    if not service.wants_running(component) and not component.schedule:
        lost.add("active", f"compose starts it; name the others with `up`, or run `stop {component.name}` afterwards")
    if component.schedule:
        run = f"run --rm {component.name}"
        lost.add(
            "schedule", f"compose has none, and `up` leaves it out: have cron or a timer `{run}`; {schedules.NO_ALERT}"
        )
    if component.timezone:
        lost.add("timezone", f"{component.timezone}: say it where you say the schedule")
    if limit := schedules.limit(component):
        lost.add("timeout", f"it may run longer: put `timeout {limit}` before the command that runs it")
    if component.oneshot:
        lost.add("oneshot", "others wait for its end, but it runs again with every `up`")
    if component.settle is not None:
        lost.add("settle", "a container counts as started immediately")
    if component.heal:
        lost.add("heal", "restart: decides, and no alert is sent")
    routes.tell(component, lost)


def _plain(service: Service, component: Component, lost: Losses) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for each, value in plain(service, component):
        if each.key == "ipc":
            lost.add("ipc", _FOR_DOCKER_ONLY)
        if each.key == "ulimits":
            value = {name: _ulimit(limit) for name, limit in value.items()}
        elif isinstance(value, tuple):
            value = list(value)
        made[each.compose] = resources.pairs(value) if isinstance(value, dict) else value
    return made


def _ulimit(text: str) -> int | dict[str, int]:
    soft, hard = podman_notation.ulimit(text)
    return soft if soft == hard else {"soft": soft, "hard": hard}


def _pull(component: Component, lost: Losses) -> str | None:
    if component.pull is Pull.MISSING:
        return None
    if component.pull is Pull.NEWER:
        lost.add("pull", "newer became always: compose pulls the image at every `up`")
        return Pull.ALWAYS.value
    return component.pull.value


def _condition(service: Service, name: str) -> str:
    needed = service.component(name)
    if needed and needed.oneshot:
        return "service_completed_successfully"
    return "service_healthy" if needed and needed.probe and needed.probe.cmd else "service_started"


def _healthcheck(health: Health, lost: Losses) -> dict[str, Any]:
    if health.disable:
        return {"disable": True}
    if not health.cmd:
        kind = "http" if health.http else "tcp"
        lost.add(f"health.{kind}", "compose supports only command probes; write a test that runs inside the container")
        return {}
    made = {
        "test": ["CMD", *health.cmd],
        "interval": go_duration(health.interval),
        "timeout": go_duration(health.timeout),
        "retries": health.retries,
        "start_period": go_duration(health.start_period),
    }
    return made | ({"start_interval": go_duration(health.start_interval)} if health.start_interval else {})


def _limits(component: Component, lost: Losses) -> dict[str, Any]:
    said = component.resources
    for key in ("memory_swap", "oom_score_adj"):
        if getattr(said, key):
            lost.add(f"resources.{key}", _FOR_DOCKER_ONLY)
    return {
        "mem_limit": _size(said.memory),
        "cpus": cpus(component) if said.cpus else None,
        "pids_limit": said.pids,
        "mem_reservation": _size(said.memory_reservation),
        # Of strings, docker compose refuses this one.
        "memswap_limit": said.memory_swap if said.memory_swap == UNLIMITED else _size(said.memory_swap),
        "cpu_shares": said.cpu_shares,
        "cpuset": said.cpuset,
        "oom_score_adj": said.oom_score_adj,
    }


def _size(value: int) -> str | None:
    return size(value) if value else None


def _logging(log: Log) -> dict[str, Any]:
    options = {"max-size": str(log.max_size) if log.max_size else None, "tag": log.tag}
    said = {name: value for name, value in options.items() if value}
    return {"driver": _DRIVERS.get(log.driver, log.driver).value, **({"options": said} if said else {})}


def _literal(value: Any) -> Any:
    """Survives interpolation."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return list(map(_literal, value)) if isinstance(value, list) else value
