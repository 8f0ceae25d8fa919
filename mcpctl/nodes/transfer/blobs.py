"""A layer as a node wants it: in pieces, compressed where that pays, and never more than a few in memory."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from mcpctl.images.content import Reading
from mcpctl.nodes.transfer.compression import Measured, pays, shrunk

# What goes into one message (agent.proto, PushImage).
CHUNK_BYTES = 512 * 1024
# The fastest there is: more saves little of what an image is made of, and takes several times as long.
_LEVEL = 1
_SAMPLE_BYTES = 32 * 1024


# Of the messages of agent.proto, as they are encoded: what precedes `data` of PushImageRequest and of BlobData, and a
# `compressed` that is true.
_IN_REQUEST, _IN_BLOB, _COMPRESSED = b"\x1a", b"\x0a", b"\x10\x01"


class DataRequest(NamedTuple):
    """A PushImageRequest with data, encoded already: betterproto takes 30 ns for each byte of it."""

    content: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802 (grpclib's codec calls it)
        return self.content


def data_request(data: bytes, *, compressed: bool) -> DataRequest:
    """``data``: at least one byte (protobuf's encoding: length-delimited fields, a length before each)."""
    tail = _COMPRESSED if compressed else b""
    head = _IN_BLOB + _varint(len(data))
    return DataRequest(b"".join((_IN_REQUEST, _varint(len(head) + len(data) + len(tail)), head, data, tail)))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


class _Tried(NamedTuple):
    """So many bytes became so many others, in so many seconds."""

    before: int
    after: int
    seconds: float


class _Piece(NamedTuple):
    """``size``: of its data, on the wire; ``length``: of the blob's bytes that it stands for.

    ``tried`` None: nobody tried to compress it.
    """

    request: DataRequest
    size: int
    length: int
    tried: _Tried | None


class Sending:
    """Knows over all layers of a push what the link does. ``moved`` is told of each piece how much was sent."""

    def __init__(self, moved: Callable[[str, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._moved = moved
        self._clock = clock
        self._known = Measured()
        # Bytes of data, as they were sent.
        self.sent = 0

    async def pieces(self, digest: str, reading: Reading, offset: int) -> AsyncGenerator[DataRequest, None]:
        """All of ``reading`` from ``offset`` on, which is closed then. Raises CliError.

        One is read while another is on its way. Whoever asks for the next has sent the one before.
        """
        loop = asyncio.get_running_loop()

        def prepare(begin: int) -> asyncio.Future[_Piece]:
            return loop.run_in_executor(None, self._piece, reading, begin, pays(self._known))

        ahead: asyncio.Future[_Piece] | None = None
        try:
            if offset < reading.size:
                ahead = prepare(offset)
            while ahead is not None:
                piece = await ahead
                self._learn(piece)
                offset += piece.length
                ahead = prepare(offset) if offset < reading.size else None
                begin = self._clock()
                yield piece.request
                self._known = self._known.after_sending(piece.size, self._clock() - begin)
                self.sent += piece.size
                self._moved(digest, offset)
        finally:
            if ahead is not None:
                # The thread has the file.
                await asyncio.wait([ahead])
                ahead.cancelled() or ahead.exception()
            reading.close()

    def _piece(self, reading: Reading, begin: int, compress: bool) -> _Piece:
        data = reading.at(begin, CHUNK_BYTES)
        plain = len(data)
        if not compress:
            return _Piece(data_request(data, compressed=False), plain, plain, None)
        # Most of what does not shrink shows that at its beginning.
        tried = data[:_SAMPLE_BYTES]
        smaller, seconds = _compressed(tried)
        if not shrunk(len(smaller) / len(tried)):
            return _Piece(data_request(data, compressed=False), plain, plain, _Tried(len(tried), len(smaller), seconds))
        smaller, seconds = _compressed(data)
        found = _Tried(plain, len(smaller), seconds)
        if not shrunk(len(smaller) / plain):
            return _Piece(data_request(data, compressed=False), plain, plain, found)
        return _Piece(data_request(smaller, compressed=True), len(smaller), plain, found)

    def _learn(self, piece: _Piece) -> None:
        if piece.tried is None:
            self._known = self._known.after_plain()
        else:
            self._known = self._known.after_compressing(*piece.tried)


def _compressed(data: bytes) -> tuple[bytes, float]:
    """And the seconds that it took, of a processor's time."""
    before = time.thread_time()
    found = zlib.compress(data, _LEVEL)
    return found, time.thread_time() - before
