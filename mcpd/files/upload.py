"""An upload: one file, written without a name beside its place, checked, and put there in one step.

While it is written it has no name (O_TMPFILE, open(2)), so that a daemon that is killed leaves nothing. It gets one,
`.mcp-` and 16 hexadecimal digits, for the moment between linkat(2) and renameat(2); where the file system has no
O_TMPFILE, from the start. What a killed daemon left under such a name goes with the next push into the folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import msgspec

from mcpd.errors import ExhaustedError, InvalidRequestError, RefusedError, UnavailableError
from mcpd.files.beneath import Folder, Parts, Place, Tree
from mcpd.files.failures import told
from mcpd.files.ids import Ids, Owner

_TEMPORARY = re.compile(r"\.mcp-[0-9a-f]{16}")
# Left free, so that a push never takes the last block from the database or a container's log; a hundredth on small
# file systems.
_RESERVE_BYTES = 16 * 1024 * 1024
_RESERVE_SHARE = 100
# podman unshare needs a tenth of a second; the first one of a boot sets up the user's namespace.
_UNSHARE_DEADLINE_S = 20.0
# The errors of O_TMPFILE where the file system or the kernel does not support it.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)

# The prefix of this process's temporary names. Any other belongs to a process that has ended: a root has one daemon.
_in_use: set[str] = set()


class Incoming(msgspec.Struct, frozen=True):
    """A file or folder as its sender announces it; ``owner`` in the container's ids, None: the daemon's user."""

    service: str
    parts: Parts
    size: int
    mode: int
    owner: Owner | None


def check_space(tree: Tree, wanted: Incoming) -> None:
    """Raises ExhaustedError when the file would not fit, before anything is created."""
    nearest = tree.nearest(wanted.service, wanted.parts)
    try:
        disk = os.fstatvfs(nearest)
    finally:
        os.close(nearest)
    free = disk.f_bavail * disk.f_frsize
    reserve = min(_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _RESERVE_SHARE)
    if wanted.size > free - reserve:
        raise ExhaustedError(
            f"{_shown(wanted)} has {wanted.size} bytes; its file system has {free} free, {reserve} of them reserved"
        )


def put_folder(tree: Tree, wanted: Incoming, ids: Ids) -> None:
    """Creates a folder and its missing parents, and always sets its mode and owner."""
    owner = wanted.owner and ids.to_node(wanted.owner)
    with tree.service(wanted.service, make=True) as folder:
        made = folder.make_folder(wanted.parts)
        try:
            with told(_shown(wanted)):
                # Changes only what differs: mcpd may no longer change a folder that it has given away.
                found = os.fstat(made)
                if stat.S_IMODE(found.st_mode) != wanted.mode:
                    os.fchmod(made, wanted.mode)
                if owner and wanted.owner and owner != Owner(found.st_uid, found.st_gid):
                    _change_owner(made, wanted.owner, owner)
                os.fsync(made)
        finally:
            os.close(made)


class Upload:
    """Its methods block and raise McpdErrors. `close` must always be called; it leaves the whole file or nothing."""

    def __init__(self, tree: Tree, wanted: Incoming, ids: Ids) -> None:
        self._wanted = wanted
        # Checked before anything is created.
        self._owner = wanted.owner and ids.to_node(wanted.owner)
        self._sum = hashlib.sha256()
        self._received = 0
        self._temporary = ""
        self._done = False
        self._resources = ExitStack()
        check_space(tree, wanted)
        try:
            self._folder = self._opened(tree)
            self._place = self._folder.place(wanted.parts)
            self._resources.callback(os.close, self._place.parent)
            with told(_shown(wanted)):
                _remove_what_was_left(self._place)
                self._file = self._made()
                self._resources.callback(os.close, self._file)
        except BaseException:
            self.close()
            raise

    def _opened(self, tree: Tree) -> Folder:
        folder = tree.open_service(self._wanted.service, make=True)
        self._resources.callback(os.close, folder.descriptor)
        self._resources.callback(lambda: None if self._done else folder.unmake(tree))
        return folder

    def _made(self) -> int:
        try:
            return os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=self._place.parent)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
        name = self._name()
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=self._place.parent)

    def _name(self) -> str:
        """An unused name; `close` removes the file that gets it."""
        name = self._temporary = f".mcp-{secrets.token_hex(8)}"
        _in_use.add(name)
        self._resources.callback(_in_use.discard, name)
        return name

    def write(self, chunks: Sequence[bytes]) -> None:
        """Raises InvalidRequestError for more than was announced, ExhaustedError when the disk is full."""
        size = sum(map(len, chunks))
        if self._received + size > self._wanted.size:
            raise InvalidRequestError(f"{_shown(self._wanted)} has more than the {self._wanted.size} bytes announced")
        with told(_shown(self._wanted)):
            for chunk in chunks:
                _write_all(self._file, chunk)
                self._sum.update(chunk)
        self._received += size

    def commit(self, sha256: bytes) -> None:
        """Puts the file in its place and syncs it. Raises InvalidRequestError when it did not arrive as it was sent."""
        shown = _shown(self._wanted)
        if self._received != self._wanted.size:
            raise InvalidRequestError(
                f"{shown} ended after {self._received} of the {self._wanted.size} bytes announced"
            )
        if sha256 != self._sum.digest():
            raise InvalidRequestError(f"{shown} did not arrive intact: its SHA-256 differs; push it again")
        with told(shown):
            # The mode first: mcpd may no longer change a file that it has given away.
            os.fchmod(self._file, self._wanted.mode)
            os.fsync(self._file)
            parent = self._place.parent
            if not self._temporary:
                os.link(f"/proc/self/fd/{self._file}", self._name(), dst_dir_fd=parent, follow_symlinks=True)
            if self._owner and self._wanted.owner:
                _change_owner(self._file, self._wanted.owner, self._owner)
                os.fsync(self._file)
            os.rename(self._temporary, self._place.name, src_dir_fd=parent, dst_dir_fd=parent)
            self._temporary = ""
            self._done = True
            os.fsync(parent)

    def close(self) -> None:
        if self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._place.parent)
        self._resources.close()


def _write_all(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]


def _remove_what_was_left(place: Place) -> None:
    for name in os.listdir(place.parent):  # noqa: PTH208
        if _TEMPORARY.fullmatch(name) and name not in _in_use:
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(name, dir_fd=place.parent)


def _change_owner(file: int, inside: Owner, outside: Owner) -> None:
    """An owner: ``inside`` in the container's ids, ``outside`` in the node's."""
    if os.geteuid() == 0:
        os.fchown(file, outside.uid, outside.gid)
    elif outside != Owner(os.geteuid(), os.getegid()):
        unshared_chown(file, inside)


def unshared_chown(
    file: int, owner: Owner, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
) -> None:
    """Uses podman to change the owner of ``file`` to ids of the user's namespace. Blocks. Raises McpdErrors.

    The open file is passed as standard input, so that what it is called meanwhile does not matter.
    """
    argv = ["podman", "unshare", "chown", str(owner), "/proc/self/fd/0"]
    try:
        ran = run(argv, stdin=file, capture_output=True, text=True, timeout=_UNSHARE_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"podman unshare did not give the file to {owner} within {_UNSHARE_DEADLINE_S:.0f} s"
        ) from None
    except FileNotFoundError:
        raise UnavailableError(f"the file cannot be given to {owner}: podman is not installed") from None
    if ran.returncode:
        raise RefusedError(f"podman unshare could not give the file to {owner}: {ran.stderr.strip()[-500:]}")


def _shown(wanted: Incoming) -> str:
    return "/".join((wanted.service, *wanted.parts))
