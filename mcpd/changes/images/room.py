"""Whether a node's disks have room for an image that is about to come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mcpd.changes.images.prune import size

_OTHER_PLACE = "make room there, or set TMPDIR in the environment of mcpd and restart it (docs/images.md)"


class Need(NamedTuple):
    """So many bytes in a folder, and what for. ``has_images``: what is pruned makes room there."""

    folder: Path
    bytes: int
    purpose: str
    has_images: bool = False


def shortage(needs: Iterable[Need], node: str) -> str:
    """Why they do not fit, with what helps; empty when they do. What cannot be looked at is taken to fit."""
    by_filesystem: dict[int, list[Need]] = {}
    free_on: dict[int, int] = {}
    for each in needs:
        try:
            filesystem, found = each.folder.stat().st_dev, os.statvfs(each.folder)
        except OSError:
            continue  # of a podman in a container, or a folder that it has yet to make
        by_filesystem.setdefault(filesystem, []).append(each)
        free_on[filesystem] = found.f_bavail * found.f_frsize
    for filesystem, together in by_filesystem.items():
        free, needed = free_on[filesystem], sum(each.bytes for each in together)
        if free < needed:
            places = " and ".join(f"{each.folder} ({size(each.bytes)}, {each.purpose})" for each in together)
            has_images = any(each.has_images for each in together)
            prune = f"`mcpctl image prune --node {node}` removes images that nothing uses"
            return (
                f"the image does not fit: on {node}, {size(free)} are free where {size(needed)} are needed, for "
                f"{places}; {prune if has_images else _OTHER_PLACE}"
            )
    return ""
