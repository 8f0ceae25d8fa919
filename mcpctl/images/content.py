"""What an image is made of: documents, which are small, and layers, which are read piece by piece."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from mcpctl.errors import CliError
from mcpctl.images.platforms import Platform
from protos.images import digest_of


class Document(msgspec.Struct, frozen=True):
    """A manifest, or a list of manifests, as it is: its digest is that of these very bytes."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.content)


class Layer(msgspec.Struct, frozen=True):
    """``digest`` and ``size`` (bytes): of the blob. ``diff_id``: the digest of the tar in it.

    ``unpacked``: bytes of that, as far as is known; at least those of the blob.
    """

    digest: str
    size: int
    diff_id: str
    unpacked: int


class Package(msgspec.Struct, frozen=True):
    """An image for one platform. ``manifests``: the outermost first. ``layers``: each blob once."""

    manifests: tuple[Document, ...]
    config: bytes
    platform: Platform
    layers: tuple[Layer, ...]

    @property
    def id(self) -> str:
        """As podman shows it: hexadecimal digits."""
        return hashlib.sha256(self.config).hexdigest()

    @property
    def size(self) -> int:
        """Of all blobs, bytes."""
        return sum(each.size for each in self.layers)


class Reading:
    """A part of an open file, read from anywhere; several threads may. Owns ``descriptor`` if it ``closes`` it."""

    def __init__(self, path: Path, descriptor: int, begin: int, size: int, *, closes: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._begin = begin
        self._closes = closes
        self.size = size

    def at(self, offset: int, size: int) -> bytes:
        """What is there, b"" behind the end. Blocks. Raises CliError, also when the file has become shorter."""
        size = max(0, min(size, self.size - offset))
        parts: list[bytes] = []
        while size > 0:
            try:
                part = os.pread(self._descriptor, size, self._begin + offset)
            except OSError as error:
                raise CliError(f"{self._path} cannot be read: {error.strerror}") from None
            if not part:
                raise CliError(f"{self._path} has become shorter while it was read")
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        if self._closes:
            os.close(self._descriptor)


# Opens a layer by its digest.
Open = Callable[[str], Reading]
