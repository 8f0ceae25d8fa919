"""The definition of a service: frozen types that both ends share, each field with its rule.

`mcpctl` reads them from definition files, `mcpd` from requests; both check them here, so that neither trusts the
other. Field order is the order in which a definition file lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from protos import grammar, naming
from protos.fields import Argument, Duration, Image, Name, PositiveDuration, Size
from protos.validation import Problem, Rule, checked, examine

# As in podman-run(1): the time from SIGTERM to SIGKILL.
DEFAULT_STOP_TIMEOUT = timedelta(seconds=10)
# A deploy locks its service while it watches it, so it must end.
MAX_SETTLE = timedelta(minutes=10)
# More components than any hand-written service has; bounds the work that one request can ask for.
MAX_COMPONENTS = 200


class Heal(StrEnum):
    """What mcpd does on its own about a component that should run but is down or unhealthy."""

    ALERT = "alert"
    RESTART = "restart"


def _count(value: int) -> int:
    if not 0 <= value <= 2**31 - 1:
        raise ValueError(f"{value} is out of range: 0 to {2**31 - 1}")
    return value


def _cpus(value: float) -> float:
    # Below a hundredth of a CPU the kernel's quota would round to zero.
    if value and not 0.01 <= value <= 4096:
        raise ValueError(f"{value} is out of range: a number of CPUs, 0.01 to 4096, or 0 for no limit")
    return float(value)


def _retries(value: int) -> int:
    if not 1 <= value <= 1000:
        raise ValueError(f"{value} is out of range: 1 to 1000")
    return value


def _settle(value: str | timedelta) -> timedelta:
    total = grammar.duration(value)
    if total > MAX_SETTLE:
        raise ValueError(f"{value!s} is too long to wait for: at most {MAX_SETTLE // timedelta(minutes=1)}m")
    return total


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits; 0 means none.

    ``memory``: the most that all processes of the container may use together; above that, the kernel kills one.
    ``cpus``: how many of the node's CPUs it may use, 0.01 to 4096.
    ``pids``: how many processes and threads it may have.
    """

    memory: Size = 0
    cpus: Annotated[float, Rule(_cpus, (float, int))] = 0.0
    pids: Annotated[int, Rule(_count, (int,))] = 0


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """A probe: exactly one of cmd, http and tcp. Without a probe, a running container is healthy.

    ``cmd``: a program that podman runs inside the container; exit status 0 is healthy.
    ``http``: the URL that mcpd requests from the node; a status below 400 is healthy.
    ``tcp``: the address that mcpd dials from the node; a connection is healthy.
    ``interval``: the time from one probe to the next.
    ``timeout``: how long one probe may take.
    ``retries``: how many consecutive failures make the container unhealthy, 1 to 1000.
    ``start_period``: how long failures do not count after a start.
    """

    cmd: tuple[Argument, ...] = ()
    http: Annotated[str, checked(grammar.http_url)] | None = None
    tcp: Annotated[str, checked(grammar.host_port)] | None = None
    interval: PositiveDuration = timedelta(seconds=30)
    timeout: PositiveDuration = timedelta(seconds=5)
    retries: Annotated[int, Rule(_retries, (int,))] = 3
    start_period: Duration = timedelta(0)


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container, as declared. Strings have podman's own notation, checked by `protos.grammar`.

    `heal = "restart"` makes mcpd start a container that should run and has ended, and restart one that is unhealthy:
    its probe has failed `retries` times after the start period, and still fails after the node's `drift_grace`. mcpd
    does so at once, then with pauses that grow from 1s to 5m, and records an event each time. It does not act on a
    component that a person stopped or paused, that an operation is working on, or, within `drift_grace`, that podman
    itself restarts. `heal = "alert"` heals nothing.

    `settle` counts from the start of a container, in a deploy, `start`, `restart` and `recover`. By default, a
    container with a probe is up when it is healthy; one without a probe must stay up for 0.5s, or for 20ms if there was
    no container before.

    ``name``: the container is called SERVICE-NAME, or just SERVICE if the only component has the service's name.
    ``image``: the image that it runs. The tag is the component's version.
    ``active``: whether it should run when its service should.
    ``network``: a podman network, `host` or `none`. Default: podman's.
    ``user``: the user that it runs as, in the container's own ids. Default: the image's.
    ``restart``: podman's restart policy, which podman applies by itself when the container ends.
    ``ports``: the ports that it publishes on the node.
    ``volumes``: the folders of the node and the named volumes that it mounts.
    ``cmd``: its arguments. Default: the image's.
    ``env``: environment variables, in addition to the image's.
    ``secrets``: the names of podman secrets; their values never pass through mcp.
    ``depends_on``: components of this service that must be started and healthy before it.
    ``stop_timeout``: the time from SIGTERM to SIGKILL.
    ``settle``: how long it must stay up to count as started, 10m at most; with a probe it must also be healthy.
    ``heal``: what mcpd does when it should run but has ended or is unhealthy. Default: the node's `heal`.
    ``health``: its probe.
    ``resources``: its limits.
    """

    name: Name
    image: Image
    active: bool = True
    network: Annotated[str, checked(grammar.network)] | None = None
    user: Annotated[str, checked(grammar.user)] | None = None
    restart: Annotated[str, checked(grammar.restart)] = "no"
    ports: tuple[Annotated[str, checked(grammar.port)], ...] = ()
    volumes: tuple[Annotated[str, checked(grammar.volume)], ...] = ()
    cmd: tuple[Argument, ...] = ()
    env: Mapping[Annotated[str, checked(grammar.env_name)], Argument] = {}
    secrets: tuple[Annotated[str, checked(grammar.secret)], ...] = ()
    depends_on: tuple[Name, ...] = ()
    stop_timeout: Duration = DEFAULT_STOP_TIMEOUT
    settle: Annotated[timedelta, Rule(_settle, (str, timedelta))] | None = None
    heal: Heal | None = None
    health: Health | None = None
    resources: Resources = Resources()

    @property
    def version(self) -> str:
        return naming.version(self.image)


class Service(msgspec.Struct, frozen=True, omit_defaults=True):
    """A service, as its definition declares it.

    ``name``: the name of its file, without .toml.
    ``node``: the node that it runs on.
    ``components``: its containers.
    ``active``: the authoritative desired state (audit E3): whether it should run.
    """

    name: Name
    node: Name
    components: tuple[Component, ...]
    active: bool = True

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(component.name for component in self.components)

    def component(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)

    def container(self, component: str) -> str:
        return naming.container_name(self.name, component, self.component_names)

    def wants_running(self, component: Component) -> bool:
        return self.active and component.active


def examine_service(data: Any) -> tuple[Service | None, list[Problem]]:
    """A service from plain values, or all problems: of each field, and between fields."""
    service, problems = examine(data, Service)
    components = data.get("components") if isinstance(data, dict) else None
    if isinstance(components, (list, tuple)):
        problems += _disagreements([each if isinstance(each, dict) else {} for each in components])
    return (None if problems else service), problems


def _disagreements(components: list[dict[str, Any]]) -> list[Problem]:
    """Problems between fields. Works on the raw values, so it finds them even when single fields have problems."""
    problems: list[Problem] = []
    if not components:
        problems.append(Problem("components", "is empty; a service has at least one component"))
    if len(components) > MAX_COMPONENTS:
        problems.append(Problem("components", f"has {len(components)} entries; at most {MAX_COMPONENTS} are allowed"))
    names = [each.get("name") for each in components]
    published: list[tuple[grammar.Port, str]] = []
    for index, each in enumerate(components):
        path = f"components[{index}]"
        first = names.index(names[index])
        if first != index and names[index] is not None:
            problems.append(
                Problem(f"{path}.name", f"duplicate component {names[index]!r}, already at components[{first}]")
            )
        problems += _dependency_problems(each, names, path)
        problems += _health_problems(each.get("health"), f"{path}.health")
        problems += _port_problems(each, path, published)
    known = {name: _depends_on(each) for name, each in zip(names, components, strict=True) if isinstance(name, str)}
    if not problems and (cycle := find_cycle(known)):
        problems.append(Problem("components", f"depends_on has a cycle: {' -> '.join(cycle)}"))
    return problems


def _depends_on(component: dict[str, Any]) -> list[str]:
    found = component.get("depends_on")
    return [each for each in found if isinstance(each, str)] if isinstance(found, (list, tuple)) else []


def _dependency_problems(component: dict[str, Any], names: list[Any], path: str) -> list[Problem]:
    return [
        Problem(f"{path}.depends_on", f"names {wanted!r}, which is not a component of this service")
        for wanted in _depends_on(component)
        if wanted not in names
    ]


def _health_problems(health: Any, path: str) -> list[Problem]:
    if not isinstance(health, dict):
        return []
    probes = [kind for kind in ("cmd", "http", "tcp") if health.get(kind)]
    if len(probes) == 1:
        return []
    found = " and ".join(probes) or "none"
    return [Problem(path, f"needs exactly one of cmd, http and tcp; found {found}")]


def _port_problems(component: dict[str, Any], path: str, published: list[tuple[grammar.Port, str]]) -> list[Problem]:
    """Two components cannot publish one port of the node."""
    problems = []
    ports = component.get("ports")
    for index, text in enumerate(ports if isinstance(ports, (list, tuple)) else []):
        here = f"{path}.ports[{index}]"
        try:
            port = grammar.port(text)
        except (ValueError, TypeError):
            continue  # already reported as the field's own problem
        taken = next((where for other, where in published if port.overlaps(other)), "")
        if taken:
            problems.append(Problem(here, f"publishes {text!r}, which {taken} already publishes"))
        published.append((port, here))
    return problems


def find_cycle(depends_on: Mapping[str, list[str]]) -> list[str]:
    """A cycle in the dependencies, its first name repeated at the end; empty when there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for wanted in depends_on.get(name, []):
            if cycle := visit(wanted, [*trail, name]):
                return cycle
        done.add(name)
        return []

    for name in depends_on:
        if cycle := visit(name, []):
            return cycle
    return []
