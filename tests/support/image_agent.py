"""An agent that takes images as a node with podman does: says which layers it has, and asks for the others."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import Agent, Node
from tests.support.oci_images import ARCHITECTURE


class Incoming:
    """One push, over all its connections."""

    def __init__(self) -> None:
        self.content: v1.PushImageContent | None = None
        self.offsets: dict[str, int] = {}
        self.hashes: dict[str, Any] = {}


class ImageAgent(Agent):
    """Has no image at first."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        # By name, as `podman images` shows their ids; the digests of blobs and of what is in them.
        self.images: dict[str, str] = {}
        self.layers: set[str] = set()
        self.platform = ("linux", ARCHITECTURE, "")
        self.wanted: list[tuple[str, int]] = []
        self.contents: list[v1.PushImageContent] = []
        # Of data, as it came; and how many messages of it were compressed.
        self.received = 0
        self.compressed = 0
        self.largest = 0
        # The connection breaks each time that so many bytes have come, the first number first.
        self.breaks_at: list[int] = []
        self.break_connection: Callable[[], None] = lambda: None
        # It begins anew then, as a restarted mcpd.
        self.forgets = False
        # Asks for these, whatever it said that it has.
        self.insists: set[str] = set()
        self.wrong_id = ""
        # Asks for every layer so many times, and for something else than the image has.
        self.floods = 0
        self.strange: v1.BlobWanted | None = None
        # Says nothing more when that many bytes have come, for as long as the caller stays.
        self.hangs_at = 0
        # Waits for so long for data, and forgets the push then; calls `stalled` first.
        self.patience_s: float | None = None
        self.stalled: Callable[[], None] = lambda: None
        self._pushes: dict[str, Incoming] = {}
        self._number = 0

    async def push_image(
        self, push_image_request_iterator: AsyncIterator[v1.PushImageRequest]
    ) -> AsyncIterator[v1.PushImageResponse]:
        requests = push_image_request_iterator
        start = (await anext(requests)).start
        self._answer(start)
        name, push = self._joined(start)
        present = [each for each in start.layers if each in self.layers]
        yield v1.PushImageResponse(state=v1.PushImageState(name, present, *self.platform))
        if push.content is None:
            push.content = (await anext(requests)).content
            self._answer(push.content)
            self.contents.append(push.content)
        manifest = json.loads(push.content.manifests[-1].content)
        for each in manifest["layers"]:
            digest, size = each["digest"], each["size"]
            if digest in self.layers and digest not in self.insists:
                continue
            self.insists.discard(digest)
            offset = push.offsets.setdefault(digest, 0)
            self.wanted.append((digest, offset))
            for _ in range(self.floods):
                yield v1.PushImageResponse(wanted=v1.BlobWanted(digest, offset))
            if self.strange:
                yield v1.PushImageResponse(wanted=self.strange)
            yield v1.PushImageResponse(wanted=v1.BlobWanted(digest, offset))
            await self._take(push, requests, digest, size)
        self.layers.update(json.loads(push.content.config)["rootfs"]["diff_ids"])
        found = hashlib.sha256(push.content.config).hexdigest()
        self.images[start.reference] = found
        yield v1.PushImageResponse(done=v1.PushImageDone(self.wrong_id or found, self.received))

    def _joined(self, start: v1.PushImageStart) -> tuple[str, Incoming]:
        if start.push:
            if start.push not in self._pushes:
                raise GRPCError(Status.NOT_FOUND, "no such push of yours goes on here; push the image anew")
            return start.push, self._pushes[start.push]
        self._number += 1
        name = f"push-{self._number}"
        self._pushes[name] = Incoming()
        return name, self._pushes[name]

    async def _take(self, push: Incoming, requests: AsyncIterator[v1.PushImageRequest], digest: str, size: int) -> None:
        seen = push.hashes.setdefault(digest, hashlib.sha256())
        while push.offsets[digest] < size:
            part = (await self._next(requests)).data
            data = zlib.decompress(part.data) if part.compressed else part.data
            assert data
            self.received += len(part.data)
            self.compressed += part.compressed
            self.largest = max(self.largest, len(data))
            seen.update(data)
            push.offsets[digest] += len(data)
            if self.hangs_at and self.received >= self.hangs_at:
                await asyncio.Event().wait()
            if self.breaks_at and self.received >= self.breaks_at[0]:
                self.breaks_at.pop(0)
                if self.forgets:
                    self._pushes.clear()
                self.break_connection()
        if f"sha256:{seen.hexdigest()}" != digest or push.offsets[digest] != size:
            raise GRPCError(Status.INVALID_ARGUMENT, f"what came as {digest} is something else")
        self.layers.add(digest)

    async def _next(self, requests: AsyncIterator[v1.PushImageRequest]) -> v1.PushImageRequest:
        try:
            async with asyncio.timeout(self.patience_s):
                return await anext(requests)
        except TimeoutError:
            self._pushes.clear()
            self.stalled()
            raise GRPCError(Status.UNAVAILABLE, "the client has sent nothing") from None


def taking_images(node: Node) -> ImageAgent:
    """Has the node take images."""
    agent = ImageAgent(node.agent.node)
    node.cut(for_good=True)
    node.agent = agent
    node.listen()

    def break_connection() -> None:
        assert node._server is not None
        for transport in node._server.transports:
            transport.abort()

    agent.break_connection = break_connection
    return agent
