"""Logins for registries, where podman and docker keep them: containers-auth.json(5), and credential helpers.

No error shows what a file or a helper says.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mcpctl.errors import UsageError
from mcpctl.images import programs
from mcpctl.images.registries.reference import Reference

_DOCKER = "docker.io"
# What docker has called its own registry since its first days.
_DOCKER_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_HELPER = "docker-credential-"
# Where a helper has an identity token in place of a password, as docker-credential-helpers defines it.
_TOKEN_USER = "<token>"  # noqa: S105
# A keyring may ask its owner to unlock it.
_HELPER_S = 30.0
_MAX_BYTES = 1024 * 1024


class Login(msgspec.Struct, frozen=True):
    """A user and a password; or an identity token, with which a registry's token server is asked for others."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Auth | None] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _Helped(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


async def find(wanted: Reference, files: Iterable[Path] | None = None) -> Login | None:
    """The login for a repository: the first file that has one, its longest key first; None where there is none.

    Raises UsageError for a damaged file, and for a helper that fails.
    """
    for path in locations() if files is None else files:
        content = _read(path)
        if content and (login := await _of_file(content, wanted, path)):
            return login
    return None


def locations() -> list[Path]:
    """The files, in podman's order. REGISTRY_AUTH_FILE stands for all of podman's own."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if given := os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(given)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    first = Path(runtime) if runtime else Path(f"/run/containers/{os.getuid()}")
    primary = first / "containers/auth.json" if runtime else first / "auth.json"
    return [primary, config / "containers/auth.json", docker]


async def _of_file(content: _File, wanted: Reference, path: Path) -> Login | None:
    # As podman does: a helper that is named for a registry comes before what the file itself has for it.
    for key in _host_keys(wanted):
        if helper := content.cred_helpers.get(key):
            return await _helped(helper, key, path)
    for key in _keys(wanted):
        if (found := content.auths.get(key)) and (login := _login(found, path, key)):
            return login
    # docker leaves an empty entry for what its store keeps.
    if content.creds_store:
        for key in _host_keys(wanted):
            if login := await _helped(content.creds_store, key, path):
                return login
    return None


def _keys(wanted: Reference) -> list[str]:
    """From the whole repository to the host."""
    parts = wanted.repository.split("/")
    paths = ["/".join([wanted.registry, *parts[:length]]) for length in range(len(parts), 0, -1)]
    return [*paths, *_host_keys(wanted)]


def _host_keys(wanted: Reference) -> list[str]:
    more = _DOCKER_KEYS if wanted.registry == _DOCKER else ()
    return [wanted.registry, *more, f"https://{wanted.registry}", f"https://{wanted.registry}/"]


def _read(path: Path) -> _File | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"the registry logins in {path} cannot be read: {error.strerror}") from None
    if not content.strip():
        return None
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError
        return msgspec.json.decode(content, type=_File)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path} is not a file of registry logins (containers-auth.json(5)): mend it, or remove it and run "
            "`podman login` again"
        ) from None


def _login(found: _Auth, path: Path, key: str) -> Login | None:
    if found.identitytoken:
        return Login(identity_token=found.identitytoken)
    if found.auth:
        try:
            user, colon, password = base64.b64decode(found.auth, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise UsageError(f"{path}: the login of {key} is damaged; run `podman login {key}` again")
        # docker pads it so.
        return Login(user, password.rstrip("\0"))
    if found.username:
        return Login(found.username, found.password)
    return None


async def _helped(helper: str, key: str, path: Path) -> Login | None:
    """What ``docker-credential-HELPER get`` says of ``key``; None: it has nothing. Raises UsageError."""
    program = _HELPER + helper
    if not re.fullmatch(r"[A-Za-z0-9._-]+", helper):
        raise UsageError(f"{path} names a credential helper whose name is none")
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise UsageError(
            f"{path} names the credential helper {program}, which does not start: {error.strerror}"
        ) from None
    try:
        async with asyncio.timeout(_HELPER_S):
            said = await _conversation(process, key)
    except TimeoutError:
        raise UsageError(f"the credential helper {program} did not answer within {_HELPER_S:g} s") from None
    finally:
        # However it went, nothing of it stays.
        await programs.end(process)
    if b"credentials not found" in said.lower():
        return None
    try:
        if process.returncode != 0:
            raise ValueError
        found = msgspec.json.decode(said, type=_Helped)
    except (ValueError, RecursionError):
        raise UsageError(
            f"the credential helper {program} did not give the login of {key} (exit status {process.returncode}): "
            f"run `echo {key} | {program} get` to see why"
        ) from None
    if found.username == _TOKEN_USER:
        return Login(identity_token=found.secret)
    return Login(found.username, found.secret) if found.username or found.secret else None


async def _conversation(process: asyncio.subprocess.Process, key: str) -> bytes:
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(key.encode() + b"\n")
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass
    said = b""
    while len(said) <= _MAX_BYTES and (more := await process.stdout.read(_MAX_BYTES)):
        said += more
    if len(said) > _MAX_BYTES:
        process.kill()
    await process.wait()
    return said
