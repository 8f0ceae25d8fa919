"""Files on this machine: what is to be sent, and what is to be written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from mcpctl.errors import CliError, UsageError
from mcpctl.nodes.transfer.remote import joined

# What goes into one message: much enough for the network, little enough for the memory.
CHUNK_BYTES = 256 * 1024
PERMISSIONS = 0o777
_OPEN_SOURCE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
# Whoever receives a folder has to write into it.
_OWNER_MAY_ENTER = 0o700


class Source(msgspec.Struct, frozen=True):
    """A file or folder to be sent. ``below`` is its path from where the walk began, "" for that itself."""

    path: Path
    below: str
    size: int
    mode: int


class Sources(msgspec.Struct, frozen=True):
    """Folders come before what is in them. ``skipped``: what is neither file nor folder."""

    folders: tuple[Source, ...]
    files: tuple[Source, ...]
    skipped: tuple[Path, ...] = ()


def sources(path: Path, *, recursive: bool) -> Sources:
    """What ``path`` says is to be sent. Raises UsageError for what cannot be."""
    with _told(path):
        info = path.stat()
    if stat.S_ISDIR(info.st_mode):
        if not recursive:
            raise UsageError(f"{path} is a folder; --recursive copies a folder")
        return _tree(path)
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(f"{path} is not a regular file, so its size is not known in advance")
    _check_readable(path)
    return Sources((), (Source(path, "", info.st_size, info.st_mode & PERMISSIONS),))


def _tree(top: Path) -> Sources:
    folders, files, skipped = [], [], []
    waiting = [(top, "", top.stat())]
    while waiting:
        path, below, info = waiting.pop()
        folders.append(Source(path, below, 0, info.st_mode & PERMISSIONS | _OWNER_MAY_ENTER))
        with _told(path), os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            _check_name(entry)
            with _told(path):
                info = entry.stat(follow_symlinks=False)
            inside = Path(entry.path), joined(below, entry.name)
            if stat.S_ISDIR(info.st_mode):
                waiting.append((*inside, info))
            elif stat.S_ISREG(info.st_mode):
                _check_readable(inside[0])
                files.append(Source(*inside, info.st_size, info.st_mode & PERMISSIONS))
            else:
                skipped.append(inside[0])
    return Sources(tuple(folders), tuple(files), tuple(skipped))


def _check_name(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{entry.path!r}: file names on a node must be UTF-8, but this one is not") from None


def _check_readable(path: Path) -> None:
    with _told(path):
        os.close(os.open(path, _OPEN_SOURCE))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What is wrong before anything was sent."""
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


class Reading:
    """A file that is read once, from its beginning to the end that it had at first."""

    def __init__(self, source: Source) -> None:
        """Raises CliError."""
        self._path = source.path
        with told(source.path):
            # What a walk took for a file is not followed when it has become a link.
            follow = 0 if source.below == "" else os.O_NOFOLLOW
            self._file: BinaryIO = open(os.open(source.path, _OPEN_SOURCE | follow), "rb")  # noqa: SIM115, PTH123
            self._before = os.fstat(self._file.fileno())
        self.size = self._before.st_size
        self._read = 0
        self._digest = hashlib.sha256()

    def chunk(self) -> bytes:
        """The next of it; b"" behind the last. Blocks. Raises CliError, also when it is not what it was."""
        with told(self._path):
            chunk = self._file.read(CHUNK_BYTES)
            now = os.fstat(self._file.fileno())
        self._read += len(chunk)
        self._digest.update(chunk)
        is_changed = (now.st_size, now.st_mtime_ns) != (self.size, self._before.st_mtime_ns)
        if is_changed or self._read > self.size or (not chunk and self._read < self.size):
            raise CliError(
                f"{self._path} changed while it was read ({self.size} bytes before, {now.st_size} now): the node keeps "
                "nothing of it; send it again when nobody writes to it"
            )
        return chunk

    @property
    def sha256(self) -> bytes:
        """Of what was read so far."""
        return self._digest.digest()

    def close(self) -> None:
        self._file.close()


class Sink(Protocol):
    """What takes a file that comes in."""

    def write(self, chunk: bytes) -> None:
        """Blocks. Raises CliError."""

    def finish(self, mode: int) -> None:
        """All of it is there and right. Blocks. Raises CliError."""


class Printing:
    """Standard output."""

    def write(self, chunk: bytes) -> None:
        with told(Path("standard output")):
            sys.stdout.buffer.write(chunk)

    def finish(self, mode: int) -> None:
        with told(Path("standard output")):
            sys.stdout.buffer.flush()


class Landing:
    """A file beside ``target``, which takes its place when it is whole, and else is no more."""

    def __init__(self, target: Path, *, force: bool) -> None:
        self._target = target
        self._force = force
        # Not made of the target's name, which may be as long as a name can be.
        self._temporary = target.with_name(f".mcpctl-{secrets.token_hex(4)}")

    def __enter__(self) -> Landing:
        """Raises CliError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with told(self._target):
            # Nobody else reads what may be a secret, before its own mode says who may.
            self._file = open(os.open(self._temporary, flags, 0o600), "wb")  # noqa: PTH123
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        with told(self._target):
            self._file.write(chunk)

    def finish(self, mode: int) -> None:
        """On the disk, with its mode; `place` gives it its name."""
        with told(self._target):
            self._file.flush()
            os.fchmod(self._file.fileno(), mode & PERMISSIONS)
            os.fsync(self._file.fileno())
            self._file.close()

    def place(self) -> None:
        """Raises CliError."""
        with told(self._target):
            if self._force or not self._linked():
                self._temporary.replace(self._target)
            _sync(self._target.parent)

    def _linked(self) -> bool:
        """Whether the target is there now; a file that somebody made meanwhile is not replaced. Raises CliError."""
        try:
            os.link(self._temporary, self._target)
        except FileExistsError:
            raise exists(self._target) from None
        except OSError:
            # A file system without hard links.
            if os.path.lexists(self._target):
                raise exists(self._target) from None
            return False
        return True


def exists(target: Path) -> UsageError:
    return UsageError(f"{target} already exists; --force overwrites it")


def check_free(target: Path, *, force: bool) -> None:
    """Raises UsageError when ``target`` is there and may not be replaced, or cannot be."""
    if target.is_dir() and not target.is_symlink():
        raise UsageError(f"{target} is a folder, not a file")
    if not force and os.path.lexists(target):
        raise exists(target)
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is not a folder")


def make_top(path: Path) -> None:
    """The folder that others are to be made in: may be there, and may be a link. Raises CliError."""
    if not path.is_dir():
        with told(path):
            path.mkdir()


def make_folder(path: Path) -> bool:
    """Whether it had to be made. Raises CliError, also for a link to a folder: it could lead anywhere."""
    with told(path):
        try:
            path.mkdir(mode=_OWNER_MAY_ENTER)
        except FileExistsError:
            if path.is_symlink() or not path.is_dir():
                raise CliError(f"{path} is in the way: it is not a folder") from None
            return False
    return True


def set_modes(folders: Iterable[tuple[Path, int]]) -> None:
    """Of folders that nothing is written into any more. Raises CliError."""
    for path, mode in folders:
        with told(path):
            path.chmod(mode & PERMISSIONS)


def digest(path: Path) -> tuple[Source, bytes]:
    """A regular file, and its SHA-256. Blocks. Raises UsageError."""
    (source,) = sources(path, recursive=False).files
    with _told(path), open(path, "rb") as file:  # noqa: PTH123
        return source, hashlib.file_digest(file, "sha256").digest()


def readable(path: Path) -> str:
    """For people and JSON: bytes that are no UTF-8 become question marks."""
    return str(path).encode(errors="replace").decode()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What is wrong in the middle of a transfer; a reader of ours that is gone is somebody else's to tell."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
