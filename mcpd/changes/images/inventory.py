"""The images of a node, and who uses each: one place decides it, for those who list images and for `prune`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from mcpd.changes.images import endpoint
from mcpd.changes.node import Node
from mcpd.model import Container, RecordedService
from mcpd.runtime.api_types import Image
from monitor.model import Desired


class User(msgspec.Struct, frozen=True):
    """Who uses an image: a component, or with no ``service`` a container that is none's.

    ``container`` is the one that was made from the image; empty: the component only names it. ``is_running``: that
    container has a process, or will have one without anybody asking. ``is_declared``: the component still is.
    """

    service: str
    component: str
    container: str
    is_running: bool
    is_declared: bool = True


class ImageView(msgspec.Struct, frozen=True):
    """An image, and who uses it. ``is_coming``: a push brings it, and is about to give it its name.

    The name that it has until then is left out of ``image``: it leads to the endpoint that podman pulls it from.
    """

    image: Image
    users: tuple[User, ...]
    is_coming: bool = False


async def views(node: Node, wanted: Collection[str] = ()) -> tuple[ImageView, ...]:
    """Every image of the node, oldest first, or those that the references ``wanted`` name there.

    A reference is what podman makes of it: a short name is the image that it finds by it. Raises UnavailableError when
    podman does not answer.
    """
    # First, so that who uses an image is looked for after it.
    images = await node.podman.images()
    asked_for = set((await _ids(node, images, wanted)).values())
    services = await node.registry.services()
    ids = await _ids(node, images, references(services))
    found = joined(images, await node.podman.containers(), services, ids)
    return tuple(each for each in found if not wanted or each.image.id in asked_for)


def references(services: Iterable[RecordedService]) -> frozenset[str]:
    """Every image that a recorded component names, or that its container was made from."""
    return frozenset(spec.image for service in services for each in service.components for spec in each.specs)


def joined(
    images: Iterable[Image],
    containers: Collection[Container],
    services: Iterable[RecordedService],
    ids: Mapping[str, str | None],
) -> tuple[ImageView, ...]:
    """Each image with its users; ``ids`` are those of the images that the services' references name on this node."""
    used: dict[str, list[User]] = {}
    for image_id, user in _users(containers, services, ids):
        used.setdefault(image_id, []).append(user)
    return tuple(_view(each, used.get(each.id, ())) for each in images)


def _view(image: Image, users: Iterable[User]) -> ImageView:
    names, digests = _lasting(image.names), _lasting(image.digests)
    lasting = msgspec.structs.replace(image, names=names, digests=digests)
    return ImageView(lasting, tuple(users), is_coming=names != image.names)


def _lasting(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in names if endpoint.redacted(each) == each)


def _users(
    containers: Collection[Container], services: Iterable[RecordedService], ids: Mapping[str, str | None]
) -> Iterator[tuple[str, User]]:
    """The images that are used, each with one of its users: components by name, then containers."""
    of_components: set[str] = set()
    for service in services:
        made = service.found_in(containers)
        for each in service.components:
            container = made.get(each.spec.name)
            its_image = container.image_id if container else ""
            if container:
                of_components.add(container.id)
            named = (ids.get(spec.image) for spec in each.specs)
            for image_id in dict.fromkeys(filter(None, (*named, its_image))):
                of_it = container if image_id == its_image else None
                yield (
                    image_id,
                    User(
                        service=service.name,
                        component=each.spec.name,
                        container=of_it.name if of_it else "",
                        is_running=of_it is not None and of_it.is_active,
                        is_declared=each.desired is not Desired.IGNORE,
                    ),
                )
    for other in containers:
        if other.id not in of_components:
            yield other.image_id, User("", "", other.name, other.is_active)


async def _ids(node: Node, images: Iterable[Image], wanted: Iterable[str]) -> dict[str, str | None]:
    """The ids of the images that references name on the node; podman is asked about those that it does not list."""
    names = [(name, image.id) for image in images for name in image.names]
    # A name may be there twice, in a store that is not ours to change (containers-storage.conf(5)).
    times = Counter(name for name, _ in names)
    listed = {name: image_id for name, image_id in names if times[name] == 1}
    return {each: listed[each] if each in listed else await node.podman.image_id(each) for each in wanted}
