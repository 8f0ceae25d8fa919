"""How images are printed, and what was done to them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos import naming
from protos.mcp import v1


class ImageUserRow(msgspec.Struct, frozen=True):
    """Who uses an image: a component, or with an empty ``service`` a container that is no component's.

    ``container`` was made from the image; empty: there is none, the component only names it. ``running``: whether that
    container runs.
    """

    service: str
    component: str
    container: str
    running: bool


class ImageRow(msgspec.Struct, frozen=True):
    """``names`` is empty for one that lost its last one; ``size`` in bytes. ``digests``: NAME@sha256:..., as podman
    knows it from registries.
    """

    node: str
    names: tuple[str, ...]
    id: str
    size: int
    created_at: datetime | None
    digests: tuple[str, ...]
    users: tuple[ImageUserRow, ...]


class PrunedImageRow(msgspec.Struct, frozen=True):
    """``names`` is empty for one that lost its last one; ``size`` in bytes. ``removed``: it is, or would be, gone."""

    names: tuple[str, ...]
    id: str
    size: int
    created_at: datetime | None
    removed: bool
    reason: str


class PruneRow(msgspec.Struct, frozen=True):
    """What pruning did, or with ``dry_run`` would do; ``bytes`` of what is gone, less where images share layers."""

    node: str
    dry_run: bool
    images: tuple[PrunedImageRow, ...]
    bytes: int


class ImagePushRow(msgspec.Struct, frozen=True):
    """An image that is on ``node`` now, as ``reference``. ``id``: of its configuration, hexadecimal digits.

    ``sent_bytes``: of layers, as they went over the wire; ``present_bytes``: of those that the node had;
    ``total_bytes``: of all of them. ``seconds``: that it took.
    """

    node: str
    reference: str
    id: str
    sent_bytes: int
    present_bytes: int
    total_bytes: int
    seconds: float


def image_rows(node: str, answer: v1.ListImagesResponse) -> list[ImageRow]:
    """By repository, the newest of each first; those without a name come last."""
    rows = [
        ImageRow(
            node=node,
            names=tuple(each.names),
            id=each.id,
            size=each.size,
            created_at=instant(each.created_at),
            digests=tuple(each.digests),
            users=tuple(
                ImageUserRow(user.service, user.component, user.container, user.running) for user in each.users
            ),
        )
        for each in sorted(answer.images, key=lambda each: each.created_at, reverse=True)
    ]
    return sorted(rows, key=lambda row: (not row.names, [naming.repository_of(each) for each in row.names[:1]]))


def prune_row(node: str, answer: v1.PruneImagesResponse, *, dry_run: bool) -> PruneRow:
    images = tuple(
        PrunedImageRow(tuple(each.names), each.id, each.size, instant(each.created_at), each.removed, each.reason)
        for each in answer.images
    )
    return PruneRow(node, dry_run, images, answer.bytes)
