"""HTTP for podman's pull of one image that is being pushed: as much of the registry API as that takes, and no more.

It listens on the loopback address, on a port of the kernel's choice, for the length of a push. What it has is below a
secret in the path, since every user of the node reaches the address; to all others it says nothing. Requests as podman
makes them are those of the OCI distribution-spec ("Pulling manifests", "Pulling blobs").
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, NoReturn, Protocol

import h11
import trio

from mcpd.changes.images.blob import Blob
from mcpd.changes.images.content import Manifest

HOST = "127.0.0.1"
_REPOSITORY = "mcp-push"
_TAG = "latest"
_SECRET_BYTES = 16
# A name that podman gave an image of such an endpoint; also what is said about one.
_NAME = rf"{re.escape(HOST)}:[0-9]{{1,5}}/[0-9a-f]{{{2 * _SECRET_BYTES}}}/{_REPOSITORY}"
_LEFT = re.compile(rf"{_NAME}:{_TAG}")
# Request line and headers; podman sends some 500 bytes.
_MAX_REQUEST_BYTES = 16 * 1024
_READ_BYTES = 4096
# podman, on the same machine, says at once what it wants.
_REQUEST_S = 10.0
# For a manifest or a configuration, to a podman that is busy writing layers.
_ANSWER_S = 60.0
# podman has six downloads at once. Of connections that have not shown the secret yet the oldest gives way.
_MAX_STRANGERS = 16
_MAX_CONNECTIONS = 64


class Contents(Protocol):
    """What is served."""

    def manifest(self, digest: str) -> Manifest | None:
        """The outermost one when ``digest`` is empty."""

    def blob(self, digest: str) -> bytes | Blob | None:
        """The configuration; a layer, which is from now on wanted of whoever has it."""


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes | Blob = b""
    media_type: str = "application/octet-stream"


class Endpoint:
    """Serves ``contents`` when run. ``heard`` is called when podman asks for something."""

    def __init__(self, contents: Contents, heard: Callable[[], None]) -> None:
        self._contents = contents
        self._heard = heard
        self._secret = secrets.token_hex(_SECRET_BYTES)
        self._port = 0
        # Which have not shown the secret, oldest first.
        self._strangers: dict[trio.CancelScope, None] = {}
        self._open = 0

    @property
    def name(self) -> str:
        """What podman pulls."""
        return f"{HOST}:{self._port}/{self._secret}/{_REPOSITORY}:{_TAG}"

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Runs until cancelled. Started when it listens."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self._port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._accept, listeners)

    def redacted(self, text: str) -> str:
        """``text`` without what would lead here."""
        return redacted(text).replace(self._secret, "...").replace(f"{HOST}:{self._port}", "mcpd")

    async def _accept(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._open >= _MAX_CONNECTIONS:
                return
            self._open += 1
            try:
                await self._serve(stream)
            except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
                pass  # podman has gone, or somebody else plays
            finally:
                self._open -= 1

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One request, one answer."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_REQUEST_BYTES)
        request = await self._request(stream, connection)
        if request is None:
            return
        answer = self._answer(request)
        if isinstance(answer.body, Blob):
            await self._pass_on(stream, connection, answer.body)
            return
        with trio.move_on_after(_ANSWER_S):
            await stream.send_all(_head(connection, answer, len(answer.body)))
            await stream.send_all(_data(connection, answer.body))
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
            await stream.send_eof()

    async def _request(self, stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
        """None when there is none in time. podman tries TLS first, and then does without."""
        if len(self._strangers) >= _MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
        with trio.move_on_after(_REQUEST_S) as scope:
            self._strangers[scope] = None
            try:
                while True:
                    match connection.next_event():
                        case h11.Request() as request:
                            return request
                        case h11.ConnectionClosed() | h11.PAUSED:
                            return None
                    connection.receive_data(await stream.receive_some(_READ_BYTES))
            except h11.RemoteProtocolError:
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            finally:
                self._strangers.pop(scope, None)
        return None

    def _answer(self, request: h11.Request) -> _Answer:
        path = request.target.decode("latin-1")
        if request.method != b"GET":
            return _Answer(HTTPStatus.NOT_FOUND)
        if path == "/v2/":
            return _Answer(HTTPStatus.OK, b"{}", "application/json")
        prefix = f"/v2/{self._secret}/{_REPOSITORY}/"
        if not hmac.compare_digest(path[: len(prefix)].encode(), prefix.encode()):
            return _Answer(HTTPStatus.NOT_FOUND)
        self._heard()
        kind, _, which = path[len(prefix) :].partition("/")
        if kind == "manifests" and which and (found := self._contents.manifest("" if which == _TAG else which)):
            return _Answer(HTTPStatus.OK, found.content, found.media_type)
        # Parts of a blob are not to be had, which newer podman takes this answer for (containers/image, GetBlobAt).
        if kind == "blobs" and any(name == b"range" for name, _ in request.headers):
            return _Answer(HTTPStatus.BAD_REQUEST)
        if kind == "blobs" and (blob := self._contents.blob(which)) is not None:
            return _Answer(HTTPStatus.OK, blob)
        return _Answer(HTTPStatus.NOT_FOUND)

    async def _pass_on(self, stream: trio.SocketStream, connection: h11.Connection, blob: Blob) -> None:
        """Sends a layer as it comes. The connection breaks when it does not come to its right end."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, stream, nursery.cancel_scope)
                await stream.send_all(_head(connection, _Answer(HTTPStatus.OK), blob.size))
                sent = 0
                while sent < blob.size:
                    data = await blob.next()
                    await stream.send_all(_data(connection, data))
                    sent += len(data)
                await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
                await stream.send_eof()
                nursery.cancel_scope.cancel()
        finally:
            blob.abandon()


async def _until_gone(stream: trio.SocketStream, waiting: trio.CancelScope) -> None:
    """podman says nothing more on this connection: whatever comes, it is over."""
    try:
        await stream.receive_some(1)
    finally:
        waiting.cancel()


def _head(connection: h11.Connection, answer: _Answer, size: int) -> bytes:
    headers = [("Content-Type", answer.media_type), ("Content-Length", str(size)), ("Connection", "close")]
    return connection.send(h11.Response(status_code=answer.status, reason=answer.status.phrase, headers=headers)) or b""


def _data(connection: h11.Connection, data: bytes) -> bytes:
    return connection.send(h11.Data(data)) or b""


def is_name(name: str) -> bool:
    """Whether it is an image's from such an endpoint, of this mcpd or of one before."""
    return _LEFT.fullmatch(name) is not None


def redacted(text: str) -> str:
    """``text`` without the names of such endpoints."""
    return re.sub(rf"{_NAME}(?::{_TAG})?", "the pushed image", text)
