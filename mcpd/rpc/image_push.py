"""The RPC that brings an image from a caller: PushImage."""

from __future__ import annotations

from typing import Any

import betterproto
import trio

from mcpd.changes.images import content
from mcpd.changes.images.blob import Blob, unpacked
from mcpd.changes.images.content import Content, Manifest
from mcpd.changes.images.push import Done, Push, Wanted
from mcpd.changes.images.pushes import Pushes
from mcpd.errors import InvalidRequestError, UnavailableError
from mcpd.model import Caller, Target
from mcpd.rpc.messages import Message, Requests, Send, send_within
from mcpd.rpc.methods import Conversation
from mcpd.rpc.streams import STALL_S
from protos import grammar
from protos.images import MAX_LAYERS
from protos.mcp import v1 as wire
from protos.naming import is_name

# A list and one of its manifests.
_MAX_MANIFESTS = 2


class ImagePushMethods:
    """``stall_s``: for how long a caller may say nothing when it has something to say."""

    def __init__(self, pushes: Pushes, stall_s: float = STALL_S) -> None:
        self._pushes = pushes
        self._stall_s = stall_s

    @property
    def conversations(self) -> dict[str, Conversation]:
        return {"PushImage": self.push_image}

    async def push_image(self, requests: Requests, caller: Caller, send: Send) -> None:
        client = _Client(requests, send, self._stall_s)
        start = await client.start()
        wanted = _wanted(start)
        requests.concerns(Target(wanted.service or str(wanted.reference), wanted.component))
        if start.push:
            push = self._pushes.again(start.push, wanted, caller)
        else:
            push = await self._pushes.begin(wanted, caller)
        async with push.joined(lambda: requests.is_lost):
            if not start.push:
                await self._pushes.tidy()
            await client.tell(wire.PushImageResponse(state=await _state(push)))
            if not push.has_content:
                await push.take(await client.content(wanted))
            while isinstance(found := await push.next(), Blob):
                await self._carry(client, push, found)
            requests.is_over = True
            await client.tell(_done(found))

    async def _carry(self, client: _Client, push: Push, blob: Blob) -> None:
        """Asks for the rest of a layer, and hands it over as it comes."""
        left = blob.size - blob.offset
        await client.tell(wire.PushImageResponse(wanted=wire.BlobWanted(blob.digest, blob.offset)))
        while left:
            data = await client.data(left)
            left -= len(data)
            await push.feed(blob, data)


class _Client:
    """The other end of a call. Raises InvalidRequestError for what comes out of turn, UnavailableError for silence."""

    def __init__(self, requests: Requests, send: Send, stall_s: float) -> None:
        self._requests = requests
        self._send = send
        self._stall_s = stall_s
        self._pending: list[Any] = []

    async def start(self) -> wire.PushImageStart:
        start: wire.PushImageStart = await self._part("start", "a push begins with what is pushed: a reference")
        return start

    async def content(self, wanted: Wanted) -> Content:
        part = await self._part("content", "the node's state is followed by the image's content: manifests and config")
        if len(part.manifests) > _MAX_MANIFESTS:
            raise InvalidRequestError("an image has one manifest, or a list of manifests and one of those")
        manifests = [Manifest(each.media_type, each.content) for each in part.manifests]
        return content.examine(manifests, part.config, part.unpacked_bytes, wanted.reference)

    async def data(self, left: int) -> bytes:
        """Of a layer of which so many bytes are still to come; at least one."""
        part: wire.BlobData = await self._part("data", "a layer that the node wants is followed by its data")
        data = unpacked(part.data, left) if part.compressed else part.data
        if not data:
            raise InvalidRequestError("data: is empty")
        if len(data) > left:
            raise InvalidRequestError(f"data: has {len(data)} bytes, and the layer has only {left} more")
        return data

    async def tell(self, answer: Message) -> None:
        if self._pending:
            raise InvalidRequestError("the client has sent more than the node has asked for")
        await send_within(self._stall_s, self._send, answer)

    async def _part(self, kind: str, rule: str) -> Any:
        if not self._pending:
            self._pending = await self._batch()
        message = self._pending.pop(0) if self._pending else None
        if message is None or betterproto.which_one_of(message, "part")[0] != kind:
            raise InvalidRequestError(rule)
        return getattr(message, kind)

    async def _batch(self) -> list[Any]:
        with trio.move_on_after(self._stall_s):
            return await self._requests.batch()
        raise UnavailableError(f"the client has sent nothing for {self._stall_s:.0f} s")


def _wanted(start: wire.PushImageStart) -> Wanted:
    """Raises InvalidRequestError."""
    for name, value in (("service", start.service), ("component", start.component)):
        if value and not is_name(value):
            raise InvalidRequestError(f"{name}: {grammar.quoted(value)} is not a name")
    if start.component and not start.service:
        raise InvalidRequestError("component: is of no service; say which")
    if not start.reference:
        raise InvalidRequestError("reference: is missing; it is the name that the image gets")
    if len(start.layers) > MAX_LAYERS:
        raise InvalidRequestError(f"layers: has {len(start.layers)}; at most {MAX_LAYERS} are accepted")
    layers = frozenset(content.check_digest(each) for each in start.layers)
    return Wanted(content.reference(start.reference), layers, start.service, start.component)


async def _state(push: Push) -> wire.PushImageState:
    state = await push.state()
    host = state.host
    return wire.PushImageState(push.id, sorted(state.present), host.os, host.architecture, host.variant)


def _done(done: Done) -> wire.PushImageResponse:
    return wire.PushImageResponse(done=wire.PushImageDone(done.id, done.received))
