"""A download: one file, read in chunks. Everything here blocks."""

from __future__ import annotations

import hashlib
import os

from mcpd.errors import BusyError
from mcpd.files.beneath import Parts, Tree
from mcpd.files.failures import told

# As `mcpctl push` sends them: large enough for the work per message not to count, small against a connection's window.
CHUNK_BYTES = 256 * 1024


class Download:
    """An open file. Only the bytes that it had when it was opened are read; bytes appended later are not."""

    def __init__(self, tree: Tree, service: str, parts: Parts) -> None:
        """Raises NotFoundError; RefusedError for anything but a readable regular file."""
        with tree.service(service) as folder:
            self._file = folder.open_file(parts)
        self.shown = "/".join((service, *parts))
        self.stat = os.fstat(self._file)
        self._left = self.stat.st_size
        self._sum = hashlib.sha256()
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of everything read so far."""
        return self._sum.digest()

    def read(self, most: int) -> list[bytes]:
        """The next chunks, at most ``most``; none at the end. Raises BusyError when the file was truncated."""
        chunks: list[bytes] = []
        with told(self.shown):
            while self._left and len(chunks) < most:
                chunk = os.read(self._file, min(CHUNK_BYTES, self._left))
                if not chunk:
                    raise BusyError(f"{self.shown} became shorter while it was read; try again")
                self._sum.update(chunk)
                self._left -= len(chunk)
                chunks.append(chunk)
        return chunks

    def close(self) -> None:
        os.close(self._file)
