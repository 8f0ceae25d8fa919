"""One image on its way to the node: podman pulls it from our endpoint, and whoever pushes it is asked for its layers.

It outlives the call that began it: the caller may lose the connection, call again, and go on where that broke.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec
import structlog
import trio

from mcpd.changes import podman_hints
from mcpd.changes.images import room
from mcpd.changes.images.blob import Blob
from mcpd.changes.images.content import Content, Manifest, Reference
from mcpd.changes.images.endpoint import Endpoint, redacted
from mcpd.changes.images.prune import size
from mcpd.changes.node import Node
from mcpd.errors import BugError, McpdError, NotFoundError, RefusedError, UnavailableError, expected
from mcpd.model import Caller
from mcpd.runtime.api import PodmanError
from mcpd.runtime.image_store import Host, ImageStore

log = structlog.get_logger()

_ID_BYTES = 8
# Looking at a filesystem takes a moment; a network's may hang, and is then taken to have room.
_LOOK_S = 5.0
GONE = (
    "no such push of yours goes on here: mcpd has been restarted, or the connection was lost for too long; push the "
    "image anew"
)
_TAKEN_OVER = "another connection has taken this push over"
# For taking away the endpoint's name when all else is over.
_TIDY_S = 20.0


class Wanted(msgspec.Struct, frozen=True):
    """``service`` and ``component``: what it is for; may be empty. ``layers``: digests of the uncompressed ones."""

    reference: Reference
    layers: frozenset[str]
    service: str = ""
    component: str = ""


class State(msgspec.Struct, frozen=True):
    """What the node says of itself: which layers it has, and what it is."""

    present: frozenset[str]
    host: Host


class Done(msgspec.Struct, frozen=True):
    """``id`` of the image; bytes of its layers that came."""

    id: str
    received: int


class Push:
    """One push, from the caller's first word until the caller knows how it ended.

    ``grace``: for how long, in seconds, a caller may be gone; ``silence``: for how long podman may do nothing.
    """

    def __init__(
        self, node: Node, store: ImageStore, wanted: Wanted, caller: Caller, *, grace: float, silence: float
    ) -> None:
        self.id = secrets.token_hex(_ID_BYTES)
        self.caller = caller
        self.wanted = wanted
        self.received = 0
        self._node = node
        self._store = store
        self._grace = grace
        self._silence = silence
        self._life = trio.CancelScope()
        self._pull = trio.CancelScope()
        self._is_podmans_turn = True
        self._state: State | None = None
        self._content: Content | None = None
        self._has_content = trio.Event()
        self._asked: deque[Blob] = deque()
        self._news = trio.Event()
        self._result: Done | McpdError | None = None
        self._talk: trio.CancelScope | None = None
        self._turn = trio.Lock()
        self._talks = 0

    # -- for whoever pushes

    @contextlib.asynccontextmanager
    async def joined(self, is_lost: Callable[[], bool]) -> AsyncIterator[None]:
        """Talks with the caller, instead of whoever has until now. ``is_lost``: whether a talk that was cut off was so
        by a connection that broke, and may go on in another.

        Raises UnavailableError when another connection takes over, NotFoundError when it is too late, and what the push
        ends with.
        """
        self._talks += 1
        number = self._talks
        if self._talk:
            self._talk.cancel()
        async with self._in_turn(number, is_lost):
            with trio.CancelScope() as talk:
                self._talk, self._life.deadline = talk, math.inf
                may_return = False
                try:
                    yield
                except trio.Cancelled:
                    may_return = is_lost()
                    raise
                except Exception as error:
                    why = expected(error)
                    may_return = isinstance(why, UnavailableError) and self._result is None
                    if not may_return:
                        self._result = self._result or why
                    raise
                finally:
                    self._talk = None
                    if number == self._talks:
                        self._left(may_return=may_return)
        if talk.cancelled_caught:
            raise self._result if isinstance(self._result, McpdError) else UnavailableError(_TAKEN_OVER)

    @contextlib.asynccontextmanager
    async def _in_turn(self, number: int, is_lost: Callable[[], bool]) -> AsyncIterator[None]:
        """Waits until whoever talks has left. Raises as `joined`."""
        try:
            await self._turn.acquire()
        except trio.Cancelled:
            # Whoever had the turn has left it to this one to say what becomes of the push.
            if number == self._talks:
                self._left(may_return=is_lost())
            raise
        try:
            if self._life.cancel_called:
                raise NotFoundError(GONE)
            if number != self._talks:
                raise UnavailableError(_TAKEN_OVER)
            yield
        finally:
            self._turn.release()

    def _left(self, *, may_return: bool) -> None:
        """The caller has gone. It is waited for once all but the layers has come: until then nothing is lost."""
        if may_return and self._has_content.is_set():
            self._life.deadline = trio.current_time() + self._grace
        else:
            self._life.cancel()

    async def state(self) -> State:
        """As it was when the caller first asked. Raises PodmanError, UnavailableError."""
        if self._state is None:
            here = await self._store.layers() if self.wanted.layers else frozenset()
            self._state = State(self.wanted.layers & here, await self._store.host())
        return self._state

    @property
    def has_content(self) -> bool:
        return self._has_content.is_set()

    async def take(self, content: Content) -> None:
        """All but the layers: podman begins to pull. Raises RefusedError when there is no room for it."""
        state = await self.state()
        missing = sum(each for digest, each in content.layers.items() if digest not in state.present)
        needs = (
            room.Need(state.host.graph_root, max(missing, content.unpacked), "podman's images", has_images=True),
            room.Need(state.host.temporary, missing, "layers on their way there"),
        )
        with trio.move_on_after(_LOOK_S):
            short = await trio.to_thread.run_sync(room.shortage, needs, self._node.name, abandon_on_cancel=True)
            if short:
                raise RefusedError(short)
        self._content = content
        self._has_content.set()

    async def next(self) -> Blob | Done:
        """What podman waits for now; at the end, how it ended. Raises McpdError."""
        while True:
            while self._asked and self._asked[0].is_over:
                self._asked.popleft()
            if isinstance(self._result, McpdError):
                raise self._result
            if self._result:
                return self._result
            if self._asked:
                self._give_turn(to_podman=False)
                return self._asked[0]
            self._news = trio.Event()
            await self._news.wait()

    async def feed(self, blob: Blob, data: bytes) -> None:
        """Hands podman more of a layer; what it has given up is dropped. Raises InvalidRequestError."""
        self._give_turn(to_podman=True)
        await blob.feed(data)
        self.received += len(data)
        self._give_turn(to_podman=blob.is_over)

    # -- for the endpoint

    def manifest(self, digest: str) -> Manifest | None:
        """See `endpoint.Contents`."""
        assert self._content
        return self._content.manifests.get(digest or next(iter(self._content.manifests)))

    def blob(self, digest: str) -> bytes | Blob | None:
        """See `endpoint.Contents`."""
        assert self._content
        if digest == self._content.config_digest:
            return self._content.config
        if digest not in self._content.layers:
            return None
        blob = Blob(digest, self._content.layers[digest])
        self._asked.append(blob)
        self._news.set()
        return blob

    # -- for whoever keeps the pushes

    async def run(self, turn_of: Callable[[str], trio.Lock], on_name: Callable[[str], None]) -> None:
        """Brings the image, and returns when the caller knows of it, has cancelled it, or has been gone for too long.

        ``turn_of`` an image, by its id: of several pulls of one at once podman loses names (4.3), and the second would
        bring again what the first has brought. ``on_name`` is told which name the endpoint gives it.
        """
        with self._life:
            await self._has_content.wait()
            assert self._content
            try:
                async with turn_of(self._content.id):
                    self._result = await self._bring(on_name)
            except Exception as error:
                self._result = expected(error)
                if self._result is None:
                    log.exception("a push has crashed")
                    self._result = BugError("mcpd failed because of a bug; its log has the details")
                if self._talk:
                    self._talk.cancel()
            self._news.set()
            await trio.sleep_forever()

    @property
    def result(self) -> Done | McpdError | None:
        """None: it was cancelled, or its caller did not come back; or it goes on."""
        return self._result

    async def _bring(self, on_name: Callable[[str], None]) -> Done:
        assert self._content
        content, endpoint = self._content, Endpoint(self, self._heard)
        async with trio.open_nursery() as nursery:
            await nursery.start(endpoint.serve)
            on_name(endpoint.name)
            try:
                found = await self._pulled(endpoint)
                # Not cut off in the middle: an image that has its name is told of.
                with trio.CancelScope(shield=True):
                    await self._keep(found, content)
            except UnavailableError as error:
                raise UnavailableError(endpoint.redacted(str(error))) from None
            except PodmanError as error:
                raise RefusedError(podman_hints.about_push(endpoint.redacted(str(error)))) from None
            finally:
                nursery.cancel_scope.cancel()
                with trio.move_on_after(_TIDY_S, shield=True):
                    await remove_name(self._store, endpoint.name)
        return Done(content.id, self.received)

    async def _pulled(self, endpoint: Endpoint) -> str:
        """The id of the image that podman has made of it."""
        image = ""
        self._give_turn(to_podman=True)
        with self._pull:
            async with contextlib.aclosing(self._store.pull_without_tls(endpoint.name)) as lines:
                async for said in lines:
                    self._heard()
                    image = said or image
        if self._pull.cancelled_caught:
            raise UnavailableError(
                f"podman has done nothing for {self._silence:.0f} s with the image that is pushed; push it again"
            )
        return image

    async def _keep(self, found: str, content: Content) -> None:
        """Raises RefusedError when it is another image than it should be, PodmanError when it is gone already."""
        if not found:
            raise RefusedError("podman has ended the pull without an image; push it again")
        if found != content.id:
            raise RefusedError(
                f"podman made the image {found[:12]} of what should be {content.id[:12]}; nothing is kept"
            )
        wanted = self.wanted
        await self._store.tag(found, wanted.reference.repository, wanted.reference.tag)
        words = f"{wanted.reference}, {size(self.received)} received of {size(sum(content.layers.values()))}"
        await self._node.tell(wanted.service, wanted.component, "pushed", words, self.caller.name)

    def _give_turn(self, *, to_podman: bool) -> None:
        """Says who has to do something: podman, or whoever pushes."""
        self._is_podmans_turn = to_podman
        self._pull.deadline = trio.current_time() + self._silence if to_podman else math.inf

    def _heard(self) -> None:
        """podman does something."""
        if self._is_podmans_turn:
            self._give_turn(to_podman=True)


async def remove_name(store: ImageStore, name: str) -> None:
    """Takes an endpoint's name away, and with it an image that has no other. It may be tried again."""
    try:
        await store.remove_name(name)
    except McpdError as error:
        log.warning("the name of a push could not be removed yet", error=redacted(str(error)))
