"""The program on this machine that has images, and makes them: podman, buildah or docker."""

from __future__ import annotations

import shutil
from enum import StrEnum

import msgspec

from mcpctl.errors import CliError, UsageError


class Kind(StrEnum):
    """In the order in which they are looked for."""

    PODMAN = "podman"
    BUILDAH = "buildah"
    DOCKER = "docker"


class Engine(msgspec.Struct, frozen=True):
    """A program that is there. ``path``: where, as ``PATH`` has it."""

    kind: Kind
    path: str

    @property
    def name(self) -> str:
        """What a person types."""
        return self.kind.value


def find(wanted: str | None) -> Engine:
    """The one that is ``wanted``; None: the first one that is installed.

    Raises UsageError for a name that is none of them, CliError when there is no such program.
    """
    if wanted is None:
        kinds = list(Kind)
    elif wanted in [*Kind]:
        kinds = [Kind(wanted)]
    else:
        raise UsageError(f"{wanted!r} is not {_either(list(Kind))}")
    for kind in kinds:
        if path := shutil.which(kind):
            return Engine(kind, path)
    if wanted is not None:
        raise CliError(f"{wanted} is not installed: it is not in PATH; install it, or use another of {_both(Kind)}")
    raise CliError(f"none of {_both(Kind)} is installed: install one of them, podman say, as your system's package")


def _either(kinds: list[Kind]) -> str:
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _both(kinds: type[Kind]) -> str:
    names = list(kinds)
    return f"{', '.join(names[:-1])} and {names[-1]}"
