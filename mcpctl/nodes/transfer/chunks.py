"""Moves the bytes of files to a node and from it: in chunks, with a checksum that both ends compare.

A file arrives whole or not at all. There is no deadline but one for silence: nothing moved for `client.SILENCE_S`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, closing
from typing import cast

import betterproto
import msgspec

from mcpctl.config import Node
from mcpctl.errors import CliError, UnreachableError
from mcpctl.nodes.transfer.local import PERMISSIONS, Reading, Sink, Source
from mcpctl.nodes.transfer.remote import Place, listening
from mcpctl.ui.meter import Meter
from protos.atomic import PRIVATE
from protos.mcp import v1

# What a file comes in: a header, chunks, its checksum.
Part = v1.PullFileResponse | v1.SnapshotResponse


class Moved(msgspec.Struct, frozen=True):
    """A file as it was moved; ``size`` in bytes."""

    size: int
    mode: int
    sha256: bytes


async def make_folder(place: Place, header: v1.FileHeader) -> None:
    """On the node. Raises CliError."""
    async with listening(place.node):
        await place.stub.push_file([v1.PushFileRequest(header=header)])


class Outgoing:
    """The messages that make a file; from the beginning again, each time that somebody goes through them."""

    def __init__(self, source: Source, header: v1.FileHeader, meter: Meter) -> None:
        """``header`` says where to; the size is filled in."""
        self.source = source
        self.path = header.path
        self.mode = header.mode
        self.moved: Callable[[], None] = lambda: None
        self.size = 0
        self.sha256 = b""
        # Nothing is left to us: the node has it on its disk soon, or not.
        self.is_sent = False
        self._header = header
        self._meter = meter

    async def __aiter__(self) -> AsyncIterator[v1.PushFileRequest]:
        with closing(Reading(self.source)) as reading:
            self._header.size = self.size = reading.size
            yield v1.PushFileRequest(header=self._header)
            sent = 0
            while chunk := await asyncio.to_thread(reading.chunk):
                yield v1.PushFileRequest(chunk=chunk)
                sent += len(chunk)
                self.moved()
                self._meter.now(sent)
            self.sha256 = reading.sha256
        self.is_sent = True
        yield v1.PushFileRequest(sha256=self.sha256)
        self.moved()


async def send(place: Place, outgoing: Outgoing, meter: Meter) -> Moved:
    """Raises CliError."""
    async with listening(place.node) as outgoing.moved:
        answer = await place.stub.push_file(outgoing)
    if (answer.size, answer.sha256) != (outgoing.size, outgoing.sha256):
        raise CliError(
            f"node {place.node.name}: {place.shown(outgoing.path)} has {answer.size} bytes and the SHA-256 "
            f"{answer.sha256.hex()}, but {outgoing.source.path} has {outgoing.size} bytes and "
            f"{outgoing.sha256.hex()}: push it again"
        )
    meter.done(outgoing.size)
    return Moved(outgoing.size, outgoing.mode, outgoing.sha256)


async def receive(place: Place, path: str, sink: Sink, meter: Meter) -> Moved:
    """Reads ``path`` on the node into ``sink``, which finishes only what was found right. Raises CliError."""
    request = v1.PullFileRequest(service=place.service, path=path)
    return await arrive(place.node, place.stub.pull_file(request), place.shown(path), sink, meter)


async def arrive(node: Node, parts: AsyncIterator[Part], shown: str, sink: Sink, meter: Meter) -> Moved:
    """A file that comes in ``parts`` from ``node``, where it is called ``shown``, into ``sink``. Raises CliError."""
    incoming = _Incoming(node, shown)
    stream = cast(AsyncGenerator[Part, None], parts)
    async with aclosing(stream):
        # A message with an empty chunk counts as false.
        while (message := await _next(node, stream)) is not None:
            chunk = incoming.take(message)
            meter.expect(incoming.announced)
            if chunk:
                await asyncio.to_thread(incoming.keep, chunk, sink)
                meter.now(incoming.size)
    found = incoming.checked()
    await asyncio.to_thread(sink.finish, found.mode)
    meter.done(found.size)
    return found


async def _next(node: Node, stream: AsyncGenerator[Part, None]) -> Part | None:
    # Only the node's silence counts: whoever reads our output may take the time that he likes.
    async with listening(node):
        return await anext(stream, None)


class _Incoming:
    """What has come of a file, and whether it is what it should be."""

    def __init__(self, node: Node, shown: str) -> None:
        self._node = node
        self._shown = shown
        self._header: v1.FileHeader | v1.SnapshotHeader | None = None
        self._digest = hashlib.sha256()
        self._sha256: bytes | None = None
        self.size = 0

    def take(self, message: Part) -> bytes:
        """The chunk in it, or b"". Raises CliError for what is out of turn, or more than was announced."""
        part, _ = betterproto.which_one_of(message, "part")
        if not part or self._sha256 is not None or (part == "header") != (self._header is None):
            raise self._wrong(f"the node sent {part or 'an unknown message'} out of order")
        if part == "header":
            self._header = message.header
        elif part == "sha256":
            self._sha256 = message.sha256
        else:
            if self.size + len(message.chunk) > self.announced:
                raise self._wrong(f"more than the announced {self.announced} bytes arrived")
            return message.chunk
        return b""

    def keep(self, chunk: bytes, sink: Sink) -> None:
        """Blocks. Raises CliError."""
        sink.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def checked(self) -> Moved:
        """All of it. Raises CliError when it is not what the node has, UnreachableError when there must be more."""
        if self._header is None or self._sha256 is None:
            # grpclib takes a connection that closes right behind an error for the end of a good stream.
            raise UnreachableError(
                f"node {self._node.name}: the connection closed before {self._shown} was complete; "
                f"{self.size} bytes arrived"
            )
        if self.size != self.announced:
            raise self._wrong(f"{self.announced} bytes were announced, but {self.size} arrived")
        if self._sha256 != self._digest.digest():
            raise self._wrong(
                f"its SHA-256 is {self._sha256.hex()}, but that of what arrived is {self._digest.hexdigest()}"
            )
        mode = self._header.mode & PERMISSIONS if isinstance(self._header, v1.FileHeader) else PRIVATE
        return Moved(self.size, mode, self._sha256)

    @property
    def announced(self) -> int:
        return self._header.size if self._header else 0

    def _wrong(self, reason: str) -> CliError:
        return CliError(f"node {self._node.name}: {self._shown} did not arrive intact: {reason}; try again")
