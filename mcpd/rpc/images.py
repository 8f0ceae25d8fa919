"""The RPC that removes images."""

from __future__ import annotations

from mcpd.changes import images
from mcpd.changes.images import DEFAULT_KEEP, Fate
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.model import Caller
from mcpd.rpc.methods import Method
from protos.mcp import v1 as wire


class ImageMethods:
    def __init__(self, node: Node, operations: Operations) -> None:
        self._node = node
        self._operations = operations

    @property
    def methods(self) -> dict[str, Method]:
        return {"PruneImages": self.prune_images}

    async def prune_images(self, request: wire.PruneImagesRequest, caller: Caller) -> wire.PruneImagesResponse:
        keep = DEFAULT_KEEP if request.keep is None else request.keep
        fates = await images.prune(self._node, self._operations, caller, keep=keep, dry_run=request.dry_run)
        return wire.PruneImagesResponse(
            images=[_image_info(each) for each in fates],
            bytes=sum(each.image.size for each in fates if each.removed),
        )


def _image_info(fate: Fate) -> wire.ImageInfo:
    image = fate.image
    return wire.ImageInfo(
        id=image.id,
        names=list(image.names),
        size=image.size,
        created_at=image.created_at,
        removed=fate.removed,
        reason=fate.reason,
    )
