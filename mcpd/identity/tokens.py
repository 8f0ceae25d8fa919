"""Bearer tokens of ``mode = "tokens"``: a file of hashes, each with a name, a role and perhaps an expiry.

A token is 256 random bits, so one SHA-256 of it is enough: there is nothing to guess, and a slow password hash would
only let a stranger make the daemon work. The token itself is shown once, when it is made, and stored nowhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from mcpd.errors import ConfigError, ConflictError, InvalidRequestError, NotFoundError, UnauthenticatedError
from mcpd.model import Caller, Role
from protos import atomic, naming

# Lets secret scanners and people see what a leaked string is.
PREFIX = "mcp_"
_RANDOM_BYTES = 32


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sha256`` is hexadecimal, of the whole token. ``expires_at`` None: never."""

    name: str
    role: Role
    sha256: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[Token, ...] = ()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def load(path: Path) -> tuple[Token, ...]:
    """Every token in the file, expired ones too; none when there is no file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).tokens
    except FileNotFoundError:
        return ()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a token file: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def add(path: Path, name: str, role: Role, now: datetime, lifetime: timedelta | None = None) -> str:
    """Makes a token and returns it, the only time that it can be seen. Raises ConflictError for a name in use."""
    if not naming.is_name(name):
        raise InvalidRequestError(f"{name!r} is not a name for a token: {naming.NAME_RULE}")
    token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    with _locked(path):
        tokens = load(path)
        if any(each.name == name for each in tokens):
            raise ConflictError(f"a token named {name} exists; `mcpd token revoke {name}` removes it first")
        made = Token(name, role, digest(token), now, now + lifetime if lifetime else None)
        _save(path, (*tokens, made))
    return token


def revoke(path: Path, name: str) -> None:
    """Removes a token. Raises NotFoundError."""
    with _locked(path):
        tokens = load(path)
        kept = tuple(each for each in tokens if each.name != name)
        if len(kept) == len(tokens):
            raise NotFoundError(f"no token is named {name}; `mcpd token list` shows them")
        _save(path, kept)


def described(tokens: tuple[Token, ...]) -> bytes:
    """JSON of everything but the hashes."""
    rows = [
        {"name": each.name, "role": each.role, "created_at": each.created_at, "expires_at": each.expires_at}
        for each in tokens
    ]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2)


class TokenFile:
    """Knows who holds a token, by the file as it is now: a revoked token stops working with the next call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._by_digest: dict[str, Token] = {}

    def known(self, token: str, now: datetime) -> Caller | None:
        """Who holds a token that is good. Raises ConfigError when the file is broken, which never means "allowed"."""
        self._refresh()
        # The lookup is by hash: how long it takes tells nothing of the token itself.
        found = self._by_digest.get(digest(token))
        return None if found is None or found.is_expired(now) else Caller(found.name, found.role, found.expires_at)

    async def caller(self, token: str, now: datetime) -> Caller:
        """Raises UnauthenticatedError with the reason, for a token that is not good; ConfigError as `known`."""
        if caller := self.known(token, now):
            return caller
        found = self._by_digest.get(digest(token))
        if found is None:
            raise UnauthenticatedError("the token is not known here; ask the node's owner for one (`mcpd token add`)")
        raise UnauthenticatedError(f"the token {found.name} expired at {found.expires_at:%Y-%m-%d %H:%M} UTC")

    async def again(self, token: str, now: datetime) -> Caller:
        """As `caller`, for a call that goes on."""
        return await self.caller(token, now)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        except FileNotFoundError:
            stamp = (0, 0, 0)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from None
        if stamp != self._stamp:
            self._by_digest = {each.sha256: each for each in load(self._path)}
            self._stamp = stamp


def _save(path: Path, tokens: tuple[Token, ...]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_File(tokens)), indent=2)
    owner = path.stat() if path.exists() else None
    atomic.write(path, content, mode=atomic.PRIVATE)
    if owner and os.geteuid() == 0:
        # Root adds a token for the daemon's own user: the file must stay readable to that user.
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two `mcpd token` commands at once do not lose each other's change."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
