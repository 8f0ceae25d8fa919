"""One blob on its way from whoever pushes an image to podman: hashed as it passes, and never held."""

from __future__ import annotations

import hashlib
import zlib

import trio

from mcpd.errors import InvalidRequestError

# Of one message, when it is unpacked: as many as a message that is not compressed could have.
MAX_DATA_BYTES = 4 * 1024 * 1024


class Blob:
    """A layer that podman waits for. ``offset``: so many bytes have come. podman gets its end when it is what it
    should be, and not before.
    """

    def __init__(self, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size
        self.offset = 0
        self._hash = hashlib.sha256()
        self._is_abandoned = False
        self._in, self._out = trio.open_memory_channel[bytes](0)

    @property
    def is_over(self) -> bool:
        """Whether podman has all of it, or does not want it any more."""
        return self._is_abandoned or self.offset == self.size

    async def feed(self, data: bytes) -> None:
        """Takes the next bytes, and returns when podman has room for more. What podman has given up is dropped.

        One that is cancelled has taken nothing. Raises InvalidRequestError when the blob lies.
        """
        if self._is_abandoned:
            return
        end = self.offset + len(data)
        if end > self.size:
            raise InvalidRequestError(f"the blob {self.digest} has more than the {self.size} bytes that it should")
        seen = self._hash.copy()
        seen.update(data)
        if end == self.size and f"sha256:{seen.hexdigest()}" != self.digest:
            raise InvalidRequestError(
                f"what came as {self.digest} has the digest sha256:{seen.hexdigest()}; it may have changed on the way, "
                "or on the disk that it is from: push the image again"
            )
        try:
            await self._in.send(data)
        except trio.BrokenResourceError:
            return
        self._hash, self.offset = seen, end

    async def next(self) -> bytes:
        """For podman: what comes next, as long as there is more of it."""
        return await self._out.receive()

    def abandon(self) -> None:
        """podman has all of it, or has gone."""
        self._is_abandoned = True
        self._out.close()


def unpacked(data: bytes, most: int) -> bytes:
    """One whole stream of zlib's (RFC 1950). Raises InvalidRequestError for any other, and above ``most`` bytes."""
    most = min(most, MAX_DATA_BYTES)
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, most + 1)
    except zlib.error:
        raise InvalidRequestError("data: is said to be compressed, and is not zlib's") from None
    if len(found) > most:
        raise InvalidRequestError(f"data: has more than the {most} bytes that may follow")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidRequestError("data: is not one whole stream of zlib's")
    return found
