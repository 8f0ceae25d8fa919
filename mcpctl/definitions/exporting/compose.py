"""A service as a file of the Compose Specification, which podman-compose and docker compose run."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.exporting import yamltext
from mcpctl.definitions.exporting.formats import Exported, File, Losses, cpus, go_duration, seconds
from mcpctl.definitions.loss import Loss
from protos import grammar
from protos.parts import Health
from protos.spec import Component, Service

FILE_NAME = "compose.yaml"
# The short notation's: the others are podman's own.
_MOUNT_OPTIONS = frozenset(
    {"ro", "rw", "z", "Z", "U", "O", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind"}
    | {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
)
_MODES = ("host", "none")


def export(service: Service) -> Exported:
    losses: list[Loss] = []
    services = {}
    for component in service.components:
        lost = Losses(component.name)
        services[component.name] = _service(service, component, lost)
        losses += lost.found
    document: dict[str, Any] = {"name": service.name, "services": services}
    # With names of their own: compose would put the project's before them.
    if networks := dict.fromkeys(each.network for each in service.components if each.network not in (None, *_MODES)):
        document["networks"] = {name: {"name": name} for name in networks}
    volumes = [mount for each in service.components for mount in each.mounts]
    if named := dict.fromkeys(each.volume for each in volumes if each.volume):
        document["volumes"] = {name: {"name": name} for name in named}
    if secrets := dict.fromkeys(name for each in service.components for name in map(str, each.secrets)):
        document["secrets"] = {name: {"external": True} for name in secrets}
    return Exported((File(FILE_NAME, yamltext.document(document)),), tuple(losses))


def _service(service: Service, component: Component, lost: Losses) -> dict[str, Any]:
    if not service.wants_running(component):
        lost.add("active", f"compose starts it; name the others with `up`, or run `stop {component.name}` afterwards")
    if component.settle is not None:
        lost.add("settle", "a container counts as started immediately")
    if component.heal:
        lost.add("heal", "restart: decides, and no alert is sent")
    made: dict[str, Any] = {
        "container_name": service.container(component.name),
        "image": component.image,
        # Compose's own default is a network for the project; ours is podman's.
        **_network(component),
        "restart": component.restart,
        "command": [_literal(each) for each in component.cmd],
        "user": component.user,
        "environment": _environment(component),
        "ports": list(component.ports),
        "volumes": [_volume(text, index, lost) for index, text in enumerate(map(str, component.volumes))],
        "secrets": list(component.secrets),
        "depends_on": {name: {"condition": _condition(service, name)} for name in component.depends_on},
        "stop_grace_period": f"{seconds(component.stop_timeout)}s",
        "healthcheck": _healthcheck(component.health, lost) if component.health else None,
        **_limits(component),
    }
    return {key: value for key, value in made.items() if value}


def _network(component: Component) -> dict[str, Any]:
    if component.network is None:
        return {"network_mode": "bridge"}
    if component.network in _MODES:
        return {"network_mode": component.network}
    return {"networks": [component.network]}


def _environment(component: Component) -> dict[str, str] | list[str]:
    # Keys are interpolated by some and not by others, a list's entries by all.
    if any("$" in name for name in component.env):
        return [_literal(f"{name}={value}") for name, value in component.env.items()]
    return {name: _literal(value) for name, value in component.env.items()}


def _volume(text: str, index: int, lost: Losses) -> str:
    volume = grammar.volume(text)
    kept = [each for each in volume.options if each in _MOUNT_OPTIONS]
    if dropped := [each for each in volume.options if each not in _MOUNT_OPTIONS]:
        lost.add(f"volumes[{index}]", f"{', '.join(dropped)}: only podman has this option; use `podman volume create`")
    return _literal(":".join([volume.source, volume.target, *([",".join(kept)] if kept else [])]))


def _condition(service: Service, name: str) -> str:
    needed = service.component(name)
    return "service_healthy" if needed and needed.health and needed.health.cmd else "service_started"


def _healthcheck(health: Health, lost: Losses) -> dict[str, Any]:
    if not health.cmd:
        kind = "http" if health.http else "tcp"
        lost.add(f"health.{kind}", "compose supports only command probes; write a test that runs inside the container")
        return {}
    return {
        "test": ["CMD", *map(_literal, health.cmd)],
        "interval": go_duration(health.interval),
        "timeout": go_duration(health.timeout),
        "retries": health.retries,
        "start_period": go_duration(health.start_period),
    }


def _limits(component: Component) -> dict[str, Any]:
    resources = component.resources
    limits: dict[str, Any] = {}
    if resources.memory:
        limits["mem_limit"] = f"{resources.memory}b"
    if resources.cpus:
        limits["cpus"] = cpus(component)
    if resources.pids:
        limits["pids_limit"] = resources.pids
    return limits


def _literal(text: str) -> str:
    """Survives interpolation."""
    return text.replace("$", "$$")
