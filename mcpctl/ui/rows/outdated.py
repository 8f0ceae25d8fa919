"""How it is printed what registries have for a component."""

from __future__ import annotations

import msgspec

from protos.mcp import v1


class NewImageRow(msgspec.Struct, frozen=True):
    """A component, its image, and what its registry has.

    ``state``: `current`; `rebuilt`: the registry has another image under the same tag; `newer`: it has newer versions;
    `local`: the image is in no registry; `pinned`: by its digest; `unknown`, for the reason in ``message``.
    ``newest``: the newest version; ``newest_of_major``: the newest with the same first number. ``newer``: newer
    versions, the newest first, 100 at most.
    """

    node: str
    service: str
    component: str
    image: str
    state: str
    newest_of_major: str
    newest: str
    newer: tuple[str, ...]
    message: str


class HeldImage(msgspec.Struct, frozen=True):
    """An image of a node. ``made``: components whose containers were made from it; ``named``: those that name it."""

    id: str
    names: frozenset[str]
    digests: frozenset[str]
    made: frozenset[tuple[str, str]]
    named: frozenset[tuple[str, str]]


def held_images(answer: v1.ListImagesResponse) -> list[HeldImage]:
    return [
        HeldImage(
            id=each.id,
            names=frozenset(each.names),
            digests=frozenset(digest.rpartition("@")[2] for digest in each.digests),
            made=frozenset((user.service, user.component) for user in each.users if user.container),
            named=frozenset((user.service, user.component) for user in each.users if not user.container),
        )
        for each in answer.images
    ]
