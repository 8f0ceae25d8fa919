"""Errors for operators, made from the kernel's errors about files."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from mcpd.errors import ExhaustedError, McpdError, NotFoundError, RefusedError, UnavailableError

# errno(3): the kind, and what follows the file's name.
_SAID: dict[int, tuple[type[McpdError], str]] = {
    errno.ENOENT: (NotFoundError, "does not exist"),
    errno.ENOTDIR: (RefusedError, "is not a folder, or leads through something that is not a folder"),
    errno.EISDIR: (RefusedError, "is a folder"),
    errno.ENOTEMPTY: (RefusedError, "is a folder"),
    errno.EXDEV: (RefusedError, "leads through a symlink out of the service's folder, where nothing is reachable"),
    errno.ELOOP: (RefusedError, "leads through a symlink that is not followed"),
    errno.EACCES: (RefusedError, "belongs to another user, and mcpd's user may not do that to it"),
    errno.EPERM: (RefusedError, "belongs to another user, and mcpd's user may not do that to it"),
    errno.EROFS: (RefusedError, "is on a file system that is mounted read-only"),
    errno.ENOSPC: (ExhaustedError, "does not fit: the file system is full; nothing was changed"),
    errno.EDQUOT: (ExhaustedError, "does not fit: a disk quota is used up; nothing was changed"),
    errno.EFBIG: (ExhaustedError, "is larger than the file system supports; nothing was changed"),
}


@contextlib.contextmanager
def told(shown: str) -> Iterator[None]:
    """Turns OSErrors into McpdErrors; ``shown`` is the file's name in the message."""
    try:
        yield
    except OSError as error:
        kind, words = _SAID.get(error.errno or 0, (UnavailableError, f"cannot be used: {error.strerror or error}"))
        raise kind(f"{shown} {words}") from None
