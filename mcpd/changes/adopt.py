"""Adopt (audit E4): containers that run already become components, and are not touched.

What is called after the service is taken (`mcpd.changes.adoptable`); what a label, the registry or a definition gives
to another service is left alone, and named. A container that is made cannot be labelled: the registry keeps what its
labels would say (`mcpd.registry.adoptions`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from mcpd.changes.adoptable import Candidate, candidates_of, is_declared, left_alone
from mcpd.changes.losses import described
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import ConflictError, NotFoundError
from mcpd.model import Outcome, RecordedService, Result, Step
from mcpd.registry.adoptions import Adopted, Adoptions
from mcpd.runtime.describe import Description
from protos.fingerprint import spec_hash
from protos.spec import Service, examine_service
from protos.validation import plain


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
    if not candidates and not left:
        raise NotFoundError(f"no container on {node.name} is called {service} or {service}-*")
    details = {each.container.id: await node.podman.details(each.container.id) for each in candidates}
    descriptions: list[tuple[Candidate, Description]] = []
    for each in candidates:
        found = details[each.container.id]
        # podman-compose puts what it makes into a pod that shares nothing: a name for all of it, and no more.
        if found.rootfs:
            left.append(
                left_alone(each.container, "it was created from a folder (--rootfs), and a component needs an image")
            )
            continue
        if found.is_infra or (found.pod and await node.podman.shares_namespaces(found.pod)):
            left.append(left_alone(each.container, "it shares a pod's namespaces, which a definition cannot express"))
            continue
        names = {other.container.id: other.component for other in candidates}
        description = await described(node, each.component, found, names)
        descriptions.append((each, description))
    known = next((each for each in recorded if each.name == service), None)
    return _adoption(node.name, service, known, descriptions, left, [each.id for each in containers])


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
        {each.spec.name: each.spec for each in known.components if is_declared(known, each.spec.name)} if known else {}
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
    parts = (known.volumes, known.networks) if known else ()
    service = Service(name, node, tuple(specs.values()), runs, *parts)
    _check(service)
    for each, _ in described:
        here, later = each.container.name, service.container(each.component)
        losses += [f"{name}/{each.component}: the name {here}; the next deploy calls it {later}"] * (later != here)
    declared = {each.spec.name: each.spec_hash for each in adopted if each.spec.name not in kept}
    return Adoption(service, tuple(adopted), (*outcomes, *left), tuple(losses), declared, tuple(present))


def _check(service: Service) -> None:
    """Raises ConflictError when the components cannot be declared together: two that publish one port, say."""
    _, problems = examine_service(plain(service))
    if problems:
        raise ConflictError("; ".join(f"{service.name}: {problem}" for problem in problems))
