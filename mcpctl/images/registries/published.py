"""Whether a registry has a tag already, and whether what it has is the image that is here."""

from __future__ import annotations

from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.registry import Registries

# Of images for several platforms; what has more is not what was built here.
_MAX_IMAGES = 32


async def ids(reference: Reference) -> frozenset[str] | None:
    """The ids of the images that the tag names in its registry, without their algorithm; None: there is no such tag.

    Several where it names one for each platform. Raises RegistryError, UsageError.
    """
    async with Registries() as registries:
        found = await registries.manifest(reference)
        if found is None:
            return None
        if found.config:
            return frozenset({_plain(found.config)})
        named = [
            await registries.manifest(Reference(reference.registry, reference.repository, digest=each))
            for each in found.images[:_MAX_IMAGES]
        ]
        return frozenset(_plain(each.config) for each in named if each and each.config)


def _plain(digest: str) -> str:
    return digest.removeprefix("sha256:")
