"""What the fields of one definition may not say together.

Works on the plain values of a file or message, so that it finds this even when single fields have problems.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from protos import grammar, podman_notation, route_agreement, scheduling
from protos.parts import MAX_CONFIG_BYTES, SECRET_MODE
from protos.validation import Problem

# More components than any hand-written service has; bounds the work that one request can ask for.
MAX_COMPONENTS = 200


_PROBES = ("cmd", "http", "tcp")
_NAMESPACES = ("network", "pid", "ipc")
# podman starts these again, whatever they ended with.
_STARTED_AGAIN = ("always", "unless-stopped")
_FILE_OF_SECRET = ("target", "uid", "gid", "mode")
_DEFAULTS_OF_SECRET = {"uid": 0, "gid": 0, "mode": SECRET_MODE}


def disagreements(components: list[dict[str, Any]]) -> list[Problem]:
    """Problems between fields of a service's ``components``, which are plain values of any kind."""
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
        problems += _namespace_problems(each, names, path)
        problems += _network_problems(each, path)
        problems += _health_problems(each.get("health"), f"{path}.health")
        problems += _oneshot_problems(each, path)
        problems += scheduling.problems(each, path)
        problems += _of_jobs(each, components, path)
        problems += _secret_problems(each, path)
        problems += _config_problems(each, path)
        problems += _target_problems(each, path)
        problems += _port_problems(each, path, published)
    problems += route_agreement.problems(components)
    known = {name: _waits_for(each) for name, each in zip(names, components, strict=True) if isinstance(name, str)}
    if not problems and (cycle := find_cycle(known)):
        problems.append(Problem("components", f"depends_on has a cycle: {' -> '.join(cycle)}"))
    return problems


def _entries(component: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    """The entries of a list, with their positions; none of what is no list."""
    found = component.get(key)
    return list(enumerate(found)) if isinstance(found, (list, tuple)) else []


def _tables(component: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    return [(index, each) for index, each in _entries(component, key) if isinstance(each, dict)]


def _joined(component: dict[str, Any]) -> list[tuple[str, str]]:
    """The namespaces of other components that it joins: the key, and the component's name."""
    texts = ((key, component.get(key)) for key in _NAMESPACES)
    named = [(key, podman_notation.named_component(text)) for key, text in texts if isinstance(text, str)]
    return [(key, name) for key, name in named if name]


def _waits_for(component: dict[str, Any]) -> list[str]:
    named = [each for _, each in _entries(component, "depends_on") if isinstance(each, str)]
    return [*named, *(name for _, name in _joined(component))]


def _dependency_problems(component: dict[str, Any], names: list[Any], path: str) -> list[Problem]:
    return [
        Problem(f"{path}.depends_on", f"names {wanted!r}, which is not a component of this service")
        for _, wanted in _entries(component, "depends_on")
        if isinstance(wanted, str) and wanted not in names
    ]


def _namespace_problems(component: dict[str, Any], names: list[Any], path: str) -> list[Problem]:
    problems = []
    for key, wanted in _joined(component):
        if wanted not in names:
            problems.append(Problem(f"{path}.{key}", f"names {wanted!r}, which is not a component of this service"))
        elif wanted == component.get("name"):
            problems.append(Problem(f"{path}.{key}", "names the component itself"))
        elif key == "network" and component.get("ports"):
            problems.append(
                Problem(f"{path}.ports", f"cannot be published here: the network is {wanted}'s, so publish them there")
            )
    return problems


def _network_problems(component: dict[str, Any], path: str) -> list[Problem]:
    if component.get("network") and component.get("networks"):
        return [Problem(f"{path}.networks", "cannot be used together with network; list all of them here")]
    problems, seen = [], set()
    for index, each in _entries(component, "networks"):
        name = each.get("name") if isinstance(each, dict) else each
        if not isinstance(name, str):
            continue
        here = f"{path}.networks[{index}]"
        if name in podman_notation.NETWORK_MODES:
            problems.append(Problem(here, f"{name!r} is no network to join; `network = {name!r}` is the way to say it"))
        if name in seen:
            problems.append(Problem(here, f"joins {name!r} a second time"))
        seen.add(name)
    return problems


def _health_problems(health: Any, path: str) -> list[Problem]:
    if not isinstance(health, dict):
        return []
    probes = [kind for kind in _PROBES if health.get(kind)]
    if health.get("disable") is True:
        return [Problem(path, f"is disabled and has {probes[0]}; remove one of the two")] if probes else []
    if len(probes) == 1:
        return []
    found = " and ".join(probes) or "none"
    return [Problem(path, f"needs exactly one of cmd, http and tcp; found {found}")]


def _oneshot_problems(component: dict[str, Any], path: str) -> list[Problem]:
    if component.get("oneshot") is not True:
        return []
    problems = []
    restart, health = component.get("restart"), component.get("health")
    if isinstance(restart, str) and restart in _STARTED_AGAIN:
        allowed = "a oneshot component ends; use no or on-failure[:N]"
        problems.append(Problem(f"{path}.restart", f"is {restart!r}, but {allowed}"))
    if isinstance(health, dict) and health.get("disable") is not True:
        problems.append(Problem(f"{path}.health", "a oneshot component has no probe: it is done when it has exited"))
    return problems


def _of_jobs(component: dict[str, Any], components: list[dict[str, Any]], path: str) -> list[Problem]:
    """Nobody can wait for a job, or live in its namespaces: it does not run all the time."""
    jobs = {each.get("name") for each in components if each.get("schedule") is not None} - {None}
    wanted = [("depends_on", name) for _, name in _entries(component, "depends_on") if isinstance(name, str)]
    return [
        Problem(f"{path}.{key}", f"names {name!r}, which is a job: it runs when its schedule says so, and ends")
        for key, name in [*wanted, *_joined(component)]
        if name in jobs and name != component.get("name")
    ]


def _secret_problems(component: dict[str, Any], path: str) -> list[Problem]:
    return [
        Problem(f"{path}.secrets[{index}]", f"becomes the variable {each['env']}, so it has no {key}; remove {key}")
        for index, each in _tables(component, "secrets")
        if each.get("env")
        for key in _FILE_OF_SECRET
        if each.get(key) not in (None, _DEFAULTS_OF_SECRET.get(key))
    ]


def _config_problems(component: dict[str, Any], path: str) -> list[Problem]:
    problems = []
    for index, each in _tables(component, "configs"):
        here = f"{path}.configs[{index}]"
        given = [key for key in ("source", "content") if each.get(key) is not None]
        if len(given) != 1:
            problems.append(
                Problem(here, f"needs exactly one of source and content; found {' and '.join(given) or 'none'}")
            )
        content = each.get("content")
        if isinstance(content, str) and len(content.encode(errors="replace")) > MAX_CONFIG_BYTES:
            size = len(content.encode(errors="replace"))
            problems.append(Problem(here, f"has {size} bytes; at most {MAX_CONFIG_BYTES // 1024} KiB are allowed"))
    return problems


def _target_problems(component: dict[str, Any], path: str) -> list[Problem]:
    """Two things cannot be mounted at one place."""
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for where, target in _targets(component):
        place = posixpath.normpath(target)
        if place in taken:
            problems.append(Problem(f"{path}.{where}", f"mounts at {target}, where {path}.{taken[place]} does"))
        taken.setdefault(place, where)
    return problems


def _targets(component: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for index, each in _entries(component, "volumes"):
        target = each.get("target") if isinstance(each, dict) else _target_of(grammar.volume, each)
        if isinstance(target, str):
            yield f"volumes[{index}]", target
    for index, each in _entries(component, "tmpfs"):
        if target := _target_of(podman_notation.tmpfs, each):
            yield f"tmpfs[{index}]", target
    for index, table in _tables(component, "configs"):
        if isinstance(target := table.get("target"), str):
            yield f"configs[{index}]", target


def _target_of(rule: Callable[[str], grammar.Volume | podman_notation.Tmpfs], text: Any) -> str:
    try:
        return rule(text).target if isinstance(text, str) else ""
    except ValueError:
        return ""  # already reported as the field's own problem


def _port_problems(component: dict[str, Any], path: str, published: list[tuple[grammar.Port, str]]) -> list[Problem]:
    """Two components cannot publish one port of the node."""
    problems = []
    for index, text in _entries(component, "ports"):
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
