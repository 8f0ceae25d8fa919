"""Tokens and passwords in files, which only their owner may read; and what a token says of its own end."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from mcpctl.errors import UsageError

_OTHERS = 0o077
_PRIVATE_FOLDER = 0o700
# No token or password comes near; a larger file is the wrong one.
_MAX_BYTES = 64 * 1024


class Server(NamedTuple):
    """An MCIAS server, and what vouches for it."""

    url: str
    service_name: str
    ca_cert: Path


class Account(NamedTuple):
    """Where the token is kept, and what a login needs. ``server`` None: there is nothing to log in to."""

    token_path: Path
    server: Server | None = None
    username: str | None = None
    password_file: Path | None = None

    @property
    def is_unattended(self) -> bool:
        return self.server is not None and self.username is not None and self.password_file is not None


class Lifetime(NamedTuple):
    """Unix seconds. ``start`` None: not known."""

    start: float | None
    end: float


class _Claims(msgspec.Struct):
    exp: float
    iat: float | None = None


# -- reading


def token(path: Path) -> str | None:
    """The token in ``path``; None when there is no such file. Raises UsageError, which does not show it."""
    content = _private(path, "token")
    return None if content is None else usable(content.strip(), f"the token file {path}")


def password(path: Path) -> str:
    """The one line of a password file. Raises UsageError, which does not show it."""
    content = _private(path, "password")
    if content is None:
        raise UsageError(f"the password file {path} does not exist; create it with mode 600, or run `mcpctl login`")
    line = content.removesuffix("\n").removesuffix("\r")
    if not line or "\n" in line:
        raise UsageError(f"the password file {path} must contain exactly one line, the password")
    return line


def usable(token: str, source: str) -> str:
    """A token that an HTTP header can carry. Raises UsageError, which does not show it."""
    if not is_usable(token):
        raise UsageError(f"{source} does not contain a token")
    return token


def is_usable(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def no_token(node: str, path: Path, *, remedy: str = "") -> UsageError:
    return UsageError(f"no token for node {node}: {path} does not exist, and MCP_TOKEN is not set{remedy}")


def _private(path: Path, kind: str) -> str | None:
    """The text of a file that nobody else can read. Raises UsageError."""
    try:
        # Without O_NONBLOCK a named pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"the {kind} file {path} cannot be read: {error.strerror}") from None
    try:
        return _checked(descriptor, path, kind)
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"the {kind} file {path} cannot be read: {reason}") from None
    finally:
        os.close(descriptor)


def _checked(descriptor: int, path: Path, kind: str) -> str:
    """What is looked at is what is read, whoever renames files in between."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
        raise UsageError(f"the {kind} file {path} cannot be used: it is not a regular file, or it is too large")
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"the {kind} file {path} belongs to another user (user ID {found.st_uid}), so it is not used: "
            "create your own"
        )
    if found.st_mode & _OTHERS:
        raise UsageError(f"the {kind} file {path} can be read by others, so it is not used: run `chmod 600 {path}`")
    return os.read(descriptor, _MAX_BYTES).decode()


def lifetime(token: str) -> Lifetime | None:
    """What a JSON Web Token (RFC 7519) says, which is not verified; None when it says nothing, or is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    payload = parts[1]
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except ValueError:  # base64's, and msgspec's too
        return None
    return Lifetime(claims.iat, claims.exp)


# -- writing


def keep(path: Path, token: str) -> None:
    """Makes ``path`` hold ``token``, for its owner alone; whole or not at all. Raises OSError."""
    # Only who logs in writes.
    from protos import atomic

    missing = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    atomic.write(path, f"{token}\n".encode(), mode=atomic.PRIVATE)
