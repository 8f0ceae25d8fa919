# ruff: noqa: ARG001 - that the clock is asked for is what makes the test run on it
"""Pushes of images: resumed, taken over, given up, refused; on a podman that is pretended, and pulls all the same."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import betterproto
import httpx
import pytest
import trio

from mcpd.changes.images import room
from mcpd.changes.images.pushes import MAX_PUSHES, Pushes
from mcpd.errors import (
    BugError,
    ExhaustedError,
    InvalidRequestError,
    McpdError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from mcpd.model import Caller, Role
from mcpd.rpc.image_push import ImagePushMethods
from mcpd.runtime.api import PodmanError
from mcpd.runtime.image_store import Host, ImageStore
from protos.mcp import v1 as wire
from tests.support import oci_images
from tests.support.oci_images import Image, digest_of, layer

KYLE = Caller("kyle", Role.ADMIN)
MARY = Caller("mary", Role.ADMIN)
MADE = oci_images.image(layer({"a": bytes(range(256)) * 2000}), layer({"b": b"b"}))
FIRST, SECOND = (each.digest for each in MADE.layers)
LEFT = f"127.0.0.1:1234/{32 * 'a'}/mcp-push:latest"
CHUNK = 50_000
DEADLINE_S = 20


class Store:
    """Pulls as podman does: the manifest, the configuration, and the layers that it lacks."""

    def __init__(self) -> None:
        self.layers_here: set[str] = set()
        self.images: dict[str, str] = {}
        self.failure: Exception | None = None
        self.may_tag: trio.Event | None = None
        self.cannot_tag: Exception | None = None
        self.makes = ""
        self.hangs = False
        self.pulls = 0
        self.at_once = 0
        self.info_fails = False

    async def layers(self) -> frozenset[str]:
        return frozenset(self.layers_here)

    async def host(self) -> Host:
        return Host("linux", "arm", "v7", Path("/"), Path("/"))

    async def names(self) -> Collection[str]:
        if self.info_fails:
            raise UnavailableError("podman does not answer")
        return list(self.images)

    async def pull_without_tls(self, name: str) -> AsyncGenerator[str, None]:
        self.pulls += 1
        self.at_once += 1
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                async for line in self._pull(name, client):
                    yield line
        except httpx.HTTPError as error:
            raise PodmanError(f"reading {name}: {error}", 500) from None
        finally:
            self.at_once -= 1

    async def _pull(self, name: str, client: httpx.AsyncClient) -> AsyncIterator[str]:
        address, secret, last = name.split("/")
        repository = f"http://{address}/v2/{secret}/{last.partition(':')[0]}"
        yield ""
        if self.failure:
            raise self.failure
        if self.hangs:
            await trio.sleep_forever()
        manifest = (await client.get(f"{repository}/manifests/latest")).json()
        config = (await client.get(f"{repository}/blobs/{manifest['config']['digest']}")).content
        for each in manifest["layers"]:
            if each["digest"] not in self.layers_here:
                found = await client.get(f"{repository}/blobs/{each['digest']}")
                assert found.status_code == 200
                assert digest_of(found.content) == each["digest"]
                self.layers_here.add(each["digest"])
                yield ""
        self.images[name] = self.makes or digest_of(config).partition(":")[2]
        yield self.images[name]

    async def tag(self, image: str, repository: str, tag: str) -> None:
        if self.may_tag is not None:
            await self.may_tag.wait()
        if self.cannot_tag:
            raise self.cannot_tag
        self.images[f"{repository}:{tag}"] = image

    async def remove_name(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.images.pop(name, None)


class Place:
    def __init__(self, **limits: float) -> None:
        self.store = Store()
        self.events: list[tuple[str, ...]] = []

        async def tell(*event: str) -> None:
            self.events.append(event)

        node = cast(Any, SimpleNamespace(name="n1", tell=tell))
        self.pushes = Pushes(node, cast(ImageStore, self.store), **limits)
        self.methods = ImagePushMethods(self.pushes, stall_s=limits.get("silence", DEADLINE_S))


@asynccontextmanager
async def keeping(**limits: float) -> AsyncIterator[Place]:
    place = Place(**limits)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(place.pushes.keep)
            yield place
            nursery.cancel_scope.cancel()


class Talk:
    """One connection, with a client at its end that answers as the contract says; ``says`` may answer otherwise."""

    def __init__(
        self,
        place: Place,
        made: Image = MADE,
        *,
        start: wire.PushImageStart | None = None,
        says: Callable[[str, Any], list[wire.PushImageRequest] | None] | None = None,
        caller: Caller = KYLE,
        number: str = "",
    ) -> None:
        self.place = place
        self.made = made
        self.caller = caller
        self.said: list[tuple[str, Any]] = []
        self.concern = ""
        self.is_lost = False
        self.is_over = False
        self.connection = trio.CancelScope()
        self._says = says
        self._in, self._out = trio.open_memory_channel[wire.PushImageRequest](100)
        self._number = number
        if start is None:
            start = wire.PushImageStart("localhost/app:v1", layers=made.diff_ids, push=number)
        self._in.send_nowait(wire.PushImageRequest(start=start))

    async def run(self) -> Talk:
        with self.connection:
            await self.place.methods.push_image(cast(Any, self), self.caller, self._send)
        return self

    def lose(self) -> None:
        self.is_lost = True
        self.connection.cancel()

    # -- the server's side of it, as `Requests`

    def concerns(self, target: Any, program: str = "") -> None:
        self.concern = str(target) + program

    async def batch(self) -> list[Any]:
        try:
            found = [await self._out.receive()]
        except trio.EndOfChannel:
            return []
        try:
            while True:
                found.append(self._out.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return found

    async def _send(self, answers: list[Any]) -> None:
        await trio.lowlevel.checkpoint()
        for each in answers:
            kind, value = betterproto.which_one_of(each, "part")
            self.said.append((kind, value))
            say = self._says(kind, value) if self._says else None
            for message in self._answer(kind, value) if say is None else say:
                self._in.send_nowait(message)

    def _answer(self, kind: str, value: Any) -> list[wire.PushImageRequest]:
        if kind == "state" and not self._number:
            return [wire.PushImageRequest(content=content_of(self.made))]
        if kind == "wanted":
            return data_of(self.made, value)
        return []

    @property
    def number(self) -> str:
        return next(value.push for kind, value in self.said if kind == "state")

    @property
    def wanted(self) -> list[tuple[str, int]]:
        return [(value.digest, value.offset) for kind, value in self.said if kind == "wanted"]

    @property
    def done(self) -> wire.PushImageDone:
        kind, value = self.said[-1]
        assert kind == "done"
        return cast(wire.PushImageDone, value)

    def close(self) -> None:
        self._in.close()


def content_of(made: Image) -> wire.PushImageContent:
    return wire.PushImageContent(manifests=[wire.Manifest(*each) for each in made.manifests], config=made.config)


def data_of(made: Image, wanted: wire.BlobWanted, *, compress: bool = False) -> list[wire.PushImageRequest]:
    blob = made.blobs[wanted.digest]
    parts = [blob[offset : offset + CHUNK] for offset in range(wanted.offset, len(blob), CHUNK)]
    return [data(zlib.compress(each) if compress else each, compressed=compress) for each in parts]


def data(content: bytes, *, compressed: bool = False) -> wire.PushImageRequest:
    return wire.PushImageRequest(data=wire.BlobData(content, compressed))


def half(kind: str, value: Any) -> list[wire.PushImageRequest] | None:
    """The first chunks of the first layer, and then nothing more."""
    return data_of(MADE, value)[:3] if kind == "wanted" and value.digest == FIRST else None


async def eventually(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 (nothing tells; `keeping` has the deadline)
        await trio.sleep(0.005)


async def cut(place: Place, *, lost: bool = True) -> Talk:
    """A push whose connection breaks, or whose caller gives up, in the middle of the first layer."""
    talk = Talk(place, says=half)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.run)
        await eventually(lambda: place.pushes.received >= 3 * CHUNK)
        talk.lose() if lost else talk.connection.cancel()
    return talk


async def test_an_image_comes_and_has_its_name_alone() -> None:
    async with keeping() as place:
        talk = await Talk(place, start=wire.PushImageStart("app", "shop", "web", MADE.diff_ids)).run()
        assert talk.wanted == [(FIRST, 0), (SECOND, 0)]
        state = talk.said[0][1]
        assert (state.present, state.os, state.architecture, state.variant) == ([], "linux", "arm", "v7")
        size = sum(map(len, MADE.blobs.values()))
        assert talk.done == wire.PushImageDone(MADE.id, size)
        assert place.store.images == {"app:latest": MADE.id}
        assert place.events == [("shop", "web", "pushed", "app:latest, 520.0 KiB received of 520.0 KiB", "kyle")]
        assert talk.concern == "shop/web"
        await eventually(lambda: not place.pushes.open)
        assert (place.pushes.received, place.pushes.ended["done"]) == (size, 1)


async def test_only_what_is_missing_is_asked_for() -> None:
    async with keeping() as place:
        place.store.layers_here = {FIRST, f"sha256:{64 * '1'}"}
        talk = await Talk(place).run()
        assert talk.said[0][1].present == [FIRST]
        assert talk.wanted == [(SECOND, 0)]
        assert talk.done.received_bytes == len(MADE.blobs[SECOND])
        assert talk.concern == "localhost/app:v1"


async def test_data_may_be_compressed_or_not_message_by_message() -> None:
    async with keeping() as place:

        def mixed(kind: str, value: Any) -> list[wire.PushImageRequest] | None:
            if kind != "wanted":
                return None
            both = zip(data_of(MADE, value), data_of(MADE, value, compress=True), strict=True)
            return [pair[number % 2] for number, pair in enumerate(both)]

        assert (await Talk(place, says=mixed).run()).done.id == MADE.id


async def test_after_a_lost_connection_the_rest_is_asked_for() -> None:
    async with keeping() as place:
        begun = await cut(place)
        talk = await Talk(place, number=begun.number).run()
        assert talk.said[0][1] == begun.said[0][1]
        assert talk.wanted == [(FIRST, 3 * CHUNK), (SECOND, 0)]
        assert talk.done.received_bytes == sum(map(len, MADE.blobs.values()))
        assert place.store.pulls == 1


async def test_a_lost_connection_may_come_back_as_often_as_it_likes() -> None:
    async with keeping() as place:
        number = ""
        for offset in range(0, len(MADE.blobs[FIRST]), CHUNK):

            def one(kind: str, value: Any) -> list[wire.PushImageRequest] | None:
                if kind != "wanted":
                    return None
                return data_of(MADE, value)[:1] if value.digest == FIRST else []

            talk = Talk(place, number=number, says=one)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk.run)
                await eventually(
                    lambda offset=offset: place.pushes.received >= min(offset + CHUNK, len(MADE.blobs[FIRST]))
                )
                talk.lose()
            number = number or talk.number
        talk = await Talk(place, number=number).run()
        assert talk.wanted == [(SECOND, 0)]
        assert talk.done.received_bytes == sum(map(len, MADE.blobs.values()))


async def test_whoever_does_not_come_back_in_time_begins_anew() -> None:
    async with keeping(grace=0.05) as place:
        begun = await cut(place)
        await eventually(lambda: not place.pushes.open)
        assert place.store.images == {}
        assert place.store.at_once == 0
        with pytest.raises(NotFoundError, match="push the image anew"):
            await Talk(place, number=begun.number).run()
        assert place.pushes.ended["cancelled"] == 1
        assert (await Talk(place).run()).done


async def test_whoever_gives_up_is_not_waited_for() -> None:
    async with keeping() as place:
        await cut(place, lost=False)
        await eventually(lambda: not place.pushes.open)
        assert place.store.images == {}


async def test_a_connection_that_is_lost_before_the_content_came_has_nothing_to_keep() -> None:
    async with keeping() as place:
        talk = Talk(place, says=lambda kind, value: [])  # noqa: ARG005
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.run)
            await eventually(lambda: talk.said)
            talk.lose()
        await eventually(lambda: not place.pushes.open)
        assert place.store.pulls == 0


async def test_who_was_away_when_the_image_came_is_told_so() -> None:
    async with keeping() as place:
        talk = await lost_at_the_end(place)
        await eventually(lambda: place.events)
        again = await Talk(place, number=talk.number).run()
        assert [kind for kind, _ in again.said] == ["state", "done"]
        assert again.done.id == MADE.id
        await eventually(lambda: not place.pushes.open)


async def test_who_was_away_when_podman_failed_is_told_so_once() -> None:
    async with keeping() as place:
        place.store.cannot_tag = UnavailableError("podman has gone")
        talk = await lost_at_the_end(place)
        await eventually(lambda: not place.store.images)
        with pytest.raises(UnavailableError, match="podman has gone"):
            await Talk(place, number=talk.number).run()
        await eventually(lambda: not place.pushes.open)
        assert place.pushes.ended["failed"] == 1


async def test_an_image_that_has_its_name_is_told_of_though_its_caller_gave_up() -> None:
    async with keeping() as place:
        await lost_at_the_end(place, lost=False)
        await eventually(lambda: not place.pushes.open)
        assert place.store.images == {"localhost/app:v1": MADE.id}
        assert [each[2] for each in place.events] == ["pushed"]


async def lost_at_the_end(place: Place, *, lost: bool = True) -> Talk:
    """A push whose connection breaks, or whose caller gives up, when all has come, and podman is not done yet."""
    talk = Talk(place)
    place.store.may_tag = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.run)
        await eventually(lambda: place.store.images)
        talk.lose() if lost else talk.connection.cancel()
    place.store.may_tag.set()
    return talk


async def test_a_second_connection_takes_over_from_one_that_is_not_known_to_be_dead() -> None:
    async with keeping() as place:
        old = Talk(place, says=half)
        why: list[str] = []

        async def hang() -> None:
            try:
                await old.run()
            except UnavailableError as error:
                why.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            await eventually(lambda: place.pushes.received >= 3 * CHUNK)
            talk = await Talk(place, number=old.number).run()
        assert why == ["another connection has taken this push over"]
        assert talk.wanted[0] == (FIRST, 3 * CHUNK)
        assert talk.done.id == MADE.id


@pytest.mark.parametrize("lost", [True, False])
async def test_who_is_gone_before_its_turn_leaves_no_push_behind(*, lost: bool) -> None:
    async with keeping(grace=0.1) as place:
        first = Talk(place, says=half)

        async def until_taken_over() -> None:
            with pytest.raises(UnavailableError, match="has taken this push over"):
                await first.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_taken_over)
            await eventually(lambda: place.pushes.received >= 3 * CHUNK)
            await _gone_at_once(place, first.number, lost=lost)
        await eventually(lambda: not place.pushes.open)
        await _gone_at_once(place, "", lost=lost)
        await eventually(lambda: not place.pushes.open)


async def _gone_at_once(place: Place, number: str, *, lost: bool) -> None:
    talk = Talk(place, number=number)

    def leave(*_: object) -> None:
        talk.lose() if lost else talk.connection.cancel()

    talk.concerns = leave  # type: ignore[method-assign]
    await talk.run()
    assert not talk.said


@pytest.mark.parametrize("caller", [MARY, KYLE])
async def test_nobody_goes_on_with_anothers_push_or_with_another_image(caller: Caller) -> None:
    async with keeping() as place:
        begun = await cut(place)
        start = wire.PushImageStart("localhost/app:v2", push=begun.number)
        with pytest.raises(InvalidRequestError if caller is KYLE else NotFoundError) as raised:
            await Talk(place, start=start, caller=caller).run()
        assert str(raised.value).startswith("push: this one brings" if caller is KYLE else "no such push of yours")
        assert (await Talk(place, number=begun.number).run()).done


async def test_so_many_at_once_and_no_more() -> None:
    async with keeping() as place:
        talks = [Talk(place, says=lambda kind, value: []) for _ in range(MAX_PUSHES)]  # noqa: ARG005
        async with trio.open_nursery() as nursery:
            for each in talks:
                nursery.start_soon(each.run)
            await eventually(lambda: all(each.said for each in talks))
            with pytest.raises(ExhaustedError, match="4 images are being pushed to n1 already"):
                await Talk(place).run()
            talks[0].connection.cancel()
            await eventually(lambda: place.pushes.open < MAX_PUSHES)
            assert (await Talk(place).run()).done
            nursery.cancel_scope.cancel()


async def test_the_same_image_is_pulled_once_at_a_time_and_layers_come_once() -> None:
    async with keeping() as place:
        talks = [Talk(place) for _ in range(3)]
        most = 0

        def watch(*_: Any) -> None:
            nonlocal most
            most = max(most, place.store.at_once)

        async with trio.open_nursery() as nursery:
            for each in talks:
                each._says = watch
                nursery.start_soon(each.run)
        assert [each.done.id for each in talks] == [MADE.id] * 3
        assert sorted(len(each.wanted) for each in talks) == [0, 0, 2]
        assert most == 1


LIE = MADE.blobs[FIRST][:-1] + b"!"
OUT_OF_TURN = "a layer that the node wants is followed by its data"
WRONG: dict[str, tuple[Callable[[str, Any], list[wire.PushImageRequest] | None], str]] = {
    "another layer": (
        lambda kind, _: [data(LIE)] if kind == "wanted" else None,
        f"what came as {FIRST} has the digest {digest_of(LIE)}",
    ),
    "too much": (
        lambda kind, _: [data(LIE + b"!")] if kind == "wanted" else None,
        f"has {len(LIE) + 1} bytes, and the layer has only {len(LIE)} more",
    ),
    "too much, compressed": (
        lambda kind, _: [data(zlib.compress(LIE + b"!"), compressed=True)] if kind == "wanted" else None,
        f"more than the {len(LIE)} bytes",
    ),
    "no zlib": (lambda kind, _: [data(b"abc", compressed=True)] if kind == "wanted" else None, "is not zlib's"),
    "nothing": (lambda kind, _: [data(b"")] if kind == "wanted" else None, "data: is empty"),
    "more than asked for": (
        lambda kind, value: [*data_of(MADE, value), data(b"more")] if kind == "wanted" else None,
        "more than the node has asked for",
    ),
    "content again": (
        lambda kind, _: [wire.PushImageRequest(content=content_of(MADE))] if kind == "wanted" else None,
        OUT_OF_TURN,
    ),
    "an empty message": (lambda kind, _: [wire.PushImageRequest()] if kind == "wanted" else None, OUT_OF_TURN),
    "data first": (lambda kind, _: [data(b"x")] if kind == "state" else None, "is followed by the image's content"),
    "many manifests": (
        lambda kind, _: (
            [wire.PushImageRequest(content=wire.PushImageContent([wire.Manifest("a", b"b")] * 3))]
            if kind == "state"
            else None
        ),
        "one manifest, or a list",
    ),
}


@pytest.mark.parametrize(("says", "words"), WRONG.values(), ids=WRONG)
async def test_a_caller_that_says_something_wrong_ends_its_push(
    says: Callable[[str, Any], list[wire.PushImageRequest] | None], words: str
) -> None:
    async with keeping() as place:
        talk = Talk(place, says=says)
        with pytest.raises(InvalidRequestError) as raised:
            await talk.run()
        assert words in str(raised.value)
        await eventually(lambda: not place.pushes.open)
        assert (place.store.images, place.store.at_once, place.events) == ({}, 0, [])
        assert FIRST not in place.store.layers_here or words == "more than the node has asked for"
        assert place.pushes.ended["failed"] == 1
        with pytest.raises(NotFoundError):
            await Talk(place, number=talk.number).run()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (wire.PushImageStart(), "reference: is missing"),
        (wire.PushImageStart("A"), "reference: 'A' is not an image reference"),
        (wire.PushImageStart(f"a@sha256:{64 * '0'}"), "has a digest and no tag"),
        (wire.PushImageStart("a", "No"), "service: 'No' is not a name"),
        (wire.PushImageStart("a", "web", "No"), "component: 'No' is not a name"),
        (wire.PushImageStart("a", "", "web"), "component: is of no service"),
        (wire.PushImageStart("a", layers=["sha256:1"]), "is not a digest"),
        (wire.PushImageStart("a", layers=[FIRST] * 1001), "layers: has 1001; at most 1000"),
    ],
)
async def test_a_wrong_first_message_is_refused_in_words(start: wire.PushImageStart, words: str) -> None:
    async with keeping() as place:
        with pytest.raises(InvalidRequestError) as raised:
            await Talk(place, start=start).run()
        assert words in str(raised.value).replace('"', "'")
        assert not place.pushes.open


async def test_a_first_message_that_is_none_is_refused() -> None:
    async with keeping() as place:
        for first in (data(b"x"), wire.PushImageRequest(), None):
            talk = Talk(place)
            talk._out.receive_nowait()
            if first is None:
                talk.close()
            else:
                talk._in.send_nowait(first)
            with pytest.raises(InvalidRequestError, match="a push begins with what is pushed"):
                await talk.run()


async def test_a_silent_caller_is_sent_away_and_may_come_back() -> None:
    async with keeping() as place:
        place.methods = ImagePushMethods(place.pushes, stall_s=0.1)
        talk = Talk(place, says=half)
        with pytest.raises(UnavailableError, match="the client has sent nothing for 0 s"):
            await talk.run()
        place.methods = ImagePushMethods(place.pushes, stall_s=DEADLINE_S)
        assert (await Talk(place, number=talk.number).run()).wanted[0] == (FIRST, 3 * CHUNK)


async def test_a_podman_that_does_nothing_ends_the_push() -> None:
    async with keeping(silence=0.1) as place:
        place.store.hangs = True
        with pytest.raises(UnavailableError, match="podman has done nothing for 0 s with the image that is pushed"):
            await Talk(place).run()
        await eventually(lambda: not place.pushes.open)
        assert place.pushes.ended["failed"] == 1


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (PodmanError("writing blob: no space left on device", 500), RefusedError, "the node's disk is full"),
        (PodmanError(f"docker://{LEFT} is rejected by policy.", 500), RefusedError, "docker://the pushed image is rej"),
        (UnavailableError(f"podman does not answer ({LEFT})"), UnavailableError, "not answer (the pushed image)"),
        (ZeroDivisionError(), BugError, "mcpd failed because of a bug"),
    ],
)
async def test_podmans_errors_are_told_without_the_endpoint(
    failure: Exception, kind: type[McpdError], words: str
) -> None:
    async with keeping() as place:
        place.store.failure = failure
        with pytest.raises(kind) as raised:
            await Talk(place).run()
        assert words in str(raised.value)
        assert "127.0.0.1:" not in str(raised.value)
        place.store.failure = None
        assert (await Talk(place).run()).done


async def test_another_image_than_it_should_be_is_not_kept() -> None:
    async with keeping() as place:
        place.store.makes = 64 * "f"
        with pytest.raises(RefusedError, match=f"podman made the image {12 * 'f'} of what should be {MADE.id[:12]}"):
            await Talk(place).run()
        assert place.store.images == {}


async def test_an_image_without_room_is_refused_before_podman_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    needs: list[room.Need] = []

    def short(given: Collection[room.Need], node: str) -> str:
        needs.extend(given)
        return f"no room on {node}"

    monkeypatch.setattr(room, "shortage", short)
    async with keeping() as place:
        place.store.layers_here = {FIRST}
        with pytest.raises(RefusedError, match="no room on n1"):
            await Talk(place).run()
        assert place.store.pulls == 0
        missing = len(MADE.blobs[SECOND])
        assert [each.bytes for each in needs] == [missing, missing]


async def test_what_an_earlier_mcpd_left_is_removed_at_start_and_before_a_push() -> None:
    place = Place()
    place.store.images = {LEFT: "1", "localhost/app:v1": "2"}
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(place.pushes.keep)
            await eventually(lambda: LEFT not in place.store.images)
            begun = await cut(place)
            (own,) = place.pushes._names
            place.store.images |= {LEFT: "1", own: "3"}
            assert (await Talk(place, oci_images.image(layer({"c": b"c"})), start=None).run()).done
            assert own in place.store.images
            assert LEFT not in place.store.images
            assert (await Talk(place, number=begun.number).run()).done
            assert set(place.store.images) == {"localhost/app:v1"}
            nursery.cancel_scope.cancel()


async def test_a_podman_that_does_not_answer_at_start_is_asked_again(autojump_clock: object) -> None:
    place = Place()
    place.store.images = {LEFT: "1"}
    place.store.info_fails = True
    async with trio.open_nursery() as nursery:
        await nursery.start(place.pushes.keep)
        await trio.sleep(15)
        assert place.store.images
        place.store.info_fails = False
        await trio.sleep(15)
        assert not place.store.images
        nursery.cancel_scope.cancel()


async def test_an_mcpd_that_ends_takes_its_endpoints_along() -> None:
    async with keeping() as place:
        await cut(place)
        assert place.pushes.open == 1
    assert place.pushes.open == 0
    assert place.store.images == {}
    with pytest.raises(UnavailableError, match="mcpd has not started yet"):
        await Place().pushes.begin(cast(Any, None), KYLE)
