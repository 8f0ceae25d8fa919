"""The conversation by which one node gets an image: what it has, what the image is made of, then what it lacks.

A lost connection is made again, and goes on where it was. What the node refuses is not asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import betterproto
import msgspec

from mcpctl.config import Node, Settings
from mcpctl.errors import BusyError, CliError, SilentError, UnknownServiceError, UnreachableError
from mcpctl.images.content import Package, Reading
from mcpctl.images.platforms import Platform
from mcpctl.nodes import client
from mcpctl.nodes.transfer.blobs import DataRequest, Sending
from mcpctl.ui import render
from protos.images import MAX_LAYERS
from protos.mcp import v1

_ROUTE = "/mcp.v1.AgentService/PushImage"
# A node keeps a push for half of it; what has to begin anew then loses nothing that podman had finished.
_PATIENCE_S = 60.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
# Connections in a row that held, and brought nothing.
_MOST_BARREN = 3
# A node waits for half a minute to be told what the image is made of. To save a large one takes longer.
_HOLD_S = 15.0
# A node asks for one layer at a time.
_MOST_WANTED = 8


class Start(msgspec.Struct, frozen=True):
    """What is to be pushed, and for which component. ``diff_ids``: the layers that the image may have."""

    reference: str
    service: str
    component: str
    diff_ids: frozenset[str]


class State(msgspec.Struct, frozen=True):
    """What a node says before it gets anything. ``present``: the diff ids of layers that it has."""

    machine: Platform
    present: frozenset[str]


class Delivered(msgspec.Struct, frozen=True):
    """``sent``: bytes of layers as they went over the wire. ``present``: bytes of those that were not asked for."""

    id: str
    sent: int
    present: int
    total: int


class Progress:
    """How far one node is. ``total``: bytes that it will get, as far as is known. Told each time that it changes."""

    def __init__(self, changed: Callable[[int, int], None]) -> None:
        self._changed = changed
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def expect(self, sizes: dict[str, int]) -> None:
        """Of the blobs that will be asked for."""
        self._sizes.update(sizes)
        self._tell()

    def now(self, digest: str, offset: int) -> None:
        self._done[digest] = offset
        self._tell()

    @property
    def asked(self) -> frozenset[str]:
        """The blobs of which something was sent."""
        return frozenset(self._done)

    @property
    def done(self) -> int:
        """Bytes that the node has of what it lacked."""
        return sum(self._done.values())

    def _tell(self) -> None:
        self._changed(self.done, sum(self._sizes.values()))


# Returns what the node is to get, when it is there to be sent.
Ready = Callable[[State], Awaitable[Package]]
Open = Callable[[str], Awaitable[Reading]]


async def _until_ready(preparing: asyncio.Future[Package]) -> None:
    await asyncio.wait([preparing], timeout=_HOLD_S)


class _SlowError(Exception):
    def __init__(self, preparing: asyncio.Future[Package]) -> None:
        super().__init__()
        self.preparing = preparing


class Push:
    """One image, to one node."""

    def __init__(
        self, settings: Settings, node: Node, start: Start, ready: Ready, open_: Open, progress: Progress
    ) -> None:
        self._settings = settings
        self._node = node
        self._start = start
        self._ready = ready
        self._open = open_
        self._progress = progress
        self._sending = Sending(progress.now)
        # A layer that a node has asked for, while it is saved here.
        self._opening: asyncio.Future[Reading] | None = None
        # The id that the node knows it by; "" when it has to begin anew.
        self._id = ""
        self._package: Package | None = None
        # The node has the manifest, as its questions show.
        self._is_known = False
        self._was_reached = False
        # Bytes that the node had when it last asked for something; what was sent since may be on its way.
        self._confirmed = 0

    async def run(self) -> Delivered:
        """Raises CliError, UnreachableError when the connection is lost and does not come back."""
        patience = _Patience(asyncio.get_running_loop().time)
        while True:
            self._was_reached = False
            patience.begin()
            try:
                return await self._attempt()
            except _SlowError as slow:
                # The node waits for nobody for so long; it is asked again when everything is at hand.
                await slow.preparing
                self._id = ""
                continue
            except UnreachableError as error:
                if await self._was_saving():
                    # It was ours to wait for, for longer than a node does.
                    patience = _Patience(asyncio.get_running_loop().time)
                self._lost(error, patience)
            except UnknownServiceError as error:
                if not self._id:
                    raise CliError(str(error)) from None
                # It was restarted, or has waited for too long.
                self._id, self._is_known = "", False
            except BusyError:
                # It may be the very push that it does not know to be over.
                if patience.is_over:
                    raise
            await patience.pause()

    async def _opened(self, digest: str) -> Reading:
        """A layer, when it is saved. A connection that is lost meanwhile does not end that."""
        opening = self._opening = asyncio.ensure_future(self._open(digest))
        await asyncio.wait([opening])
        self._opening = None
        return opening.result()

    async def _was_saving(self) -> bool:
        """Whether a layer was being saved; it is now. Raises CliError."""
        opening, self._opening = self._opening, None
        if opening is None:
            return False
        was_saving = not opening.done()
        (await opening).close()
        return was_saving

    def _lost(self, error: UnreachableError, patience: _Patience) -> None:
        """Raises UnreachableError when there is no use in trying again."""
        if self._was_reached and patience.is_new_outage(self._confirmed):
            render.note(f"mcpctl: {error}; trying again for {_PATIENCE_S:g} s")
        if patience.is_over:
            raise _given_up(error) if patience.has_begun else error from None
        if not self._is_known:
            self._id = ""

    async def _attempt(self) -> Delivered:
        async with client.agent(self._settings, self._node, deadline=None, is_session=True) as stub:
            orders: asyncio.Queue[v1.PushImageContent | v1.BlobWanted] = asyncio.Queue()
            messages = self._messages(orders)
            call: Any = stub._stream_stream
            answers = call(_ROUTE, messages, object, v1.PushImageResponse)
            async with aclosing(messages), aclosing(answers):
                await self._greeted(answers, orders)
                async for answer in answers:
                    self._was_reached = True
                    part, value = betterproto.which_one_of(answer, "part")
                    if isinstance(value, v1.PushImageDone):
                        return self._delivered(value)
                    if not isinstance(value, v1.BlobWanted):
                        raise self._wrong(f"{part or 'an unknown message'} came out of order")
                    self._check(value)
                    self._is_known = True
                    if orders.qsize() >= _MOST_WANTED:
                        raise self._wrong(f"it asks for more than {_MOST_WANTED} layers before it has got one")
                    orders.put_nowait(value)
        # grpclib takes a connection that closes right behind an error for the end of a good stream.
        raise UnreachableError(f"node {self._node.name}: the connection was closed before the image was there")

    async def _greeted(self, answers: AsyncGenerator[v1.PushImageResponse, None], orders: asyncio.Queue[Any]) -> None:
        """Hears what the node has, and says what the image is made of, unless it knows that."""
        try:
            async with asyncio.timeout(client.SILENCE_S):
                answer = await anext(answers, None)
        except TimeoutError:
            raise SilentError(
                f"node {self._node.name}: {self._node.address} did not answer within {client.SILENCE_S:g} s"
            ) from None
        if answer is None:
            raise UnreachableError(f"node {self._node.name}: the connection was closed before the node had answered")
        part, state = betterproto.which_one_of(answer, "part")
        if not isinstance(state, v1.PushImageState):
            raise self._wrong(f"{part or 'an unknown message'} came first")
        self._was_reached = True
        is_resumed = bool(self._id) and self._id == state.push
        self._id = state.push
        if is_resumed and self._package is not None:
            return
        self._is_known = False
        present = frozenset(state.present) & self._start.diff_ids
        self._package = package = await self._prepared(
            State(Platform(state.os, state.architecture, state.variant), present)
        )
        lacking = [each for each in package.layers if each.diff_id not in present]
        self._progress.expect({each.digest: each.size for each in lacking})
        orders.put_nowait(
            v1.PushImageContent(
                [v1.Manifest(each.media_type, each.content) for each in package.manifests],
                package.config,
                sum(each.unpacked for each in lacking),
            )
        )

    async def _prepared(self, state: State) -> Package:
        """Raises _SlowError when it takes longer than a node waits."""
        preparing = asyncio.ensure_future(self._ready(state))
        try:
            await _until_ready(preparing)
        except asyncio.CancelledError:
            preparing.cancel()
            raise
        if not preparing.done():
            raise _SlowError(preparing)
        return preparing.result()

    async def _messages(
        self, orders: asyncio.Queue[v1.PushImageContent | v1.BlobWanted]
    ) -> AsyncGenerator[v1.PushImageRequest | DataRequest, None]:
        start = self._start
        yield v1.PushImageRequest(
            start=v1.PushImageStart(
                start.reference, start.service, start.component, sorted(start.diff_ids)[:MAX_LAYERS], self._id
            )
        )
        while True:
            order = await orders.get()
            if isinstance(order, v1.PushImageContent):
                yield v1.PushImageRequest(content=order)
                continue
            reading = await self._opened(order.digest)
            async with aclosing(self._sending.pieces(order.digest, reading, order.offset)) as pieces:
                async for piece in pieces:
                    yield piece

    def _check(self, wanted: v1.BlobWanted) -> None:
        """Raises CliError for what the image does not have."""
        assert self._package is not None
        sizes = {each.digest: each.size for each in self._package.layers}
        if wanted.offset > sizes.get(wanted.digest, -1):
            raise self._wrong(
                f"it asks for {wanted.digest} from byte {wanted.offset} on, which the image does not have"
            )
        self._progress.expect({wanted.digest: sizes[wanted.digest]})
        self._progress.now(wanted.digest, wanted.offset)
        self._confirmed = self._progress.done

    def _delivered(self, done: v1.PushImageDone) -> Delivered:
        package = self._package
        assert package is not None
        if done.id.removeprefix("sha256:") != package.id:
            raise CliError(
                f"node {self._node.name}: it has {self._start.reference} as the image {done.id}, but {package.id} was "
                "sent: remove it there, and push again"
            )
        present = sum(each.size for each in package.layers if each.digest not in self._progress.asked)
        return Delivered(package.id, self._sending.sent, present, package.size)

    def _wrong(self, reason: str) -> CliError:
        return CliError(f"node {self._node.name}: {reason}: mcpctl and mcpd do not understand each other")


class _Patience:
    """For how long a node that was lost is tried again: `_PATIENCE_S`, in pauses that grow, for each outage."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = 0.0
        self._wait = _FIRST_WAIT_S
        self._until = 0.0
        # Bytes that were there when a time last began; and how many connections brought nothing since.
        self._furthest = 0
        self._barren = 0

    def begin(self) -> None:
        """Another attempt."""
        self._began = self._now()

    def is_new_outage(self, done: int) -> bool:
        """A connection that had held was lost, with ``done`` bytes there: whether the time begins anew."""
        has_moved = done > self._furthest
        self._barren = 0 if has_moved else self._barren + 1
        has_lasted = self._now() - self._began > _PATIENCE_S and self._barren <= _MOST_BARREN
        if self._until and not has_moved and not has_lasted:
            return False
        self._wait, self._until, self._furthest = _FIRST_WAIT_S, self._now() + _PATIENCE_S, done
        return True

    @property
    def has_begun(self) -> bool:
        return self._until > 0

    @property
    def is_over(self) -> bool:
        return self._now() >= self._until

    async def pause(self) -> None:
        await asyncio.sleep(min(self._wait, max(0.0, self._until - self._now())))
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)


def _given_up(error: UnreachableError) -> UnreachableError:
    return UnreachableError(
        f"{error}; given up after {_PATIENCE_S:g} s. The layers that the node has whole need not be sent again"
    )
