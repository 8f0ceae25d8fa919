"""What podman attaches us to: the terminal or the pipes of a program, by an HTTP connection that turns into them.

libpod answers an attach with status 101 (RFC 9110, section 7.8), and the connection is the program's from then on: what
is written is its standard input, and what is read its output. With a terminal that is as it comes; without one, in
Docker's stream format (`mcpd.runtime.api_types.Frames`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import h11
import trio

from mcpd.runtime import api_types

STDOUT: Final = 1
STDERR: Final = 2

# Of the answer that refuses: words, not an output.
_MAX_REFUSAL_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024

# Which of the two (`STDOUT`, `STDERR`), and what came of it.
Chunk = tuple[int, bytes]


class Attached:
    """A program's input and output."""

    def __init__(self, stream: trio.SocketStream, rest: bytes, *, has_terminal: bool) -> None:
        """``rest``: what came behind podman's answer."""
        self._stream = stream
        self._rest = rest
        self._frames = None if has_terminal else api_types.Frames()

    async def receive(self) -> list[Chunk]:
        """What has come since; nothing when there will be no more: how the program ended podman says."""
        while True:
            data, self._rest = self._rest, b""
            if not data:
                try:
                    data = bytes(await self._stream.receive_some(_READ_BYTES))
                except trio.BrokenResourceError:
                    return []  # as when something was written to it that it did not read
            if not data:
                return []
            if self._frames is None:
                return [(STDOUT, data)]
            if chunks := _joined(self._frames.chunks(data)):
                return chunks

    async def send(self, data: bytes) -> bool:
        """Writes to standard input; False when nobody reads it any more."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            return False
        return True

    async def end_input(self) -> None:
        """Closes standard input. To a program with a terminal that means nothing."""
        try:
            await self._stream.send_eof()
        except trio.BrokenResourceError:
            return  # it has ended, and reads nothing any more

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


def _joined(chunks: Iterable[Chunk]) -> list[Chunk]:
    """podman's frames are small: of those that follow each other, one chunk for each stream."""
    return [
        (stream or STDOUT, b"".join(data for _, data in several))
        for stream, several in itertools.groupby(chunks, key=lambda each: each[0])
    ]


class RefusalError(Exception):
    """podman does not attach: its HTTP status, and the body of its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


async def attach(
    socket: Path, path: str, *, params: Mapping[str, str], body: Mapping[str, Any] | None, has_terminal: bool
) -> Attached:
    """POSTs to ``path``, and returns what podman then attaches us to. Raises RefusalError, OSError.

    Whoever calls it sets the deadline.
    """
    query = "&".join(f"{name}={value}" for name, value in params.items())
    content = b"" if body is None else json.dumps(body).encode()
    headers = [
        ("Host", "podman"),
        ("Connection", "Upgrade"),
        ("Upgrade", "tcp"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
    ]
    request = h11.Request(method="POST", target=f"{path}?{query}" if query else path, headers=headers)
    http = h11.Connection(h11.CLIENT)
    stream = await trio.open_unix_socket(str(socket))
    try:
        said = http.send(request) or b""
        said += http.send(h11.Data(data=content)) or b""
        said += http.send(h11.EndOfMessage()) or b""
        await stream.send_all(said)
        event = await _next_event(http, stream)
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            rest, _ = http.trailing_data
            return Attached(stream, rest, has_terminal=has_terminal)
        if isinstance(event, h11.Response):
            raise RefusalError(event.status_code, await _body(http, stream))
        raise OSError("podman's answer is not HTTP")
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, (trio.BrokenResourceError, h11.RemoteProtocolError)):
            raise OSError(str(error) or "the connection broke") from error
        raise


async def _next_event(http: h11.Connection, stream: trio.SocketStream) -> Any:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        http.receive_data(bytes(await stream.receive_some(_READ_BYTES)))


async def _body(http: h11.Connection, stream: trio.SocketStream) -> bytes:
    found = bytearray()
    while len(found) < _MAX_REFUSAL_BYTES:
        event = await _next_event(http, stream)
        if not isinstance(event, h11.Data):
            break
        found += event.data
    return bytes(found)
