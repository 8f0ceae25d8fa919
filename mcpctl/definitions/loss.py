"""What another notation of a service cannot say, or says otherwise; told by exports and imports alike."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Grade(StrEnum):
    """How much of it matters: it works the same, it has no meaning there, it behaves differently."""

    CHANGED = "changed"
    IGNORED = "ignored"
    LOST = "lost"


class Warned(msgspec.Struct, frozen=True):
    """What would surprise, though nothing is lost. ``path`` is a key path (``components[api].heal``)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Loss(Warned, frozen=True):
    """What the other side says otherwise, or not at all."""

    kind: Grade = Grade.LOST
