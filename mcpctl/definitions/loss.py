"""What another notation of a service cannot say; told by exports and imports alike."""

from __future__ import annotations

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """What the other side cannot say. ``path`` is a key path (``components[api].heal``)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
