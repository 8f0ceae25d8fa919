"""Images: finds those that nothing needs, and removes them. Nothing here runs unless an operator asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

import msgspec
import trio

from mcpd.changes.images import inventory
from mcpd.changes.images.inventory import ImageView, User
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.errors import BusyError, McpdError, RefusedError, UnavailableError
from mcpd.model import Caller, Target
from mcpd.runtime.api import NoSuchError
from mcpd.runtime.api_types import Image
from protos.naming import repository_of

# As many of a repository's images as a node keeps when nobody says how many: the present one, and two ways back.
DEFAULT_KEEP = 3


class Fate(msgspec.Struct, frozen=True):
    """What becomes of an image: whether it goes, or would, and why."""

    image: Image
    removed: bool
    reason: str


class _StoppedError(Exception):
    """No image can be removed any more, for the reason that it says."""


async def prune(node: Node, operations: Operations, caller: Caller, *, keep: int, dry_run: bool) -> tuple[Fate, ...]:
    """Removes what `decide` lets go, and tells what became of every image; ``dry_run`` changes nothing.

    It touches no service, and is no operation. But operations wait while one image is being removed, and when one has
    come between, no more images are: what a deploy has just found, or pulled, stays. What has appeared since the images
    were listed is not known here, and stays as well.

    Raises BusyError while an operation runs, UnavailableError when podman does not answer.
    """
    if dry_run:
        return await survey(node, keep)
    with operations.standstill() as changes:
        fates = list(await survey(node, keep))
    gone: list[Image] = []
    stopped = ""
    try:
        for index, fate in enumerate(fates):
            if not fate.removed:
                continue
            await trio.lowlevel.checkpoint()
            why_not = stopped
            try:
                why_not = why_not or await _remove(node, operations, fate.image, changes)
            except _StoppedError as error:
                why_not = stopped = str(error)
            if why_not:
                fates[index] = _kept(fate.image, why_not)
            else:
                gone.append(fate.image)
    finally:
        # What is gone is told, even when whoever asked for it has hung up meanwhile.
        if gone:
            with trio.CancelScope(shield=True):
                words = f"{len(gone)} images that nothing used, {size(sum(each.size for each in gone))}"
                await node.registry.add_event("", "", "pruned", words, caller.name, datetime.now(UTC))
    return tuple(fates)


async def survey(node: Node, keep: int) -> tuple[Fate, ...]:
    """What would become of each image. Raises UnavailableError when podman does not answer."""
    return decide(await inventory.views(node), keep)


async def _remove(node: Node, operations: Operations, image: Image, changes: int) -> str:
    """Why the image stays after all, in podman's words; empty when it is gone. Raises _StoppedError."""
    try:
        # Not cut off in the middle: podman would go on, and an operation would be let in while it does.
        with trio.CancelScope(shield=True), operations.standstill() as changes_now:
            if changes_now != changes:
                raise _StoppedError("the node changed after its images were listed; prune again")
            await _remove_names(node, image)
    except (BusyError, UnavailableError) as error:
        raise _StoppedError(str(error)) from None
    except NoSuchError:
        return ""  # somebody else has removed it
    except McpdError as error:
        return str(error)
    return ""


async def _remove_names(node: Node, image: Image) -> None:
    """Takes all names from the image, and so the image away. Raises PodmanError."""
    for name in image.names:
        # It may have gone to an image that was pulled or built beside us since the listing.
        if await node.podman.image_id(name) == image.id:
            await node.podman.remove_image(name)
    if not image.names:
        if any(each.id == image.id and each.names for each in await node.podman.images()):
            raise RefusedError("it was given a name after the images were listed, as by a push")
        await node.podman.remove_image(image.id)


def decide(found: Collection[ImageView], keep: int) -> tuple[Fate, ...]:
    """What becomes of each image."""
    newest = _newest([each.image for each in found], keep)
    return tuple(_judge(each, newest, keep) for each in found)


def _judge(view: ImageView, newest: Mapping[str, str], keep: int) -> Fate:
    image = view.image
    # 1. Somebody uses it, running or not, ours or not.
    if view.users:
        return _kept(image, f"used by {_words(view.users[0])}")
    # 2. Somebody is about to use it.
    if view.is_coming:
        return _kept(image, "it is being pushed")
    # 3. It is of a store that is not ours to change.
    if image.is_read_only:
        return _kept(image, "in a read-only store")
    # 4. It is a way back.
    if repository := newest.get(image.id):
        return _kept(image, f"one of the newest {keep} of {repository}")
    # 5. Nothing can name it.
    if not image.names:
        return Fate(image, removed=True, reason="nothing uses it, and it has no name")
    return Fate(image, removed=True, reason="nothing uses it" + (f", and {keep} are newer" if keep else ""))


def _kept(image: Image, reason: str) -> Fate:
    return Fate(image, removed=False, reason=reason)


def _words(user: User) -> str:
    if not user.service:
        return f"container {user.container}"
    end = "" if user.is_declared else ", which is no longer declared"
    return f"{Target(user.service, user.component)}{end}"


def _newest(images: Iterable[Image], keep: int) -> dict[str, str]:
    """The ids of the newest ``keep`` images of each repository, with that repository."""
    by_repository: dict[str, list[Image]] = {}
    for image in sorted(images, key=lambda each: (each.created_at, each.id), reverse=True):
        for repository in sorted({repository_of(name) for name in image.names}):
            by_repository.setdefault(repository, []).append(image)
    return {each.id: repository for repository, found in by_repository.items() for each in found[:keep]}


def size(count: int) -> str:
    """Bytes, as people read them."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"
