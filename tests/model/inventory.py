"""The images of the model's node: that a listing says who uses them, and that pruning would let go no other."""

from __future__ import annotations

from protos.mcp import v1

from .world import World


async def images_are_told(world: World) -> None:
    """Raises AssertionError. podman must answer."""
    answer: v1.ListImagesResponse = await world.daemon.call("ListImages", v1.ListImagesRequest())
    told = {each.id: each for each in answer.images}
    containers = list(world.podman.containers.values())
    assert told.keys() == {*world.podman.images.values(), *(each.image_id for each in containers)}
    for number, image in told.items():
        so = {(each.name, each.runs) for each in containers if each.image_id == number}
        said = {(each.container, each.running) for each in image.users if each.container}
        assert said == so, f"{image.names}: {said} are told to be its containers, and {so} are"
    for key, want in world.expected.wants.items():
        if number := world.podman.images.get(want.spec.image):
            users = {(each.service, each.component) for each in told[number].users}
            assert key in users, f"{key} names {want.spec.image}, and is not among {users}"
        if container := world.settled(key):
            users = {(each.service, each.component) for each in told[container.image_id].users if each.container}
            assert key in users, f"{key} has {container.name}, and is not among {users}"
    await _only_the_others_would_go(world, {number for number, image in told.items() if image.users})


async def _only_the_others_would_go(world: World, used: set[str]) -> None:
    request = v1.PruneImagesRequest(keep=0, dry_run=True)
    answer: v1.PruneImagesResponse = await world.daemon.call("PruneImages", request)
    kept = {each.id for each in answer.images if not each.removed}
    assert kept == used, f"{kept} would be kept, and {used} are used"
