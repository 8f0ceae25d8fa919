"""The RPCs of images: which there are, and who uses them; removing those that nobody needs."""

from __future__ import annotations

from collections.abc import Collection

from mcpd.changes.images import inventory, prune
from mcpd.changes.images.inventory import ImageView, User
from mcpd.changes.images.prune import DEFAULT_KEEP, Fate
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.errors import InvalidRequestError
from mcpd.model import Caller
from mcpd.rpc.methods import Method
from mcpd.runtime.api_types import Image
from protos import grammar
from protos.mcp import v1 as wire

# Podman may be asked about each; far more than a fleet's definitions name.
_MAX_REFERENCES = 1000


class ImageMethods:
    def __init__(self, node: Node, operations: Operations) -> None:
        self._node = node
        self._operations = operations

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListImages": self.list_images, "PruneImages": self.prune_images}

    async def list_images(self, request: wire.ListImagesRequest, caller: Caller) -> wire.ListImagesResponse:
        found = await inventory.views(self._node, _references(request.references))
        return wire.ListImagesResponse(images=[_listed(each) for each in found])

    async def prune_images(self, request: wire.PruneImagesRequest, caller: Caller) -> wire.PruneImagesResponse:
        keep = DEFAULT_KEEP if request.keep is None else request.keep
        fates = await prune.prune(self._node, self._operations, caller, keep=keep, dry_run=request.dry_run)
        return wire.PruneImagesResponse(
            images=[_judged(each) for each in fates],
            bytes=sum(each.image.size for each in fates if each.removed),
        )


def _references(texts: Collection[str]) -> frozenset[str]:
    """Raises InvalidRequestError."""
    if len(texts) > _MAX_REFERENCES:
        raise InvalidRequestError(f"{len(texts)} references are too many: {_MAX_REFERENCES} at most")
    try:
        return frozenset(map(grammar.image, texts))
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None


def _listed(view: ImageView) -> wire.ImageInfo:
    info = _image_info(view.image)
    info.users = [_user(each) for each in view.users]
    return info


def _judged(fate: Fate) -> wire.ImageInfo:
    info = _image_info(fate.image)
    info.removed, info.reason = fate.removed, fate.reason
    return info


def _image_info(image: Image) -> wire.ImageInfo:
    return wire.ImageInfo(
        id=image.id,
        names=list(image.names),
        size=image.size,
        created_at=image.created_at,
        digests=list(image.digests),
    )


def _user(user: User) -> wire.ImageUser:
    return wire.ImageUser(user.service, user.component, user.container, user.is_running)
