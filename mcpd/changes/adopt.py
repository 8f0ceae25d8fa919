"""Adopt (audit E4): containers that run already become components, and are not touched.

What is called ``SERVICE-*``, and a bare ``SERVICE``, is taken; what a label, the registry or a definition gives to
another service is left alone, and named. A container that is made cannot be labelled: the registry keeps what its
labels would say (`mcpd.registry.adoptions`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from mcpd.changes.losses import described
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import ConflictError, NotFoundError
from mcpd.model import Container, Outcome, RecordedService, Result, Step
from mcpd.registry.adoptions import Adopted, Adoptions
from mcpd.runtime.describe import Description
from monitor.model import Desired
from protos import naming
from protos.fingerprint import spec_hash
from protos.spec import Service, examine_service
from protos.validation import plain

# docker compose's and podman-compose's labels of the project, and of the service in it.
_COMPOSE_PROJECTS = ("com.docker.compose.project", "io.podman.compose.project")
_COMPOSE_SERVICE = "com.docker.compose.service"
# Of those that only look as if they were meant, in an error.
_MOST_LISTED = 10


class Candidate(msgspec.Struct, frozen=True):
    """A container, and the component that it would be."""

    container: Container
    component: str


class Adoption(msgspec.Struct, frozen=True):
    """What adopting would do, or has done. ``service`` None: there is nothing to adopt.

    ``declared`` are the spec hashes of the components that are recorded with it, ``present`` every container's id.
    """

    service: Service | None
    adopted: tuple[Adopted, ...]
    outcomes: tuple[Outcome, ...]
    losses: tuple[str, ...]
    declared: Mapping[str, str]
    present: tuple[str, ...]


class Adopt:
    """Adopts one service's containers, as an operation."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._operation = operation

    async def run(self, defined: Collection[str]) -> Adoption:
        """Raises NotFoundError when no container is called after the service, ConflictError when they cannot be."""
        await self._operation.take("", Step.PLAN, "inspecting the node")
        found = await look(self._node, self._operation.target.service, defined)
        if found.service and found.adopted:
            names = ", ".join(each.spec.name for each in found.adopted)
            await self._operation.take("", Step.COMMIT, f"recording {names}")
            adoptions = Adoptions(self._node.registry)
            caller, now = self._operation.caller.name, datetime.now(UTC)
            await adoptions.add(found.service, found.declared, found.adopted, found.present, caller, now)
            self._node.podman.label(await adoptions.labels())
        await self._operation.conclude(*found.outcomes)
        return found


async def look(node: Node, service: str, defined: Collection[str]) -> Adoption:
    """What adopting ``service`` would do. ``defined`` are services that definitions name, on whatever node.

    Raises as `Adopt.run`.
    """
    containers = await node.podman.containers()
    recorded = await node.registry.services()
    candidates, left = candidates_of(service, containers, recorded, defined)
    alike = lookalikes(service, containers, recorded, defined)
    if not candidates and not left:
        raise NotFoundError(_nothing(service, alike, node.name))
    left += alike
    details = {each.container.id: await node.podman.details(each.container.id) for each in candidates}
    descriptions: list[tuple[Candidate, Description]] = []
    for each in candidates:
        found = details[each.container.id]
        # podman-compose puts what it makes into a pod that shares nothing: a name for all of it, and no more.
        if found.rootfs:
            left.append(
                _left(each.container, "it was created from a folder (--rootfs), and a component needs an image")
            )
            continue
        if found.is_infra or (found.pod and await node.podman.shares_namespaces(found.pod)):
            left.append(_left(each.container, "it shares a pod's namespaces, which a definition cannot express"))
            continue
        names = {other.container.id: other.component for other in candidates}
        description = await described(node, each.component, found, names)
        descriptions.append((each, description))
    known = next((each for each in recorded if each.name == service), None)
    return _adoption(node.name, service, known, descriptions, left, [each.id for each in containers])


def candidates_of(
    service: str, containers: Collection[Container], recorded: Collection[RecordedService], defined: Collection[str]
) -> tuple[list[Candidate], list[Outcome]]:
    """The containers to adopt, and those that are called after the service and are left alone."""
    owners = {each.container: each for other in recorded if other.name != service for each in other.components}
    others = {*defined, *(each.name for each in recorded)} - {service}
    ours = next((each for each in recorded if each.name == service), None)
    managed = {name for name, each in (ours.found_in(containers) if ours else {}).items() if _is_declared(ours, name)}
    found: dict[str, Candidate] = {}
    left: list[Outcome] = []
    for each in sorted(containers, key=lambda container: (not container.is_active, container.name)):
        labelled = each.service == service
        if not labelled and not _is_called_after(each.name, service):
            continue
        name = each.component if labelled else each.name.removeprefix(f"{service}-")
        nearer = max((other for other in others if _is_called_after(each.name, other)), key=len, default="")
        # 1. It is another's: by its label, by the registry, or by the longest service name that it begins with.
        if each.service and not labelled:
            left.append(_left(each, f"its label assigns it to {each.service}/{each.component}"))
        elif not labelled and each.name in owners:
            owner = owners[each.name]
            left.append(_left(each, f"the registry assigns it to {owner.service}/{owner.spec.name}"))
        elif not labelled and len(nearer) > len(service):
            left.append(_left(each, f"it is named after the service {nearer}; `mcpctl adopt {nearer}` adopts it"))
        # 2. It is ours already.
        elif labelled and name in managed:
            left.append(Outcome(name, Result.UNCHANGED, f"{each.name} is already managed"))
        # 3. It cannot be: its name is taken, or none.
        elif name in managed or name in found:
            left.append(_left(each, f"{service}/{name} already has a container"))
        elif not naming.is_name(name):
            why = f"{name!r} is not a valid component name: {naming.NAME_RULE}"
            left.append(_left(each, f"{why}; {_rename(service, each, containers)} renames it while it runs"))
        # 4. It is taken.
        else:
            found[name] = Candidate(each, name)
    return list(found.values()), left


def lookalikes(
    service: str, containers: Collection[Container], recorded: Collection[RecordedService], defined: Collection[str]
) -> list[Outcome]:
    """Those that nobody has and that seem to be meant: compose's ``shop_web_1``, ``Shop-web``; with what mends it."""
    owned = {each.container for other in recorded for each in other.components}
    others = {*defined, *(each.name for each in recorded)} - {service}
    found = []
    for each in sorted(containers, key=lambda container: container.name):
        name = _as_name(each.name)
        is_free = not each.service and each.name not in owned and not _is_called_after(each.name, service)
        is_nearer = any(len(other) > len(service) and _is_called_after(name, other) for other in others)
        if is_free and not is_nearer and (_is_called_after(name, service) or _project(each) == service):
            remedy = _rename(service, each, containers)
            found.append(_left(each, f"it is not called {service}-NAME; {remedy} renames it while it runs"))
    return found


def _project(container: Container) -> str:
    return next((container.labels[key] for key in _COMPOSE_PROJECTS if key in container.labels), "")


def _as_name(text: str) -> str:
    """The nearest that can be a name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _rename(service: str, container: Container, containers: Iterable[Container]) -> str:
    """The command that gives it a name by which it is adopted. The first of compose's instances needs no number."""
    rest = _as_name(container.labels.get(_COMPOSE_SERVICE, "") or _as_name(container.name).removeprefix(f"{service}-"))
    taken = {each.name for each in containers}
    wanted = (f"{service}-{name}" for name in (rest.removesuffix("-1"), rest) if naming.is_name(name))
    return f"`podman rename {container.name} {next((each for each in wanted if each not in taken), f'{service}-NAME')}`"


def _is_called_after(container: str, service: str) -> bool:
    return container == service or container.startswith(f"{service}-")


def _is_declared(service: RecordedService | None, name: str) -> bool:
    component = service.component(name) if service else None
    return component is not None and component.desired is not Desired.IGNORE


def _left(container: Container, why: str) -> Outcome:
    return Outcome(container.name, Result.SKIPPED, f"left alone: {why}")


def _adoption(
    node: str,
    name: str,
    known: RecordedService | None,
    described: Sequence[tuple[Candidate, Description]],
    left: Sequence[Outcome],
    present: Sequence[str],
) -> Adoption:
    """What is recorded. What is declared already stays declared as it is; that it runs otherwise is then drift."""
    runs = known.active if known else any(each.container.is_active for each, _ in described)
    specs = (
        {each.spec.name: each.spec for each in known.components if _is_declared(known, each.spec.name)} if known else {}
    )
    kept = frozenset(specs)
    adopted, outcomes, losses = [], [], []
    for candidate, description in described:
        container = candidate.container
        spec = msgspec.structs.replace(description.component, active=container.is_active or not runs)
        specs.setdefault(spec.name, spec)
        adopted.append(Adopted(container.id, name, spec, spec_hash(spec)))
        losses += [f"{name}/{spec.name}: {each}" for each in (*description.losses, *description.notes)]
        words = f"{container.name}, {container.state}, {spec.version}"
        if specs[spec.name] is not spec and spec_hash(specs[spec.name]) != spec_hash(spec):
            words += "; it was created with settings other than those declared; a deploy would change them"
        outcomes.append(Outcome(spec.name, Result.ADOPTED, words))
    if not adopted:
        return Adoption(None, (), tuple(left), (), {}, tuple(present))
    service = Service(name, node, tuple(specs.values()), runs)
    _check(service)
    if bare := next((each for each, _ in described if each.container.name == name), None):
        later = service.container(bare.component)
        losses += [f"{name}/{bare.component}: the name {name}; the next deploy calls it {later}"] * (later != name)
    declared = {each.spec.name: each.spec_hash for each in adopted if each.spec.name not in kept}
    return Adoption(service, tuple(adopted), (*outcomes, *left), tuple(losses), declared, tuple(present))


def _check(service: Service) -> None:
    """Raises ConflictError when the components cannot be declared together: two that publish one port, say."""
    _, problems = examine_service(plain(service))
    if problems:
        raise ConflictError("; ".join(f"{service.name}: {problem}" for problem in problems))


def _nothing(service: str, alike: Sequence[Outcome], node: str) -> str:
    words = f"no container on {node} is called {service} or {service}-*"
    if not alike:
        return words
    more = len(alike) - _MOST_LISTED
    several = [f"{each.component} was {each.message}" for each in alike[:_MOST_LISTED]]
    return "\n  ".join([f"{words}, but:", *several, *([f"and {more} more"] if more > 0 else [])])
