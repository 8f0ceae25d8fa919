"""Where compose files are, and what an import can ask for."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec


class Kind(StrEnum):
    """What lies at a path of this machine."""

    MISSING = "missing"
    FILE = "file"
    FOLDER = "folder"
    EMPTY = "empty"
    OTHER = "other"


class Look(msgspec.Struct, frozen=True):
    """``mode``: the permissions of a file."""

    kind: Kind
    mode: int = 0o644


def nothing(path: Path) -> Look:  # noqa: ARG001
    return Look(Kind.MISSING)


class Source(msgspec.Struct, frozen=True):
    """``folder``, an absolute one, is that of the first file: paths in files are relative to it."""

    folder: Path
    environment: Mapping[str, str]
    # Raises OSError or UnicodeDecodeError.
    read: Callable[[Path], str]
    look: Callable[[Path], Look] = nothing

    def path(self, text: str) -> Path:
        """What a path in a file names here: by name alone, links are followed by whoever reads."""
        if text == "~" or text.startswith("~/"):
            text = self.environment.get("HOME", "/root") + text[1:]
        return Path(posixpath.normpath(posixpath.join(str(self.folder), text)))
