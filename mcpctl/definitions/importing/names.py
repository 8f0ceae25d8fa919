"""What things are called: by compose, and here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.environment import Source
from protos import naming

# docs.docker.com/compose/how-tos/project-name: it comes before the file's own.
_PROJECT_NAME = "COMPOSE_PROJECT_NAME"
# Docker's registry, which a name without one means there; podman asks, or refuses.
_DOCKER = "docker.io"
_ALSO_DOCKER = ("index.docker.io", _DOCKER)
_DOCKER_OWN = "library"
# An image by its id.
_ID = re.compile(r"[0-9a-f]{64}")


class Names(msgspec.Struct, frozen=True):
    """``project`` is compose's name for the file, ``service`` ours; ``components`` are ours by the file's keys."""

    project: str
    service: str
    components: Mapping[str, str]

    def container(self, key: str) -> str:
        return naming.container_name(self.service, self.components[key], self.components.values())


def project_name(document: Mapping[str, Any], source: Source) -> str:
    """That of the environment, else the file's own, else its folder's as compose makes a project's of it."""
    folder = source.folder
    given = source.environment.get(_PROJECT_NAME) or document.get("name")
    return str(given or re.sub(r"[^a-z0-9_-]", "", folder.name.lower()).lstrip("_-") or "compose")


def our_name(name: str, path: str, report: Diagnostics) -> str:
    """A name as it is allowed here; unchanged where none can be made of it, for the definition's rules to refuse."""
    if naming.is_name(name):
        return name
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    if naming.is_name(made):
        report.lost(path, f"{name!r} is not a valid name ({naming.NAME_RULE}): renamed {made}")
        return made
    return name


def full_image(reference: str) -> str:
    """With the registry that Docker takes for a name without one: ``redis`` is ``docker.io/library/redis``.

    The first part of a name is a registry when it has a dot or a port, or is ``localhost`` (the distribution project's
    reference package, which also knows that no part but a registry has upper-case letters).
    """
    if not reference or _ID.fullmatch(reference):
        return reference
    first, slash, rest = reference.partition("/")
    is_registry = bool(slash) and (
        first == "localhost" or first != first.lower() or any(each in first for each in ".:")
    )
    if is_registry and first not in _ALSO_DOCKER:
        return reference
    name = rest if is_registry else reference
    return f"{_DOCKER}/{name}" if "/" in name else f"{_DOCKER}/{_DOCKER_OWN}/{name}"
