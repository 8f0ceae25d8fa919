"""Which containers a service could adopt, and as which components. Pure functions.

A container is taken by its label, by its name (``shop-web``, and ``shop``), or because its name is one of these in
another spelling: compose's ``shop_web_1``, ``Shop-web``. It keeps its name until the next deploy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from mcpd.model import Container, Outcome, RecordedService, Result
from monitor.model import Desired
from protos import naming

# docker compose's and podman-compose's labels of the project, and of the service and its instance in it.
_COMPOSE_PROJECTS = ("com.docker.compose.project", "io.podman.compose.project")
_COMPOSE_SERVICE = "com.docker.compose.service"
_COMPOSE_NUMBER = "com.docker.compose.container-number"
# What compose calls the first instance, of mostly one.
_FIRST = "-1"


class Candidate(msgspec.Struct, frozen=True):
    """A container, and the component that it would be."""

    container: Container
    component: str


class _Known(msgspec.Struct, frozen=True):
    """``others`` are the names of other services, ``owners`` who has a container by the registry."""

    service: str
    others: frozenset[str]
    owners: Mapping[str, str]
    managed: frozenset[str]


def candidates_of(
    service: str, containers: Collection[Container], recorded: Collection[RecordedService], defined: Collection[str]
) -> tuple[list[Candidate], list[Outcome]]:
    """The containers to adopt, and those that seem to be meant and are left alone."""
    known = _known(service, containers, recorded, defined)
    found: dict[str, Candidate] = {}
    left: list[Outcome] = []
    spelled_otherwise: dict[str, list[Container]] = {}
    for each in sorted(containers, key=lambda container: (not container.is_active, container.name)):
        name = each.component if each.service == service else _component(each, service)
        if name is None or each.run:
            continue
        # 1. It is somebody's already, or nothing in its name can be a component's.
        if why := _not_free(each, name, known):
            left.append(why)
        elif not naming.is_name(name):
            words = f"{name!r} is not a valid component name: {naming.NAME_RULE}"
            left.append(left_alone(each, f"{words}; {_rename(service, each, containers)} renames it while it runs"))
        # 2. Its name is no more than like a component's: those that are exactly that come first.
        elif each.service != service and each.name not in (service, f"{service}-{name}"):
            spelled_otherwise.setdefault(name, []).append(each)
        # 3. The component has a container.
        elif name in known.managed or name in found:
            left.append(left_alone(each, f"{service}/{name} already has a container"))
        # 4. It is taken.
        else:
            found[name] = Candidate(each, name)
    for name, several in spelled_otherwise.items():
        if name in known.managed or name in found:
            left += [left_alone(each, f"{service}/{name} already has a container") for each in several]
        elif len(several) > 1:
            left += [_ambiguous(service, name, each, several, containers) for each in several]
        else:
            found[name] = Candidate(several[0], name)
    return list(found.values()), left


def _known(
    service: str, containers: Collection[Container], recorded: Collection[RecordedService], defined: Collection[str]
) -> _Known:
    owners = {
        each.container: f"{each.service}/{each.spec.name}"
        for other in recorded
        if other.name != service
        for each in other.components
    }
    others = frozenset({*defined, *(each.name for each in recorded)} - {service})
    ours = next((each for each in recorded if each.name == service), None)
    managed = {name for name in (ours.found_in(containers) if ours else {}) if is_declared(ours, name)}
    return _Known(service, others, owners, frozenset(managed))


def is_declared(service: RecordedService | None, name: str) -> bool:
    component = service.component(name) if service else None
    return component is not None and component.desired is not Desired.IGNORE


def _component(container: Container, service: str) -> str | None:
    """What it would be called as the service's component, by its name; None: it is not meant."""
    spelled, by_compose = _as_name(container.name), _of_compose(container, service)
    rest = container.name.removeprefix(f"{service}-")
    # 1. Its name, unless compose made that up.
    if _is_called_after(container.name, service) and naming.is_name(rest) and not _is_made_up(container):
        return rest
    # 2. Compose's own word for it.
    if by_compose:
        return by_compose
    # 3. Its name, as if it were spelled as ours are. Without the service's name nothing may be left of it.
    if _is_called_after(container.name, service) and not _as_name(rest):
        return rest
    return spelled.removeprefix(f"{service}-").removesuffix(_FIRST) if _is_called_after(spelled, service) else None


def _of_compose(container: Container, service: str) -> str:
    """The compose service, with the number of the instance unless it is the first."""
    if _project(container) != service:
        return ""
    name, number = _as_name(container.labels.get(_COMPOSE_SERVICE, "")), container.labels.get(_COMPOSE_NUMBER, "1")
    return f"{name}-{number}" if name and number != "1" else name


def _is_made_up(container: Container) -> bool:
    """Whether compose gave it its name: project, service, number."""
    words = (_project(container), container.labels.get(_COMPOSE_SERVICE, ""), container.labels.get(_COMPOSE_NUMBER, ""))
    return all(words) and _as_name(container.name) == _as_name("-".join(words))


def _project(container: Container) -> str:
    return next((container.labels[key] for key in _COMPOSE_PROJECTS if key in container.labels), "")


def _not_free(container: Container, component: str, known: _Known) -> Outcome | None:
    """Why it is not adopted: by its label, by the registry, or by the longest service name that it begins with."""
    if container.service == known.service:
        is_managed = component in known.managed
        return Outcome(component, Result.UNCHANGED, f"{container.name} is already managed") if is_managed else None
    if container.service:
        return left_alone(container, f"its label assigns it to {container.service}/{container.component}")
    if container.name in known.owners:
        return left_alone(container, f"the registry assigns it to {known.owners[container.name]}")
    names = (container.name, _as_name(container.name))
    nearer = max((each for each in known.others for name in names if _is_called_after(name, each)), key=len, default="")
    if len(nearer) > len(known.service):
        return left_alone(container, f"it is named after the service {nearer}; `mcpctl adopt {nearer}` adopts it")
    return None


def _ambiguous(
    service: str, name: str, container: Container, several: Iterable[Container], containers: Iterable[Container]
) -> Outcome:
    others = ", ".join(each.name for each in several if each is not container)
    remedy = _rename(service, container, containers)
    return left_alone(container, f"{others} would be {service}/{name}, too; {remedy} renames it while it runs")


def _rename(service: str, container: Container, containers: Iterable[Container]) -> str:
    """The command that gives it a name by which it is adopted."""
    spelled = _as_name(container.name)
    rest = spelled.removeprefix(f"{service}-") if spelled != service else ""
    wanted = f"{service}-{rest}"
    is_free = naming.is_name(rest) and wanted not in {each.name for each in containers}
    return f"`podman rename {container.name} {wanted if is_free else f'{service}-NAME'}`"


def _as_name(text: str) -> str:
    """The nearest that can be a name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _is_called_after(container: str, service: str) -> bool:
    return container == service or container.startswith(f"{service}-")


def left_alone(container: Container, why: str) -> Outcome:
    return Outcome(container.name, Result.SKIPPED, f"left alone: {why}")
