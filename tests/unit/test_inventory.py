"""The images of a node: who uses each, which a reference means, and how a caller is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trio

from mcpd.changes.images import endpoint, inventory, prune
from mcpd.changes.images.inventory import User, joined
from mcpd.changes.node import Node
from mcpd.changes.operations import Operations
from mcpd.errors import InvalidRequestError
from mcpd.model import LAST, Caller, Container, Role
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.rpc.images import ImageMethods
from mcpd.runtime import api_types
from mcpd.runtime.api_types import Image
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from protos.mcp import v1 as wire
from protos.spec import Component
from tests.support.builders import NO_CONFIGS, NOW, component, container, recorded, recorded_service, service
from tests.support.routes import no_proxy

LOOKER = Caller("looker", Role.VIEWER)
APP = "localhost/app"
DIGEST = f"{APP}@sha256:{'d' * 64}"


def image(number: int, *names: str, digests: tuple[str, ...] = ()) -> Image:
    return Image(f"{number:064x}", names, 2**20, NOW, digests=digests)


V1, V2, NAMELESS = image(1, f"{APP}:v1"), image(2, f"{APP}:v2", digests=(DIGEST,)), image(3)
IDS: Mapping[str, str | None] = {f"{APP}:v1": V1.id, f"{APP}:v2": V2.id, f"{APP}:gone": None}


def api(tag: str) -> Component:
    return component("api", image=f"{APP}:{tag}")


# -- who uses an image


def test_a_component_uses_the_image_that_its_container_was_made_from_running_or_not() -> None:
    known = [recorded_service(recorded(api("v1")))]
    for state, is_running in ((Observed.RUNNING, True), (Observed.EXITED, False)):
        (view,) = joined([V1], [container(api("v1"), image_id=V1.id, state=state)], known, IDS)
        assert view.users == (User("web", "api", "web-api", is_running),)


def test_what_names_an_image_uses_it_without_a_container_of_it() -> None:
    known = [recorded_service(recorded(api("v2"), deployed=api("v1")))]
    first, second = joined([V1, V2], [container(api("v1"), image_id=V1.id)], known, IDS)
    assert first.users == (User("web", "api", "web-api", True),)
    assert second.users == (User("web", "api", "", False),)


def test_an_image_that_lost_its_name_is_used_by_the_component_whose_container_has_it() -> None:
    known = [recorded_service(recorded(api("v1"), deployed=api("v1")))]
    now_named, before = joined([V1, NAMELESS], [container(api("v1"), image_id=NAMELESS.id)], known, IDS)
    assert now_named.users == (User("web", "api", "", False),)
    assert before.users == (User("web", "api", "web-api", True),)


def test_what_nobody_declares_any_more_is_told() -> None:
    known = [recorded_service(recorded(api("v1"), desired=Desired.IGNORE))]
    (view,) = joined([V1], [], known, IDS)
    assert view.users == (User("web", "api", "", False, is_declared=False),)


def test_a_container_of_nobody_uses_its_image_by_its_name() -> None:
    foreign = container(service="", id="1", name="keeper", image_id=V1.id, state=Observed.EXITED)
    (view,) = joined([V1], [foreign], [], IDS)
    assert view.users == (User("", "", "keeper", False),)


def test_neither_a_predecessor_nor_a_copy_nor_one_of_an_unknown_service_is_the_components() -> None:
    known = [recorded_service(recorded(api("v2")))]
    ours = container(api("v2"), image_id=V2.id)
    last = container(api("v1"), id="2", name=f"web-api{LAST}", image_id=V1.id, state=Observed.EXITED)
    copy = container(api("v1"), id="3", name="web-api-clone", image_id=V1.id)
    other = container(api("v1"), service="lost", image_id=V1.id)
    before, now = joined([V1, V2], [last, copy, other, ours], known, IDS)
    assert [(each.service, each.container) for each in before.users] == [
        ("", f"web-api{LAST}"),
        ("", "web-api-clone"),
        ("", "lost-api"),
    ]
    assert now.users == (User("web", "api", "web-api", True),)


def test_components_come_first_and_nobody_is_named_for_what_nobody_uses() -> None:
    worker = component("worker", image=f"{APP}:v1")
    known = [recorded_service(recorded(api("v1")), recorded(worker)), recorded_service(recorded(api("gone")), name="x")]
    foreign = container(service="", id="1", name="keeper", image_id=V1.id)
    used, free = joined([V1, V2], [foreign], known, IDS)
    assert [(each.service, each.component, each.container) for each in used.users] == [
        ("web", "api", ""),
        ("web", "worker", ""),
        ("", "", "keeper"),
    ]
    assert free.users == ()


def test_the_name_that_leads_to_the_endpoint_of_a_push_is_not_told() -> None:
    passing = f"127.0.0.1:40123/{'5' * 2 * endpoint._SECRET_BYTES}/mcp-push"
    coming = image(5, f"{passing}:latest", f"{APP}:v5", digests=(f"{passing}@sha256:{'d' * 64}", DIGEST))
    here, arriving = joined([V2, coming], [], [], IDS)
    assert (here.is_coming, arriving.is_coming) == (False, True)
    assert (arriving.image.names, arriving.image.digests) == ((f"{APP}:v5",), (DIGEST,))
    fates = prune.decide([here, arriving], 0)
    assert [(each.removed, each.reason) for each in fates] == [
        (True, "nothing uses it"),
        (False, "it is being pushed"),
    ]


# -- which images there are


class Podman:
    """Has images; ``short`` are the names that it resolves without listing them."""

    def __init__(self, *found: Image) -> None:
        self.found = found
        self.short: dict[str, str] = {}
        self.asked: list[str] = []
        self.running: tuple[Container, ...] = ()

    async def images(self) -> tuple[Image, ...]:
        await trio.lowlevel.checkpoint()
        return self.found

    async def containers(self) -> tuple[Container, ...]:
        return self.running

    async def image_id(self, reference: str) -> str | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(reference)
        return self.short.get(reference)


class Place:
    def __init__(self, registry: Registry, nursery: trio.Nursery) -> None:
        started, _ = trio.open_memory_channel(1)
        self.podman = Podman(V1, V2, NAMELESS)
        journal = Journal(registry)
        self.node = Node("rift", self.podman, registry, journal, started, NO_CONFIGS, no_proxy(registry, self.podman))  # type: ignore[arg-type]
        self.methods = ImageMethods(self.node, Operations(nursery, journal))

    async def ids(self, *references: str) -> list[str]:
        return [each.image.id for each in await inventory.views(self.node, references)]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with Registry.open(tmp_path / "mcp.db") as registry, trio.open_nursery() as nursery:
        yield Place(registry, nursery)


async def test_without_references_all_are_there(place: Place) -> None:
    assert await place.ids() == [V1.id, V2.id, NAMELESS.id]


async def test_references_mean_what_podman_finds_by_them_and_a_missing_image_is_none(place: Place) -> None:
    place.podman.short = {"app:v1": V1.id, DIGEST: V2.id}
    assert await place.ids(f"{APP}:v2") == [V2.id]
    assert place.podman.asked == []  # podman has listed it
    assert await place.ids("app:v1", DIGEST, "nothing:v9") == [V1.id, V2.id]
    assert await place.ids("nothing:v9") == []


async def test_a_name_that_two_images_have_means_the_one_that_podman_takes(place: Place) -> None:
    place.podman.found = (V1, image(4, f"{APP}:v1"))
    place.podman.short = {f"{APP}:v1": V1.id}
    assert await place.ids(f"{APP}:v1") == [V1.id]


async def test_a_component_that_names_an_image_by_a_short_name_uses_it(place: Place) -> None:
    place.podman.short = {"app:v1": V1.id}
    made = service(component("api", image="app:v1"))
    await place.node.registry.put_service(made, {"api": spec_hash(made.components[0])}, NOW)
    (view,) = await inventory.views(place.node, ["app:v1"])
    assert view.users == (User("web", "api", "", False),)


async def test_a_caller_is_told_all_that_is_known_of_an_image(place: Place) -> None:
    place.podman.running = (container(service="", name="keeper", image_id=V2.id),)
    (told,) = (await place.methods.list_images(wire.ListImagesRequest([f"{APP}:v2"]), LOOKER)).images
    assert (told.id, told.names, told.digests, told.size) == (V2.id, [f"{APP}:v2"], [DIGEST], 2**20)
    assert told.created_at == NOW
    assert told.users == [wire.ImageUser("", "", "keeper", True)]
    assert (told.removed, told.reason) == (False, "")


@pytest.mark.parametrize("reference", ["", "../containers/json", "app?x=1", "app v1", "-app"])
async def test_what_is_no_reference_is_refused_and_not_asked_for(place: Place, reference: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not an image reference"):
        await place.methods.list_images(wire.ListImagesRequest([reference]), LOOKER)
    assert place.podman.asked == []


async def test_so_are_more_references_than_anybody_needs(place: Place) -> None:
    many = [f"app:v{number}" for number in range(1001)]
    with pytest.raises(InvalidRequestError, match="1001 references are too many: 1000 at most"):
        await place.methods.list_images(wire.ListImagesRequest(many), LOOKER)
    assert (await place.methods.list_images(wire.ListImagesRequest(many[:1000]), LOOKER)).images == []


def test_podman_tells_the_digests_of_an_image_or_none() -> None:
    listed = api_types.ListedImage("1", repo_digests=(DIGEST,))
    assert api_types.image(listed).digests == (DIGEST,)
    assert api_types.image(api_types.ListedImage("1")).digests == ()
