"""The entries of a folder below ROOT/<service>/, sorted by name, in pages. Everything here blocks."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime

import msgspec

from mcpd.errors import NotFoundError
from mcpd.files.beneath import Folder, Parts, Tree
from mcpd.files.failures import told


class Found(msgspec.Struct, frozen=True):
    """One entry of a folder; a symlink is not followed, ``target`` is where it points."""

    name: str
    kind: str
    stat: os.stat_result
    target: str = ""

    @property
    def modified_at(self) -> datetime:
        return modified_at(self.stat)


def listing(tree: Tree, service: str, parts: Parts, *, after: str, limit: int) -> tuple[list[Found], bool]:
    """Up to ``limit`` entries of a folder whose names sort after ``after``, and whether there are more.

    The path of anything else finds that alone. Raises NotFoundError, RefusedError.
    """
    with tree.service(service) as folder:
        looked = folder.open_any(parts)
        try:
            if not stat.S_ISDIR(os.fstat(looked).st_mode):
                return [_the_one(folder, parts)], False
            with told(folder.shown(parts)):
                opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=looked)
        finally:
            os.close(looked)
        try:
            with told(folder.shown(parts)):
                return _page(opened, after, limit)
        finally:
            os.close(opened)


def _the_one(folder: Folder, parts: Parts) -> Found:
    parent = folder.open_folder(parts[:-1])
    try:
        found = _found(parent, parts[-1])
    finally:
        os.close(parent)
    if found is None:
        raise NotFoundError(f"{folder.shown(parts)} does not exist")
    return found


def _page(folder: int, after: str, limit: int) -> tuple[list[Found], bool]:
    # By code points, which is the order of the bytes in UTF-8 too; `after` is a name as it was shown.
    names = sorted((_readable(name), name) for name in os.listdir(folder))
    following = [name for shown, name in names if shown > after]
    found = [each for name in following[:limit] if (each := _found(folder, name))]
    return found, len(following) > limit


def _found(folder: int, name: str) -> Found | None:
    """The entry, or None when it was removed in the meantime."""
    try:
        looked = os.stat(name, dir_fd=folder, follow_symlinks=False)
        target = _readable(os.readlink(name, dir_fd=folder)) if stat.S_ISLNK(looked.st_mode) else ""
    except OSError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink"}
    return Found(_readable(name), kinds.get(stat.S_IFMT(looked.st_mode), "other"), looked, target)


def _readable(name: str) -> str:
    """File names may be any bytes; the wire accepts only UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def modified_at(found: os.stat_result) -> datetime:
    """To the limits of what a datetime can be: a file may have any time."""
    try:
        return datetime.fromtimestamp(found.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return (datetime.max if found.st_mtime > 0 else datetime.min).replace(tzinfo=UTC)
