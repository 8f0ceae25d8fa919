"""What things are called: by compose, and here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from mcpctl.definitions.importing.diagnostics import Diagnostics
from protos import naming

# docs.docker.com/compose/how-tos/project-name: it comes before the file's own.
_PROJECT_NAME = "COMPOSE_PROJECT_NAME"
# Docker's registry, which a name without one means there; podman asks, or refuses.
_DOCKER = "docker.io"
_ALSO_DOCKER = ("index.docker.io", "registry-1.docker.io", _DOCKER)
_DOCKER_OWN = "library"
_LOCAL = "localhost"
# An image by its id.
_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")
_LONGEST = 63


class Names(msgspec.Struct, frozen=True):
    """``project`` is compose's name for the file, ``service`` ours; ``components`` are ours by the file's keys."""

    project: str
    service: str
    components: Mapping[str, str]
    node: str

    def container(self, key: str) -> str:
        return naming.container_name(self.service, self.components[key], self.components.values())

    @property
    def own_network(self) -> str:
        return naming.own_network(self.service)


def project_name(said: str, environment: Mapping[str, str], folder: Path) -> str:
    """That of the environment, else the file's own (``said``), else its folder's, each as compose makes one of it."""
    for name in (environment.get(_PROJECT_NAME, ""), said, folder.name):
        if made := re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-"):
            return made
    return "compose"


def service_name(project: str, report: Diagnostics) -> str:
    made = _made(project) or "compose"
    if made != project:
        report.changed("name", f"{project!r} is not a name here ({naming.NAME_RULE}); the service is called {made}")
    return made


def components(keys: Iterable[str], report: Diagnostics) -> dict[str, str]:
    """Names of ours by the file's, each once."""
    made: dict[str, str] = {}
    keys = list(keys)
    # Whoever has a name that is allowed keeps it.
    taken = {each for each in keys if naming.is_name(each)}
    for position, key in enumerate(keys, start=1):
        if key in taken:
            made[key] = key
            continue
        name = _made(key) or f"component-{position}"
        number = 2
        while name in taken:
            name = f"{(_made(key) or 'component')[: _LONGEST - 4]}-{number}"
            number += 1
        taken.add(name)
        made[key] = name
        report.changed(
            f"services.{key}", f"is called {name} ({naming.NAME_RULE}); others still reach it as {key}, an alias"
        )
    return made


def _made(name: str) -> str:
    """A name that is allowed; "" where none can be made of it."""
    made = name if naming.is_name(name) else re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].rstrip("-")
    return made if naming.is_name(made) else ""


def full_image(reference: str) -> str:
    """With the registry that Docker takes for a name without one: ``redis`` is ``docker.io/library/redis``.

    The first part of a name is a registry when it has a dot or a port, or is ``localhost`` (the distribution project's
    reference package, which also knows that no part but a registry has upper-case letters).
    """
    if not reference or _ID.fullmatch(reference):
        return reference
    first, slash, rest = reference.partition("/")
    is_registry = bool(slash) and (first == _LOCAL or first != first.lower() or any(each in first for each in ".:"))
    if is_registry and first not in _ALSO_DOCKER:
        return reference
    name = rest if is_registry else reference
    return f"{_DOCKER}/{name}" if "/" in name else f"{_DOCKER}/{_DOCKER_OWN}/{name}"


def built_image(reference: str) -> str:
    """Of an image that is built: one word is hardly that of an official image of Docker's.

    With a tag, as compose gives it: `mcpctl build` demands one.
    """
    full = full_image(reference) if "/" in reference else f"{_LOCAL}/{reference}"
    return full if ":" in full.rpartition("/")[2] else f"{full}:latest"
