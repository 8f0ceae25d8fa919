"""Reaches files below ROOT/<service>/ by descriptors only, so that no rename can lead anywhere else.

The kernel resolves every path itself: openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS. Where that is missing
(before Linux 5.6, or forbidden by a seccomp filter) each part is opened for itself with O_NOFOLLOW, and symlinks are
refused, those that stay inside too. A file that somebody hard-linked into the folder is an ordinary file there: link(2)
is where that is refused (fs.protected_hardlinks, proc_sys_fs(5)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mcpd.errors import BusyError, InvalidRequestError, McpdError, NotFoundError, RefusedError
from mcpd.files.failures import told
from protos import naming

# limits.h: what one path and one name may have in bytes, the path with its closing NUL.
_PATH_MAX = 4096
_NAME_MAX = 255

# The same number on every architecture (openat2(2), since Linux 5.6).
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
# The kernel returns EAGAIN when a rename raced with the lookup; somebody who renames in a loop wins some rounds.
_ATTEMPTS = 100

FOLDER_MODE = 0o755
_FOLDER = os.O_RDONLY | os.O_DIRECTORY

Parts = tuple[str, ...]
# (folder's descriptor, parts, flags) -> descriptor. Raises OSError; what leads out is EXDEV or ELOOP.
Opener = Callable[[int, Parts, int], int]

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(folder: int, parts: Parts, flags: int) -> int:
    """Opens a path beneath ``folder``, following symlinks as long as they stay there. An `Opener`."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    path = os.fsencode("/".join(parts) or ".")
    for _ in range(_ATTEMPTS):
        opened: int = _libc.syscall(
            *(ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path)),
            *(ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))),
        )
        if opened >= 0:
            return opened
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def walk(folder: int, parts: Parts, flags: int) -> int:
    """Does the same without openat2(2), and follows no symlinks. An `Opener`."""
    current = os.open(".", _FOLDER, dir_fd=folder)
    try:
        for name in parts[:-1]:
            deeper = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = deeper
            _refuse_link(current)
        opened = os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=current)
    finally:
        os.close(current)
    try:
        _refuse_link(opened)
    except OSError:
        os.close(opened)
        raise
    return opened


def _refuse_link(descriptor: int) -> None:
    """O_PATH with O_NOFOLLOW opens the symlink itself (open(2))."""
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def opener_of(folder: int) -> Opener:
    """The best opener that this kernel supports."""
    try:
        os.close(openat2(folder, (), os.O_PATH))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return walk
        raise
    return openat2


def parts_of(path: str, *, empty: bool = False, folder: bool = False) -> Parts:
    """Splits a relative path into its parts. ``empty`` allows an empty path; ``folder`` allows a final slash.

    Raises InvalidRequestError for everything that is not plainly the name of something below.
    """
    if folder and path.endswith("/") and path != "/":
        path = path[:-1]
    if not path:
        if empty:
            return ()
        raise InvalidRequestError("the path is empty; name a file below the service's folder")
    problem = _problem(path, path.split("/"))
    if problem:
        raise InvalidRequestError(f"the path {_short(path)} {problem}")
    return tuple(path.split("/"))


def _problem(path: str, parts: list[str]) -> str:
    checks: tuple[tuple[bool, str], ...] = (
        ("\0" in path, "has a NUL byte"),
        (path.startswith("/"), "is absolute; write it relative to the service's folder"),
        (path.endswith("/"), "ends with a slash, and a file's name does not"),
        ("" in parts, "has an empty part; write single slashes"),
        (".." in parts, "has a part '..'; nothing outside the service's folder is reachable"),
        ("." in parts, "has a part '.'; leave it out"),
        (any(ord(each) < ord(" ") or each == "\x7f" for each in path), "has a control character"),
        (any("\ud800" <= each <= "\udfff" for each in path), "is not UTF-8"),
    )
    for is_so, words in checks:
        if is_so:
            return words
    if len(path.encode()) >= _PATH_MAX:
        return f"has {len(path.encode())} bytes; at most {_PATH_MAX - 1} are possible"
    if any(len(each.encode()) > _NAME_MAX for each in parts):
        return f"has a part of more than {_NAME_MAX} bytes, which no file system supports"
    return ""


def _short(path: str) -> str:
    shown = repr(path)
    return shown if len(shown) <= 100 else f"{shown[:60]}...{shown[-20:]}"


class Place(NamedTuple):
    """The place of an existing or future file: a name in an open folder. The caller closes ``parent``."""

    parent: int
    name: str


class Folder:
    """One service's folder, open. Its methods raise McpdErrors."""

    def __init__(self, descriptor: int, service: str, opener: Opener) -> None:
        self.descriptor = descriptor
        self.service = service
        self._open = opener
        # The folders created on the way to a place, for `unmake`; () is the service's folder itself.
        self._made: list[Parts] = []

    def shown(self, parts: Parts) -> str:
        return "/".join((self.service, *parts))

    def open_any(self, parts: Parts) -> int:
        """Opens anything for inspection only (O_PATH), without effect on a device or a FIFO."""
        with told(self.shown(parts)):
            return self._open(self.descriptor, parts, os.O_PATH)

    def open_file(self, parts: Parts) -> int:
        """Opens a regular file for reading. Raises RefusedError for anything else."""
        looked = self.open_any(parts)
        try:
            with told(self.shown(parts)):
                _demand_file(looked, self.shown(parts))
                # Reopens the inspected inode, so nothing else can be opened in its place (open(2), O_PATH).
                return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY)
        finally:
            os.close(looked)

    def open_folder(self, parts: Parts) -> int:
        with told(self.shown(parts)):
            return self._open(self.descriptor, parts, _FOLDER)

    def make_folder(self, parts: Parts) -> int:
        """Opens a folder; creates it and its missing parents first."""
        with contextlib.suppress(NotFoundError):
            return self.open_folder(parts)
        for depth in range(1, len(parts) + 1):
            above = self.open_folder(parts[: depth - 1])
            try:
                with told(self.shown(parts[:depth])), contextlib.suppress(FileExistsError):
                    os.mkdir(parts[depth - 1], FOLDER_MODE, dir_fd=above)
                    self.was_made(parts[:depth])
                    os.fsync(above)
            finally:
                os.close(above)
        return self.open_folder(parts)

    def was_made(self, parts: Parts) -> None:
        self._made.append(parts)

    def unmake(self, tree: Tree) -> None:
        """Removes the folders created on the way to a place, as long as they are empty."""
        for parts in reversed(self._made):
            with contextlib.suppress(OSError, McpdError):
                above = self.open_folder(parts[:-1]) if parts else tree.open_root()
                try:
                    os.rmdir(parts[-1] if parts else self.service, dir_fd=above)
                finally:
                    os.close(above)

    def place(self, parts: Parts) -> Place:
        """The place for a file ``parts``; creates its folders. For a symlink, the place of its target.

        Raises RefusedError when something is there that is no regular file.
        """
        place = Place(self.make_folder(parts[:-1]), parts[-1])
        try:
            found = _looked(place)
            if found is None or stat.S_ISREG(found.st_mode):
                return place
            if not stat.S_ISLNK(found.st_mode):
                raise RefusedError(
                    f"{self.shown(parts)} is {kind_in_words(found.st_mode)}, so no file can be written there"
                )
        except BaseException:
            os.close(place.parent)
            raise
        os.close(place.parent)
        return self._place_behind_link(parts)

    def _place_behind_link(self, parts: Parts) -> Place:
        shown = self.shown(parts)
        try:
            behind = self.open_any(parts)
        except NotFoundError:
            raise RefusedError(f"{shown} is a symlink to something that does not exist") from None
        try:
            _demand_file(behind, shown)
            # The name is only a hint; the file found there must be the same one.
            folder, file = (Path(f"/proc/self/fd/{each}").readlink() for each in (self.descriptor, behind))
            if not file.is_relative_to(folder):
                raise RefusedError(f"{shown} is a symlink to a file whose location cannot be determined")
            inside = file.relative_to(folder).parts
            place = Place(self.open_folder(inside[:-1]), inside[-1])
            if not _is_at(behind, place):
                os.close(place.parent)
                raise BusyError(f"{shown} is a symlink, and its target is being changed; try again")
            return place
        finally:
            os.close(behind)


def _looked(place: Place) -> os.stat_result | None:
    try:
        return os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_at(descriptor: int, place: Place) -> bool:
    one, other = os.fstat(descriptor), _looked(place)
    return other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _demand_file(descriptor: int, shown: str) -> None:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{shown} is {kind_in_words(mode)}, not a file")


def kind_in_words(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symlink",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


class Tree:
    """ROOT, as the operator configured it. It may contain symlinks; paths below it may not lead out of it."""

    def __init__(self, root: Path, opener: Opener | None = None) -> None:
        self._root = root
        self._opener = opener

    @contextlib.contextmanager
    def service(self, name: str, *, make: bool = False) -> Iterator[Folder]:
        """The folder of the service ``name``; ``make`` creates it when it is missing.

        Raises InvalidRequestError for what is no name, NotFoundError, RefusedError when it is a symlink.
        """
        folder = self.open_service(name, make=make)
        try:
            yield folder
        finally:
            os.close(folder.descriptor)

    def open_service(self, name: str, *, make: bool = False) -> Folder:
        """As `service`; the caller closes its descriptor."""
        _check_service(name)
        root = self.open_root()
        is_new = False
        try:
            with told(f"{self._root / name}"):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, FOLDER_MODE, dir_fd=root)
                        is_new = True
                        os.fsync(root)
                try:
                    # A single name, so O_NOFOLLOW is enough.
                    opened = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=root)
                except FileNotFoundError:
                    raise NotFoundError(f"{name} has no folder {self._root / name} on this node") from None
        finally:
            os.close(root)
        folder = Folder(opened, name, self._opener or openat2)
        if is_new:
            folder.was_made(())
        return folder

    def nearest(self, name: str, parts: Parts) -> int:
        """The innermost existing folder in which ``parts`` is or would be created."""
        try:
            with self.service(name) as folder:
                for depth in range(len(parts) - 1, -1, -1):
                    with contextlib.suppress(NotFoundError):
                        return folder.open_folder(parts[:depth])
        except NotFoundError:
            pass
        return self.open_root()

    def open_root(self) -> int:
        """Raises RefusedError."""
        try:
            root = os.open(self._root, _FOLDER)
        except FileNotFoundError:
            raise RefusedError(f"{self._root} does not exist on this node; create it, or set files.root") from None
        except OSError as error:
            raise RefusedError(f"{self._root}, this node's files.root, cannot be opened: {error.strerror}") from None
        if self._opener is None:
            self._opener = opener_of(root)
        return root


def _check_service(name: str) -> None:
    if not naming.is_name(name):
        raise InvalidRequestError(f"{_short(name)} is not the name of a service: {naming.NAME_RULE}")
