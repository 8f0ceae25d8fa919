"""How files on a node, and transfers of them, are printed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class FileRow(msgspec.Struct, frozen=True):
    """What lies on a node. ``kind``: file, folder, symlink or other; ``size`` in bytes; ``mode`` in octal digits.

    ``owner``: UID:GID in the container; empty when no container can have them. ``target``: of a symlink.
    """

    name: str
    kind: str
    size: int
    mode: str
    owner: str
    modified_at: datetime | None
    target: str


class MovedRow(msgspec.Struct, frozen=True):
    """One file that was moved: ``local`` is its path here, ``path`` the one on the node; ``size`` in bytes."""

    local: str
    path: str
    size: int
    mode: str
    sha256: str


class TransferRow(msgspec.Struct, frozen=True):
    """``skipped``: what is neither file nor folder."""

    node: str
    service: str
    files: tuple[MovedRow, ...]
    folders: int
    bytes: int
    seconds: float
    skipped: tuple[str, ...]


class ContentRow(msgspec.Struct, frozen=True):
    size: int
    mode: str
    sha256: str


class ComparisonRow(msgspec.Struct, frozen=True):
    """``differs``: of size, sha256 and mode, those that are not the same."""

    node: str
    service: str
    path: str
    local: str
    same: bool
    differs: tuple[str, ...]
    here: ContentRow
    there: ContentRow


def file_row(info: v1.FileInfo) -> FileRow:
    modified = instant(info.modified_at)
    return FileRow(info.name, info.kind, info.size, octal(info.mode), info.owner, modified, info.target)


def octal(mode: int) -> str:
    """A file's mode as chmod takes it: 0640."""
    return f"{mode & 0o7777:04o}"
