"""What podman pulls a pushed image from: it serves whoever knows its secret, and says nothing to anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
import trio.testing

from mcpd.changes.images import endpoint
from mcpd.changes.images.blob import Blob
from mcpd.changes.images.content import Manifest
from mcpd.changes.images.endpoint import Endpoint
from mcpd.errors import InvalidRequestError
from protos.images import digest_of

DATA = bytes(range(256)) * 4096
DIGEST = digest_of(DATA)
CONFIG = b'{"os": "linux"}'
MANIFEST = Manifest("application/vnd.oci.image.manifest.v1+json", b"{}")
# Far longer than anything here takes: what passes it hangs.
DEADLINE_S = 20


class Shelf:
    """Has one image."""

    def __init__(self) -> None:
        self.asked: list[Blob] = []
        self.news = trio.Event()

    def manifest(self, digest: str) -> Manifest | None:
        return MANIFEST if digest in ("", MANIFEST.digest) else None

    def blob(self, digest: str) -> bytes | Blob | None:
        if digest == digest_of(CONFIG):
            return CONFIG
        if digest != DIGEST:
            return None
        self.asked.append(Blob(DIGEST, len(DATA)))
        self.news.set()
        return self.asked[-1]


class Place:
    def __init__(self, made: Endpoint, shelf: Shelf, client: httpx.AsyncClient) -> None:
        address, self.secret, _ = made.name.split("/")
        self.endpoint = made
        self.base = f"http://{address}"
        self.port = int(address.partition(":")[2])
        self.repository = f"{self.base}/v2/{self.secret}/mcp-push"
        self.shelf = shelf
        self.client = client

    async def get(self, path: str, **how: dict[str, str]) -> httpx.Response:
        return await self.client.get(f"{self.repository}/{path}", **how)  # type: ignore[arg-type]


@asynccontextmanager
async def serving() -> AsyncIterator[Place]:
    heard: list[None] = []
    shelf = Shelf()
    made = Endpoint(shelf, lambda: heard.append(None))
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery, httpx.AsyncClient() as client:
            await nursery.start(made.serve)
            yield Place(made, shelf, client)
            nursery.cancel_scope.cancel()


async def test_podman_gets_what_it_asks_for() -> None:
    async with serving() as place:
        assert (await place.client.get(f"{place.base}/v2/")).status_code == 200
        for which in ("latest", MANIFEST.digest):
            found = await place.get(f"manifests/{which}")
            assert (found.status_code, found.content) == (200, MANIFEST.content)
            assert found.headers["content-type"] == MANIFEST.media_type
        assert (await place.get(f"blobs/{digest_of(CONFIG)}")).content == CONFIG


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2",
        "/v2/_catalog",
        "/v2/mcp-push/manifests/latest",
        f"/v2/{32 * '0'}/mcp-push/manifests/latest",
        "/v2/SECRET",
        "/v2/SECRET/",
        "/v2/SECRET/mcp-push",
        "/v2/SECRET/mcp-push/",
        "/v2/SECRET/mcp-push/tags/list",
        "/v2/SECRET/mcp-push/manifests/v1",
        "/v2/SECRET/mcp-push/manifests/",
        f"/v2/SECRET/mcp-push/blobs/sha256:{64 * '0'}",
        "/v2/SECRET/mcp-push/blobs/../../../etc/passwd",
        "/v2/SECRET/other/manifests/latest",
        "/v2/SECRE/mcp-push/manifests/latest",
    ],
)
async def test_everything_else_is_not_there(path: str) -> None:
    async with serving() as place:
        path = path.replace("SECRET", place.secret).replace("SECRE/", f"{place.secret[:-1]}/")
        found = await place.client.get(f"{place.base}{path}")
        assert (found.status_code, found.content) == (404, b"")
        assert not place.shelf.asked


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
async def test_nothing_but_get_is_answered(method: str) -> None:
    async with serving() as place:
        found = await place.client.request(method, f"{place.repository}/manifests/latest")
        assert found.status_code == 404


async def test_a_part_of_a_layer_is_not_to_be_had() -> None:
    async with serving() as place:
        found = await place.get(f"blobs/{DIGEST}", headers={"Range": "bytes=5-"})
        assert found.status_code == 400
        assert not place.shelf.asked


async def test_a_layer_passes_through_as_it_comes() -> None:
    async with serving() as place, trio.open_nursery() as nursery:
        answers: list[httpx.Response] = []

        async def get() -> None:
            answers.append(await place.get(f"blobs/{DIGEST}"))

        nursery.start_soon(get)
        await place.shelf.news.wait()
        (blob,) = place.shelf.asked
        for begin in range(0, len(DATA), 100_000):
            assert not blob.is_over
            await blob.feed(DATA[begin : begin + 100_000])
        assert blob.is_over
    assert answers[0].content == DATA


async def test_podman_does_not_get_the_end_of_a_layer_when_the_push_ends_before() -> None:
    came = bytearray()
    async with serving() as place:
        async with place.client.stream("GET", f"{place.repository}/blobs/{DIGEST}") as response:
            (blob,) = place.shelf.asked
            await blob.feed(DATA[:-1])
            blob.abandon()
            with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 (what is read until then is looked at)
                async for each in response.aiter_raw():
                    came += each
    assert DATA.startswith(bytes(came))
    assert len(came) < len(DATA)


async def test_what_podman_has_given_up_is_dropped() -> None:
    async with serving() as place:
        stream = await trio.open_tcp_stream("127.0.0.1", place.port)
        await stream.send_all(f"GET /v2/{place.secret}/mcp-push/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await place.shelf.news.wait()
        (blob,) = place.shelf.asked
        await blob.feed(DATA[:1000])
        await stream.aclose()
        for begin in range(1000, len(DATA), 1000):
            await blob.feed(DATA[begin : begin + 1000])
            if blob.is_over:
                break
        assert blob.is_over
        assert blob.offset < len(DATA)
        await blob.feed(DATA)


async def test_a_podman_that_goes_while_it_waits_is_noticed() -> None:
    async with serving() as place:
        stream = await trio.open_tcp_stream("127.0.0.1", place.port)
        await stream.send_all(f"GET /v2/{place.secret}/mcp-push/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await place.shelf.news.wait()
        (blob,) = place.shelf.asked
        assert not blob.is_over
        await stream.aclose()
        while not blob.is_over:  # noqa: ASYNC110 (nothing tells)
            await trio.sleep(0.005)


async def test_whoever_speaks_no_http_or_nothing_is_in_nobodys_way() -> None:
    async with serving() as place:
        streams = [await trio.open_tcp_stream("127.0.0.1", place.port) for _ in range(40)]
        for each in streams:
            await each.send_all(b"\x16\x03\x01" if each is streams[-1] else b"G")
        assert (await place.get("manifests/latest")).status_code == 200
        # The oldest have been sent away.
        assert await streams[0].receive_some(1) == b""
        for each in streams:
            await each.aclose()


async def test_a_layer_that_has_too_much_or_lies_is_refused_before_its_end() -> None:
    blob = Blob(DIGEST, len(DATA))
    passed = bytearray()

    async def take() -> None:
        while len(passed) < len(DATA):
            passed.extend(await blob.next())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await blob.feed(DATA[:-1])
            with pytest.raises(InvalidRequestError, match=f"the blob {DIGEST} has more than the {len(DATA)} bytes"):
                await blob.feed(b"ab")
            with pytest.raises(InvalidRequestError, match=f"what came as {DIGEST} has the digest sha256:"):
                await blob.feed(b"!")
            await trio.testing.wait_all_tasks_blocked()
            assert bytes(passed) == DATA[:-1]
            assert blob.offset == len(DATA) - 1
            await blob.feed(DATA[-1:])
    assert bytes(passed) == DATA


async def test_a_layer_that_is_cut_off_has_taken_nothing_of_what_was_not_passed_on() -> None:
    blob = Blob(DIGEST, len(DATA))
    with trio.move_on_after(0):
        await blob.feed(DATA[:1000])
    assert blob.offset == 0


async def test_errors_are_told_without_what_leads_here() -> None:
    async with serving() as place:
        name = place.endpoint.name
        assert endpoint.is_name(name)
        words = f"initializing source docker://{name}: pinging registry {name.partition('/')[0]}: {place.secret}"
        told = place.endpoint.redacted(words)
        assert told == "initializing source docker://the pushed image: pinging registry mcpd: ..."


@pytest.mark.parametrize(
    "name",
    [
        "localhost/mcp-push:latest",
        "127.0.0.1:5000/app/mcp-push:latest",
        f"127.0.0.1:5000/{32 * '0'}/mcp-push:v1",
        f"127.0.0.1:5000/{32 * '0'}/mcp-push:latest/more",
        f"127.0.0.1:5000/{31 * '0'}/mcp-push:latest",
        f"10.0.0.1:5000/{32 * '0'}/mcp-push:latest",
    ],
)
def test_nobody_elses_image_is_taken_for_what_a_push_has_left(name: str) -> None:
    assert not endpoint.is_name(name)
    assert endpoint.is_name(f"127.0.0.1:5000/{32 * '0'}/mcp-push:latest")
