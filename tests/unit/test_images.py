"""Which images nothing needs, and how they are removed while others work on the node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

from mcpd.changes.images import prune
from mcpd.changes.images.inventory import joined, references
from mcpd.changes.images.prune import Fate
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import BusyError, UnavailableError
from mcpd.model import OURSELVES, Caller, Container, RecordedService, Role, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.api_types import Image
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from tests.support.builders import NO_CONFIGS, NOW, component, recorded, recorded_service, service
from tests.support.routes import no_proxy

KYLE = Caller("kyle", Role.ADMIN)
APP = "localhost/app"


def image(number: int, *names: str, is_read_only: bool = False) -> Image:
    """The newer, the higher its number."""
    return Image(f"{number:064x}", names, 2**20, NOW + timedelta(minutes=number), is_read_only)


def versions(count: int) -> list[Image]:
    return [image(number, f"{APP}:v{number}") for number in range(1, count + 1)]


def container(of: Image, state: Observed = Observed.EXITED) -> Container:
    return Container("c1", "somebody", of.names[0], of.id, state, 0, 0, None, None, (), {})


def decide(
    found: Collection[Image],
    containers: Collection[Container],
    services: Collection[RecordedService],
    ids: Mapping[str, str | None],
    keep: int,
) -> tuple[Fate, ...]:
    return prune.decide(joined(found, containers, services, ids), keep)


def gone(found: Collection[Image], *, keep: int, containers: Collection[Container] = ()) -> list[Image]:
    return [each.image for each in decide(found, containers, (), {}, keep) if each.removed]


# -- the decision


def test_of_each_repository_the_newest_stay() -> None:
    app, other = versions(5), image(9, "registry.example.net:5000/other:v1")
    assert gone([*app, other], keep=3) == app[:2]
    assert gone([*app, other], keep=0) == [*app, other]


def test_an_image_that_a_container_has_stays_whoever_made_it_and_whether_or_not_it_runs() -> None:
    app = versions(3)
    fates = decide(app, [container(app[0])], (), {}, 1)
    assert [each.removed for each in fates] == [False, True, False]
    assert fates[0].reason == "used by container somebody"


def test_an_image_that_a_component_names_stays_and_so_does_the_one_that_it_was_made_from() -> None:
    app = versions(4)
    declared, deployed = app[0].names[0], app[1].names[0]
    known = recorded_service(recorded(component(image=declared), deployed=component(image=deployed)))
    ids: dict[str, str | None] = {declared: app[0].id, deployed: app[1].id}
    assert references([known]) == ids.keys()
    fates = decide(app, (), [known], ids, 1)
    assert [each.removed for each in fates] == [False, False, True, False]
    assert fates[1].reason == "used by web/api"


def test_what_nobody_declares_any_more_still_uses_its_image() -> None:
    (app, _) = found = versions(2)
    known = recorded_service(recorded(component(image=app.names[0]), desired=Desired.IGNORE))
    fates = decide(found, (), [known], {app.names[0]: app.id}, 1)
    assert (fates[0].removed, fates[0].reason) == (False, "used by web/api, which is no longer declared")


def test_an_image_without_a_name_goes_and_does_not_count_as_a_version() -> None:
    nameless, app = image(8), versions(2)
    assert gone([nameless, *app], keep=2) == [nameless]


def test_an_image_with_several_names_stays_for_one_of_them() -> None:
    app = versions(3)
    both = image(0, f"{APP}:v0", "localhost/other:v0")
    assert gone([both, *app], keep=1) == app[:2]


def test_an_image_of_a_store_that_is_read_only_stays() -> None:
    assert gone([image(1, f"{APP}:v1", is_read_only=True)], keep=0) == []


# -- the removal


class Podman:
    """Has images, and takes a moment for each call; ``refuses`` are names that it does not take off, and why."""

    def __init__(self, *found: Image) -> None:
        self.found = found
        self.names = {name: each.id for each in found for name in each.names}
        self.removed: list[str] = []
        self.refuses: dict[str, Exception] = {}
        self.asked_for = trio.Event()
        self.may_go_on = trio.Event()
        self.may_go_on.set()

    async def images(self) -> tuple[Image, ...]:
        return self.found

    async def containers(self) -> tuple[Container, ...]:
        return ()

    async def image_id(self, reference: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.names.get(reference)

    async def remove_image(self, name: str) -> None:
        self.asked_for.set()
        await self.may_go_on.wait()
        if error := self.refuses.get(name):
            raise error
        self.removed.append(name)


class Place:
    """A node with five versions of an image, its operations, and what is asked of it."""

    def __init__(self, registry: Registry, nursery: trio.Nursery) -> None:
        started, _ = trio.open_memory_channel(1)
        self.podman = Podman(*versions(5))
        journal = Journal(registry)
        self.node = Node("rift", self.podman, registry, journal, started, NO_CONFIGS, no_proxy(registry, self.podman))  # type: ignore[arg-type]
        self.operations = Operations(nursery, journal)

    async def prune(self, *, keep: int = 3, dry_run: bool = False) -> list[tuple[bool, str]]:
        found = await prune.prune(self.node, self.operations, KYLE, keep=keep, dry_run=dry_run)
        return [(each.removed, each.reason) for each in found]

    async def work(self, service: str = "web") -> trio.Event:
        """Starts an operation; it ends with the event."""
        end = trio.Event()

        async def body(_: Operation) -> None:
            await end.wait()

        await self.operations.start("deploy", Target(service), OURSELVES, body)
        return end

    async def events(self) -> list[tuple[str, str, str]]:
        return [(each.kind, each.message, each.caller) for each in await self.node.registry.events()]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with Registry.open(tmp_path / "mcp.db") as registry, trio.open_nursery() as nursery:
        yield Place(registry, nursery)
        nursery.cancel_scope.cancel()


async def test_a_dry_run_says_what_would_go_and_changes_nothing(place: Place) -> None:
    would = await place.prune(dry_run=True)
    assert [removed for removed, _ in would] == [True, True, False, False, False]
    assert (place.podman.removed, await place.events()) == ([], [])
    assert await place.prune() == would


async def test_what_goes_is_taken_name_by_name_and_told_once_with_who_wanted_it(place: Place) -> None:
    nameless, both = image(6), image(0, f"{APP}:v0", "localhost/other:v0")
    place.podman = Podman(both, nameless)
    place.node = place.node._replace(podman=place.podman)  # type: ignore[arg-type]
    await place.prune(keep=0)
    assert place.podman.removed == [*both.names, nameless.id]
    assert await place.events() == [("pruned", "2 images that nothing used, 2.0 MiB", "kyle")]


async def test_when_nothing_goes_nothing_is_told(place: Place) -> None:
    assert not any(removed for removed, _ in await place.prune(keep=5))
    assert await place.events() == []


async def test_what_podman_refuses_is_kept_with_its_words_and_the_rest_goes(place: Place) -> None:
    words = "image used by 66d0: image is in use by a container"
    place.podman.refuses[f"{APP}:v1"] = PodmanError(words, 409)
    assert (await place.prune())[:2] == [(False, words), (True, "nothing uses it, and 3 are newer")]
    assert place.podman.removed == [f"{APP}:v2"]


async def test_what_somebody_else_has_removed_is_gone(place: Place) -> None:
    place.podman.refuses[f"{APP}:v1"] = NoSuchError("image not known", 404)
    assert (await place.prune())[0][0]


async def test_a_podman_that_does_not_answer_is_not_asked_again_for_each_image(place: Place) -> None:
    place.podman.refuses[f"{APP}:v1"] = UnavailableError("podman did not answer in time")
    assert (await place.prune())[:2] == [(False, "podman did not answer in time")] * 2
    assert place.podman.removed == []


async def test_a_name_that_has_gone_to_another_image_meanwhile_is_left_to_it(place: Place) -> None:
    place.podman.names[f"{APP}:v1"] = "f" * 64
    await place.prune()
    assert place.podman.removed == [f"{APP}:v2"]


async def test_an_image_that_gets_its_name_after_the_listing_stays(place: Place) -> None:
    """A push that brings it again may be under way, and an id takes the name with it."""
    nameless, again = image(6), image(6, f"{APP}:v6")
    place.podman = Podman(nameless)
    place.node = place.node._replace(podman=place.podman)  # type: ignore[arg-type]
    listed = [(again,), (nameless,)]

    async def images() -> tuple[Image, ...]:
        return listed.pop()

    place.podman.images = images  # type: ignore[method-assign]
    assert nameless.id == again.id
    assert await place.prune(keep=0) == [(False, "it was given a name after the images were listed, as by a push")]
    assert place.podman.removed == []


async def test_it_is_refused_while_an_operation_runs_and_names_who_works(place: Place) -> None:
    end = await place.work()
    with pytest.raises(BusyError, match=r"the node is being changed by operation 1: deploy web by mcpd since .*; try"):
        await place.prune()
    assert (await place.prune(dry_run=True))[0][0]
    end.set()


async def test_an_operation_waits_for_the_image_that_is_being_removed_and_the_others_stay(place: Place) -> None:
    """A deploy may have just found one of them on the node, and is about to use it."""
    place.podman.may_go_on = trio.Event()
    fates: list[tuple[bool, str]] = []
    ends: list[trio.Event] = []

    async def prune() -> None:
        fates.extend(await place.prune())

    async def work() -> None:
        ends.append(await place.work())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(prune)
        await place.podman.asked_for.wait()
        nursery.start_soon(work)
        await trio.testing.wait_all_tasks_blocked()
        assert place.operations.running == ()
        place.podman.may_go_on.set()
    assert [removed for removed, _ in fates] == [True, False, False, False, False]
    assert fates[1][1].startswith("the node ")
    assert place.podman.removed == [f"{APP}:v1"]
    ends[0].set()


async def test_an_operation_that_came_and_went_between_two_images_ends_it_too(place: Place) -> None:
    remove = place.podman.remove_image

    async def remove_and_let_in(name: str) -> None:
        await remove(name)
        place.operations._changes += 2  # as an operation leaves it that begins and ends here

    place.podman.remove_image = remove_and_let_in  # type: ignore[method-assign]
    fates = await place.prune()
    assert fates[1] == (False, "the node changed after its images were listed; prune again")


async def test_two_at_once_are_one_too_many(place: Place) -> None:
    with place.operations.standstill():
        with pytest.raises(BusyError, match="images are already being pruned"):
            await place.prune()


async def test_who_hangs_up_leaves_no_image_half_removed_and_what_is_gone_is_told(place: Place) -> None:
    place.podman.may_go_on = trio.Event()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def prune() -> None:
            with scope:
                await place.prune()

        nursery.start_soon(prune)
        await place.podman.asked_for.wait()
        scope.cancel()
        place.podman.may_go_on.set()
    assert place.podman.removed == [f"{APP}:v1"]
    assert [kind for kind, _, _ in await place.events()] == ["pruned"]
    await place.work()  # nobody is kept out


async def test_what_is_recorded_is_looked_up_by_the_id_that_its_reference_has_here(place: Place) -> None:
    made = service(component("api", image=f"{APP}:v1"))
    await place.node.registry.put_service(made, {"api": spec_hash(made.components[0])}, NOW)
    assert (await place.prune())[0] == (False, "used by web/api")
