"""The name that a node gives an image: as podman writes it, whole."""

from __future__ import annotations

from collections.abc import Iterable

from mcpctl.errors import UsageError
from protos import naming

_DEFAULT_TAG = "latest"


def whole(image: str, known: Iterable[str] = ()) -> str:
    """REGISTRY/NAME:TAG[@DIGEST] for what a definition says. ``known``: the names that the image has where it is now.

    Raises UsageError for a digest without a tag: that leaves no name to give.
    """
    name, at, digest = image.partition("@")
    if at and ":" not in name.rpartition("/")[2]:
        raise UsageError(
            f"{image} has a digest and no tag, so a node has no name to keep a pushed image by; say {name}:TAG@{digest}"
        )
    tagged = _tagged(name)
    if not _has_registry(tagged):
        tagged = next(
            (each for each in known if each.endswith(f"/{tagged}") and _has_registry(each)), f"{naming.LOCAL}{tagged}"
        )
    return tagged + at + digest


def is_local(image: str) -> bool:
    """Whether its name says that it is no registry's."""
    return image.startswith(naming.LOCAL)


def without_digest(reference: str) -> str:
    return reference.partition("@")[0]


def is_same(name: str, reference: str) -> bool:
    """Whether an archive that calls an image ``name`` means ``reference``, which is whole."""
    if "/" not in name and reference.endswith(f":{name}"):
        # The tag alone, as a layout may have it.
        return True
    found = _tagged(name)
    return found == reference or (not _has_registry(found) and reference.endswith(f"/{found}"))


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:{_DEFAULT_TAG}"


def _has_registry(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return name.startswith(naming.LOCAL) or (bool(slash) and ("." in first or ":" in first))


def check_buildable(image: str, subject: str) -> None:
    """Raises UsageError for a reference that names nothing that can be built."""
    name, _, digest = image.partition("@")
    if digest:
        raise UsageError(f"{subject}: {image} has a digest, which only the built image has: write image = {name!r}")
    if ":" not in name.rpartition("/")[2]:
        raise UsageError(f"{subject}: {image} has no tag, so that nobody knows which one runs: write {image}:1.0, say")
    if not _has_registry(name):
        raise UsageError(
            f"{subject}: {image} names no registry: write {naming.LOCAL}{image} for an image that is brought to the "
            f"node, or the registry's name, as in docker.io/{image if '/' in name else f'USER/{image}'}"
        )
