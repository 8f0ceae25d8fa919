"""PushImage on a real podman: an image comes without a registry, and nothing of the way that it took is left."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from grpclib import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from mcpd.changes.images import content
from mcpd.changes.images.blob import Blob
from mcpd.changes.images.content import Manifest
from mcpd.changes.images.push import Wanted
from mcpd.changes.images.pushes import Pushes
from mcpd.errors import NotFoundError
from mcpd.model import Caller, Role
from mcpd.runtime.podman import Podman
from tests.bench.client import Client
from tests.podman.node import Node, is_alive
from tests.podman.pushing import CHUNK, Cut, GivenUp, Pushed, push, pushed
from tests.podman.rootless import rootless_node
from tests.podman.test_jobs import ask
from tests.podman.test_survival import podman_service
from tests.support import oci_images
from tests.support.oci_images import Image, layer
from tests.support.waiting import until

MIB = 1024 * 1024
# As an endpoint's name begins, and as it goes on.
NAME = re.compile(r"127\.0\.0\.1:\d+/|mcp-push")
LEFT = "127.0.0.1:1234/0123456789abcdef0123456789abcdef/mcp-push:latest"


@pytest.fixture(scope="module")
def rootless(shared_node: Node) -> Iterator[Node]:
    with tempfile.TemporaryDirectory(prefix="mcp-push-") as folder:
        Path(folder).chmod(0o755)
        with rootless_node(Path(folder) / "node", shared_node) as node:
            yield node


@pytest.fixture(params=["root", "rootless"])
def place(request: pytest.FixtureRequest) -> Iterator[Node]:
    node: Node = request.getfixturevalue("node" if request.param == "root" else "rootless")
    before = images(node)
    yield node
    assert not left_over(node)
    for name in images(node) - before:
        node.podman("rmi", "--force", name)


def images(node: Node) -> set[str]:
    lines = node.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    return {each for each in lines if not each.startswith("<none>")}


def left_over(node: Node) -> set[str]:
    return {each for each in images(node) if each.startswith("127.0.0.1")}


def image_id(node: Node, reference: str) -> str:
    return node.podman("image", "inspect", "--format", "{{.Id}}", reference).strip()


def test_first_all_of_it_and_then_what_is_missing(place: Node) -> None:
    base = layer({"base": os.urandom(3 * MIB)})
    first = oci_images.image(base, layer({"app": os.urandom(1000)}), layer({}))
    second = oci_images.image(base, layer({"app": os.urandom(2000)}), layer({}))

    came = pushed(place, first, "localhost/pushed:1", service="shop")
    assert came.state.present == []
    assert sorted(came.wanted) == sorted((each, 0) for each in first.blobs)
    assert came.done
    assert came.done.id == first.id == image_id(place, "localhost/pushed:1")
    assert came.done.received_bytes == sum(map(len, first.blobs.values()))

    came = pushed(place, second, "localhost/pushed:2")
    assert set(came.state.present) == {base.digest, second.layers[2].digest}
    assert came.wanted == [(second.layers[1].digest, 0)]
    assert image_id(place, "localhost/pushed:2") == second.id

    (event,) = [each for each in place.json("events", "shop") if each["kind"] == "pushed"]
    assert event["message"].startswith("localhost/pushed:1, 3.0 MiB received of 3.0 MiB")


KINDS: dict[str, Callable[[], Image]] = {
    "schema 2": lambda: oci_images.image(layer({"a": b"1"}), docker=True),
    "list of schema 2": lambda: oci_images.image(layer({"a": b"2"}, "gzip"), docker=True, listed=True),
    "index": lambda: oci_images.image(layer({"a": b"3"}), listed=True),
    "gzip": lambda: oci_images.image(layer({"a": b"4"}, "gzip"), layer({"b": b"4"})),
    "zstd": lambda: oci_images.image(layer({"a": b"5"}, "zstd"), layer({"b": b"5"})),
    "empty layers": lambda: oci_images.image(layer({}), layer({}), layer({"a": b"6"}), layer({})),
    "no layers": lambda: oci_images.image(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_what_images_are_made_of(node: Node, kind: str, *, compress: bool) -> None:
    if kind == "zstd" and not shutil.which("zstd"):
        pytest.skip("there is no program zstd here")
    made = KINDS[kind]()
    came = pushed(node, made, "localhost/pushed/kinds", compress=compress)
    assert came.done
    assert came.done.id == made.id == image_id(node, "localhost/pushed/kinds:latest")
    assert not left_over(node)
    node.podman("rmi", "localhost/pushed/kinds:latest")


def test_a_caller_whose_connection_breaks_goes_on_where_it_broke(place: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(4 * MIB)}))
    begun = pushed(place, made, "localhost/pushed:cut", at=cut_at(3 * CHUNK))
    assert begun.done is None
    assert place.podman("images", "--quiet", "localhost/pushed") == ""

    came = pushed(place, made, "localhost/pushed:cut", number=begun.state.push)
    ((digest, offset),) = came.wanted
    assert digest == made.layers[0].digest
    assert 0 < offset <= 3 * CHUNK
    assert came.done
    assert came.done.received_bytes == len(made.layers[0].content)
    assert image_id(place, "localhost/pushed:cut") == made.id


def test_a_caller_that_gives_up_is_not_waited_for(node: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(4 * MIB)}))

    async def give_up(offset: int) -> None:
        if offset == 3 * CHUNK:
            raise GivenUp

    begun = pushed(node, made, "localhost/pushed:given-up", at=give_up)
    # At once, which is long before a connection that is lost would be forgotten.
    until(lambda: not list((node.folder / "podman-tmp").iterdir()))
    with pytest.raises(GRPCError) as raised:
        pushed(node, made, "localhost/pushed:given-up", number=begun.state.push)
    assert raised.value.status is Status.NOT_FOUND


def test_a_second_connection_takes_over_from_one_that_is_not_known_to_be_dead(node: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(4 * MIB)}))
    first: list[Any] = []
    second: list[Pushed] = []

    async def call(client: Client) -> None:
        has_state, is_taken = asyncio.Event(), asyncio.Event()
        numbers: list[str] = []

        async def stand_still(offset: int) -> None:
            if offset == 2 * CHUNK:
                has_state.set()
                await is_taken.wait()

        async def hang() -> None:
            first.append(await push(client, made, "localhost/pushed:taken", on_state=numbers.append, at=stand_still))

        hanging = asyncio.create_task(hang())
        await has_state.wait()
        second.append(await push(client, made, "localhost/pushed:taken", number=numbers[0]))
        is_taken.set()
        (ended,) = await asyncio.gather(hanging, return_exceptions=True)
        first.append(ended)

    ask(node, call)
    assert isinstance(first[0], GRPCError | StreamTerminatedError)
    if isinstance(first[0], GRPCError):
        assert (first[0].status, first[0].message) == (
            Status.UNAVAILABLE,
            "another connection has taken this push over",
        )
    assert 0 < second[0].wanted[0][1] <= 2 * CHUNK
    assert image_id(node, "localhost/pushed:taken") == made.id
    node.podman("rmi", "localhost/pushed:taken")


def test_a_layer_that_is_another_than_it_says_is_not_kept(place: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(2 * MIB)}), layer({"b": b"b"}))
    digest = made.layers[0].digest
    lie = made.blobs | {digest: made.blobs[digest][:-1] + b"!"}
    with pytest.raises(GRPCError) as raised:
        pushed(place, made, "localhost/pushed:lie", blobs=lie)
    assert raised.value.status is Status.INVALID_ARGUMENT
    assert raised.value.message
    assert raised.value.message.startswith(f"what came as {digest} has the digest sha256:")
    assert "localhost/pushed:lie" not in images(place)
    until(lambda: not left_over(place))
    assert pushed(place, made, "localhost/pushed:lie").done


def test_a_reference_with_a_digest_is_tagged_when_the_image_is_that_one(node: Node) -> None:
    made = oci_images.image(layer({"a": b"digest"}))
    with pytest.raises(GRPCError, match="the reference asks for sha256:0000"):
        pushed(node, made, f"localhost/pushed:exact@sha256:{64 * '0'}")
    assert pushed(node, made, f"localhost/pushed:exact@{made.digest}").done
    assert image_id(node, f"localhost/pushed@{made.digest}") == image_id(node, "localhost/pushed:exact") == made.id
    node.podman("rmi", "localhost/pushed:exact")


def test_two_callers_push_the_same_image_at_once(place: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(2 * MIB)}), layer({"b": os.urandom(MIB)}))
    came: list[Pushed] = []

    async def call(client: Client) -> None:
        names = ("localhost/pushed:one", "localhost/pushed:two", "localhost/pushed:two")
        came.extend(await asyncio.gather(*(push(client, made, each) for each in names)))

    ask(place, call)
    assert all(each.done for each in came)
    assert image_id(place, "localhost/pushed:one") == image_id(place, "localhost/pushed:two") == made.id


def test_a_killed_mcpd_leaves_nothing_and_the_next_takes_a_push_anew(node: Node) -> None:
    made = oci_images.image(layer({"first": os.urandom(MIB)}), layer({"a": os.urandom(4 * MIB)}))
    begun = pushed(node, made, "localhost/pushed:killed", at=cut_at(3 * CHUNK))
    service = podman_service(node)
    node.stop_daemon(signal.SIGKILL)
    until(lambda: not is_alive(service))
    with node.podman_alone():
        node.podman("tag", "localhost/mcp-demo:v1", LEFT)
    node.up()
    until(lambda: not left_over(node))
    with pytest.raises(GRPCError) as raised:
        pushed(node, made, "localhost/pushed:killed", number=begun.state.push)
    assert raised.value.status is Status.NOT_FOUND

    node.podman("tag", "localhost/mcp-demo:v1", LEFT)
    assert pushed(node, made, "localhost/pushed:killed").done
    assert not left_over(node)
    assert image_id(node, "localhost/mcp-demo:v1")
    node.podman("rmi", "localhost/pushed:killed")


def test_a_killed_podman_ends_the_push_and_its_next_one_has_no_layers_of_it(node: Node) -> None:
    made = oci_images.image(layer({"a": os.urandom(4 * MIB)}))
    temporary = node.folder / "podman-tmp"
    service = podman_service(node)

    async def kill(offset: int) -> None:
        if offset == 3 * CHUNK:
            assert list(temporary.iterdir())
            os.kill(service, signal.SIGKILL)

    with pytest.raises(GRPCError) as raised:
        pushed(node, made, "localhost/pushed:podman", at=kill)
    assert raised.value.status is Status.UNAVAILABLE
    until(lambda: node.mcpctl("ps", status=None).returncode == 0)
    assert list(temporary.iterdir()) == []
    assert pushed(node, made, "localhost/pushed:podman").done
    node.podman("rmi", "localhost/pushed:podman")


def test_nothing_that_is_written_or_told_has_the_endpoints_name(node: Node) -> None:
    made = oci_images.image(layer({"a": b"not the layer"}))
    # What podman cannot unpack, and says so of.
    broken = oci_images.Layer(b"no tar at all" * 100, made.layers[0].diff_id)
    wrong = oci_images.image(broken)
    before = len(node.log)
    with pytest.raises(GRPCError) as raised:
        pushed(node, wrong, "localhost/pushed:broken")
    assert raised.value.status is Status.FAILED_PRECONDITION
    assert raised.value.message
    assert not NAME.search(raised.value.message)
    assert pushed(node, made, "localhost/pushed:told").done
    assert not NAME.search(node.log[before:])
    assert not NAME.search(node.mcpctl("events", "--output", "json").stdout)

    def targets() -> set[str]:
        return {row["target"] for row in node.json("audit") if row["method"] == "PushImage"}

    until(lambda: targets() >= {"localhost/pushed:broken", "localhost/pushed:told"})
    assert not any(NAME.search(each) for each in targets())
    node.podman("rmi", "localhost/pushed:told")


async def test_a_caller_that_does_not_come_back_leaves_nothing(node: Node) -> None:
    """In the test's own process, where nobody waits for 30 s."""
    made = oci_images.image(layer({"a": os.urandom(MIB)}))
    kyle = Caller("kyle", Role.ADMIN)
    reference = content.reference("localhost/pushed:gone")
    socket = Path(node.environment["CONTAINER_HOST"].removeprefix("unix://"))
    async with Podman.connect(socket) as podman, trio.open_nursery() as nursery:
        pushes = Pushes(cast(Any, SimpleNamespace(name="n1", podman=podman)), grace=0.3)
        await nursery.start(pushes.keep)
        wanted = Wanted(reference, frozenset())
        begun = await pushes.begin(wanted, kyle)
        with trio.CancelScope() as connection:
            async with begun.joined(lambda: True):
                manifests = [Manifest(*each) for each in made.manifests]
                await begun.take(content.examine(manifests, made.config, 0, reference))
                blob = await begun.next()
                assert isinstance(blob, Blob)
                await begun.feed(blob, made.layers[0].content[:1000])
                connection.cancel()
                await trio.lowlevel.checkpoint()
        assert pushes.again(begun.id, wanted, kyle) is begun
        with trio.fail_after(20):
            while pushes.open:  # noqa: ASYNC110 (nothing tells)
                await trio.sleep(0.05)
        with pytest.raises(NotFoundError):
            pushes.again(begun.id, wanted, kyle)
        assert pushes.ended["cancelled"] == 1
        nursery.cancel_scope.cancel()
    assert not left_over(node)
    assert "localhost/pushed:gone" not in images(node)
    until(lambda: not list((node.folder / "podman-tmp").iterdir()))


def cut_at(end: int) -> Any:
    async def at(offset: int) -> None:
        if offset == end:
            raise Cut

    return at
