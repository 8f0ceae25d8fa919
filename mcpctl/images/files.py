"""The files of an archive: a folder, or a tar that is read where it is. Names in it are never paths on this machine."""

from __future__ import annotations

import io
import os
import shlex
import stat
import tarfile
from abc import ABC, abstractmethod
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import NamedTuple

from mcpctl.errors import CliError, UsageError
from mcpctl.images.content import Reading

# Far more than an image has layers; a tar of somebody's home has them soon.
_MOST_MEMBERS = 10_000
# Links that lead to links: docker writes one.
_MOST_LINKS = 8
_LONGEST_MAGIC = 6
# A name of some kilobytes and a few times; what tar calls a header may be of any size.
_LONGEST_HEADER = 1 << 20
# How compressed files begin, and what unpacks them.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ\x00": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Files(ABC):
    """``path`` is what a person calls it."""

    path: Path

    @abstractmethod
    def size(self, name: str) -> int | None:
        """In bytes; None: there is no such file."""

    @abstractmethod
    def open(self, name: str) -> Reading:
        """Raises CliError. Whoever opens it closes it."""

    @abstractmethod
    def close(self) -> None:
        """What was opened before cannot be read any more."""

    def document(self, name: str, limit: int) -> bytes:
        """All of a small file. Blocks. Raises CliError, also for more than ``limit`` bytes."""
        reading = self.open(name)
        try:
            if reading.size > limit:
                raise self.damaged(f"{name} has {reading.size} bytes; more than {limit} are too many")
            return reading.at(0, reading.size)
        finally:
            reading.close()

    def damaged(self, reason: str) -> CliError:
        return CliError(f"{self.path}: {reason}")


def open_files(path: Path) -> Files:
    """Blocks. Raises UsageError for what cannot be read, CliError for a tar that is damaged."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        os.close(descriptor)
        return Folder(path)
    try:
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is not a file that can be read anywhere: write the archive to a file first")
        _check_plain(path, os.pread(descriptor, _LONGEST_MAGIC, 0))
        return Tar(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _check_plain(path: Path, beginning: bytes) -> None:
    for magic, (name, command) in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise UsageError(
                f"{path} is compressed with {name}, and cannot be read in place; `{command} {shlex.quote(str(path))}` "
                "unpacks it"
            )


class Folder(Files):
    """Whoever made it may have put links into it; names lead nowhere else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, name: str) -> int | None:
        plain = _plain(name)
        if plain is None:
            return None
        try:
            info = (self.path / plain).stat()
        except OSError:
            return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def open(self, name: str) -> Reading:
        plain = _plain(name)
        if plain is None:
            raise self.damaged(f"has no {name!r}: that would be outside of it")
        path = self.path / plain
        try:
            descriptor = os.open(path, _OPEN)
        except OSError as error:
            raise self.damaged(f"{name} cannot be read: {error.strerror}") from None
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            os.close(descriptor)
            raise self.damaged(f"{name} is not a file")
        return Reading(path, descriptor, 0, info.st_size, closes=True)

    def close(self) -> None:
        pass


class _Headers(io.BufferedReader):
    """A tar, of which nothing is read that is larger than a header: those with names have a size, which may lie."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises ReadError."""
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return super().read(size)


class _Member(NamedTuple):
    """Where its bytes are; or for a link, what it leads to."""

    begin: int
    size: int
    link: str


class Tar(Files):
    """Read once, for where its members are. Owns ``descriptor``."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Blocks. Raises CliError when it is no tar, or a damaged one."""
        self.path = path
        self._descriptor = descriptor
        length = os.fstat(descriptor).st_size
        with _Headers(io.FileIO(os.dup(descriptor))) as file:
            file.seek(0)
            self._members = self._index(file, length)

    def _index(self, file: _Headers, length: int) -> dict[str, _Member]:
        found: dict[str, _Member] = {}
        count = 0
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (info := tar.next()) is not None:
                    count += 1
                    if count > _MOST_MEMBERS:
                        raise self.damaged(f"has more than {_MOST_MEMBERS} files: it is no image")
                    name = _plain(info.name)
                    if name is not None and (member := self._found(info, name, length)):
                        found[name] = member
        except tarfile.TarError as error:
            reason = "ends too early: it is not whole" if count else "is no tar"
            raise self.damaged(f"{reason} ({error})") from None
        except (ValueError, OverflowError):
            # Of sizes that no file has.
            raise self.damaged("is no tar, or a damaged one") from None
        except OSError as error:
            raise self.damaged(f"cannot be read: {error.strerror}") from None
        return found

    def _found(self, info: tarfile.TarInfo, name: str, length: int) -> _Member | None:
        """None for what is neither file nor link. Raises CliError, ValueError."""
        if info.issym() or info.islnk():
            base = dirname(name) if info.issym() else ""
            return _Member(0, 0, _plain(join(base, info.linkname)) or "/")
        if not info.isreg() or info.issparse():
            return None
        if info.size < 0:
            raise ValueError("a size below 0")
        if info.offset_data + info.size > length:
            raise self.damaged(f"ends in the middle of {name}: it is not whole")
        return _Member(info.offset_data, info.size, "")

    def size(self, name: str) -> int | None:
        member = self._member(name)
        return member.size if member else None

    def open(self, name: str) -> Reading:
        member = self._member(name)
        if member is None:
            raise self.damaged(f"has no {name}")
        return Reading(self.path, self._descriptor, member.begin, member.size, closes=False)

    def _member(self, name: str) -> _Member | None:
        for _ in range(_MOST_LINKS):
            member = self._members.get(_plain(name) or "")
            if member is None or not member.link:
                return member
            name = member.link
        return None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _plain(name: str) -> str | None:
    """A member's name in its simplest form; None for one that leads out of the archive, or that no file can have."""
    if name.startswith("/") or "\0" in name:
        return None
    plain = normpath(name)
    return None if plain == ".." or plain.startswith("../") else plain
