"""A client of PushImage that does what the contract says, or not, as a test tells it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import betterproto
from grpclib.const import Cardinality

from protos.mcp import v1
from tests.bench.client import Client
from tests.podman.node import Node
from tests.podman.test_jobs import ask
from tests.support.oci_images import Image

PATH = "/mcp.v1.AgentService/PushImage"
CHUNK = 512 * 1024
DEADLINE_S = 100.0


class Pushed(NamedTuple):
    """How a push went. ``wanted``: digests and offsets, in order."""

    wanted: list[tuple[str, int]]
    state: v1.PushImageState = v1.PushImageState()
    done: v1.PushImageDone | None = None


At = Callable[[int], Awaitable[None]]


class Cut(Exception):
    """The caller's connection breaks here."""


class GivenUp(Exception):
    """The caller cancels its call here, on a connection that stays."""


def content_of(image: Image) -> v1.PushImageContent:
    return v1.PushImageContent(
        manifests=[v1.Manifest(kind, content) for kind, content in image.manifests], config=image.config
    )


async def push(
    client: Client,
    image: Image,
    reference: str,
    *,
    number: str = "",
    blobs: Mapping[str, bytes] | None = None,
    content: v1.PushImageContent | None = None,
    service: str = "",
    compress: bool = False,
    at: At | None = None,
    on_state: Callable[[str], None] | None = None,
) -> Pushed:
    """Pushes ``image``. ``blobs`` and ``content``: sent in place of its own. ``at``: called with the offset
    before each chunk, and may raise `Cut` or `GivenUp`, at which the push ends as it is.

    Raises GRPCError.
    """
    start = v1.PushImageStart(reference=reference, service=service, layers=image.diff_ids, push=number)
    metadata = {"authorization": f"Bearer {client.token}"}
    call = client._channel.request(
        *(PATH, Cardinality.STREAM_STREAM, v1.PushImageRequest, v1.PushImageResponse),
        timeout=DEADLINE_S,
        metadata=metadata,
    )
    push = Pushed(wanted=[])
    async with call as stream:
        await stream.send_message(v1.PushImageRequest(start=start))
        while (response := await stream.recv_message()) is not None:
            match betterproto.which_one_of(response, "part"):
                case "state", state:
                    push = push._replace(state=state)
                    if on_state:
                        on_state(state.push)
                    if not number:
                        await stream.send_message(v1.PushImageRequest(content=content or content_of(image)))
                case "wanted", wanted:
                    push.wanted.append((wanted.digest, wanted.offset))
                    blob = (image.blobs if blobs is None else blobs)[wanted.digest]
                    try:
                        async for data in chunks(blob, wanted, at, compress=compress):
                            await stream.send_message(v1.PushImageRequest(data=data))
                    except (Cut, GivenUp) as end:
                        if isinstance(end, Cut):
                            cut(client)
                        await stream.cancel()
                        return push
                case "done", done:
                    await stream.cancel()
                    return push._replace(done=done)
        await stream.recv_trailing_metadata()
    return push


async def chunks(blob: bytes, wanted: v1.BlobWanted, at: At | None, *, compress: bool) -> AsyncIterator[v1.BlobData]:
    for offset in range(wanted.offset, len(blob), CHUNK):
        if at:
            await at(offset)
        data = blob[offset : offset + CHUNK]
        yield v1.BlobData(zlib.compress(data, 1) if compress else data, compress)


def cut(client: Client) -> None:
    """As when the client is killed: nothing more is said."""
    protocol = client._channel._protocol
    assert protocol is not None
    protocol.connection._transport.abort()


def pushed(node: Node, image: Image, reference: str, **how: object) -> Pushed:
    """One push in a connection of its own."""
    found: list[Pushed] = []

    async def call(client: Client) -> None:
        found.append(await push(client, image, reference, **how))  # type: ignore[arg-type]

    ask(node, call)
    return found[0]
