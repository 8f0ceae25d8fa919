"""What a registry wants to see before it answers: RFC 7235 challenges, Basic, and the distribution project's tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest
from typing import NamedTuple

import httpx
import msgspec

from mcpctl.errors import RegistryAccessError, RegistryError
from mcpctl.images.registries.credentials import Login
from mcpctl.images.registries.transport import Connection, address

# A scheme, and its parameters; quoted strings may have commas.
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z0-9_-]+\s*=|\s*$|\s*,)")
# No header of a registry comes near.
_MAX_HEADER = 8 * 1024


class LoginRefusedError(RegistryAccessError):
    """The registry does not take a login, whatever it is to open."""


class Challenge(NamedTuple):
    """``scheme`` in lower case, ``parameters`` by name in lower case."""

    scheme: str
    parameters: dict[str, str]


class _Granted(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Those of all WWW-Authenticate headers; what cannot be read is left out."""
    found = []
    for header in headers:
        text = header[:_MAX_HEADER]
        schemes = [each for each in _SCHEME.finditer(text) if not _is_quoted(text, each.start())]
        for scheme, following in zip_longest(schemes, schemes[1:]):
            end = following.start() if following else len(text)
            parameters = _PARAMETER.finditer(text, scheme.end(1), end)
            values = {each[1].lower(): each[3] or re.sub(r"\\(.)", r"\1", each[2] or "") for each in parameters}
            found.append(Challenge(scheme[1].lower(), values))
    return found


def _is_quoted(text: str, position: int) -> bool:
    return len(re.findall(r'(?<!\\)"', text[:position])) % 2 == 1


async def authorization(
    connection: Connection, asked: httpx.URL, headers: Iterable[str], repository: str, login: Login | None
) -> str:
    """The header that answers the challenges of ``asked``. Raises RegistryError, in words, when there is none."""
    offered = {each.scheme: each for each in reversed(challenges(headers))}
    if bearer := offered.get("bearer"):
        return f"Bearer {await _token(connection, asked, bearer, repository, login)}"
    if "basic" in offered:
        if login is None:
            raise needs_login(connection.name)
        if login.identity_token:
            raise RegistryError(
                f"the image registry {connection.name} wants a password, and there is an identity token for it: "
                f"run `podman login {connection.name}`"
            )
        return login.basic
    raise RegistryError(f"the image registry {connection.name} wants a login of a kind that mcpctl does not know")


def needs_login(name: str, repository: str = "") -> RegistryAccessError:
    """``repository``: one that whoever has no login cannot tell from one that is not there."""
    where = f" for {repository}, or has no such repository" if repository else ""
    return RegistryAccessError(
        f"the image registry {name} wants a login{where}; there is none: run `podman login {name}`"
    )


def refused(name: str) -> LoginRefusedError:
    """Of a login that there is."""
    return LoginRefusedError(
        f"the image registry {name} refuses the login: wrong user name or password; run `podman login {name}` again"
    )


async def _token(
    connection: Connection, asked: httpx.URL, bearer: Challenge, repository: str, login: Login | None
) -> str:
    """One that may read ``repository``; anonymous without ``login``. Raises RegistryError."""
    realm = address(bearer.parameters.get("realm", ""))
    if realm is None:
        raise RegistryError(f"the image registry {connection.name} does not say where it gives tokens")
    if realm.scheme != asked.scheme or (login and not connection.is_confidential(realm)):
        raise RegistryError(
            f"the image registry {connection.name} gives tokens over {realm.scheme}, at {realm.host}: mcpctl does not "
            "send a login there"
        )
    wanted = {"scope": f"repository:{repository}:pull"}
    if service := bearer.parameters.get("service"):
        wanted["service"] = service
    if login and login.identity_token:
        form = wanted | {
            "grant_type": "refresh_token",
            "refresh_token": login.identity_token,
            "client_id": "mcpctl",
        }
        answer = await connection.send("POST", realm, {}, form)
    else:
        headers = {"Authorization": login.basic} if login else {}
        answer = await connection.send("GET", realm.copy_merge_params(wanted), headers)
    if answer.status in (400, 401, 403):
        error = refused(connection.name) if login else needs_login(connection.name)
        # 403: of this repository, maybe.
        raise RegistryAccessError(str(error)) if answer.status == 403 else error
    try:
        if answer.status != 200:
            raise ValueError
        granted = msgspec.json.decode(answer.content, type=_Granted)
        token = granted.token or granted.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError
    except (ValueError, RecursionError):
        raise RegistryError(
            f"the image registry {connection.name} gives no token (HTTP {answer.status} of {realm.host})"
        ) from None
    return token
