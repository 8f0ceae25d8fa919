"""Which of an image's platforms runs on a machine (OCI image-spec, image-index.md and config.md)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

# From the one that has most: a processor runs what is for it, and what is behind that here.
_VARIANTS = {"arm": ("v8", "v7", "v6", "v5"), "arm64": ("v8",)}
# What is meant where none is said.
_USUAL_VARIANT = {"arm64": "v8", "amd64": "v1"}


class Platform(msgspec.Struct, frozen=True):
    """As a configuration says it: linux, amd64, and of arm v7. Empty: it does not say."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os or "?", self.architecture or "?", self.variant)))


def parse(text: str) -> Platform:
    """``OS/ARCH[/VARIANT]``, which was checked before."""
    os, architecture, *variant = text.split("/")
    return Platform(os, architecture, *variant)


def runs(image: Platform, machine: Platform) -> bool:
    """Whether ``image`` is for ``machine``. What one of them does not say may be anything."""
    if image.os and machine.os and image.os != machine.os:
        return False
    if image.architecture and machine.architecture and image.architecture != machine.architecture:
        return False
    return image.variant == "" or image.variant in _acceptable(machine)


def best(offered: Sequence[Platform], machine: Platform) -> int | None:
    """The position of the one that ``machine`` runs best; None: it runs none. The first of several that are equal.

    podman on the machine chooses by the same rule (containers/image, its `platform` package).
    """
    for variant in _acceptable(machine):
        for position, each in enumerate(offered):
            if (each.os, each.architecture, each.variant) == (machine.os, machine.architecture, variant):
                return position
    return None


def _acceptable(machine: Platform) -> list[str]:
    """The variants that it runs, the best one first."""
    known = _VARIANTS.get(machine.architecture, ())
    usual = _USUAL_VARIANT.get(machine.architecture, "")
    if not machine.variant:
        found = ["", *known, usual]
    elif machine.variant in known:
        found = [*known[known.index(machine.variant) :], "", usual]
    else:
        found = [machine.variant, "", usual]
    return list(dict.fromkeys(found))
