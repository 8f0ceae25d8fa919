"""What image registries say of a repository: which digest a tag has, and which tags there are.

The API is the OCI distribution specification's. Nothing is pulled, and nothing is changed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from mcpctl.errors import RegistryError
from mcpctl.images.registries import conf as registries_conf
from mcpctl.images.registries import credentials, tokens
from mcpctl.images.registries.conf import Place
from mcpctl.images.registries.credentials import Login
from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.tokens import LoginRefusedError
from mcpctl.images.registries.transport import Answer, Connection, address
from protos.images import LISTS, MANIFESTS, digest_of

# Everything that is asked about one reference, waiting for others included.
_REFERENCE_S = 120.0
MAX_TAGS = 10_000
_PAGE = 1000
# Of registries that give few tags at a time.
_MAX_PAGES = 200
# HEAD is not known there, or not for this.
_HEAD_REFUSED = (400, 405, 501)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,}")
# What a reference can have; no tag that is none reaches a terminal, or is compared with others.
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NEXT = re.compile(r'<([^<>]*)>\s*(?:;[^,]*)?;\s*rel="?next"?', re.IGNORECASE)


class Tags(NamedTuple):
    """``complete``: whether these are all; a repository may have more than are read."""

    tags: tuple[str, ...]
    complete: bool


class Manifest(msgspec.Struct, frozen=True):
    """What a tag stands for. ``config``: the digest of the image's configuration, which is podman's id of the image.

    ``images``: the digests of the manifests that a list has, one for each platform; then there is no ``config``.
    """

    digest: str
    config: str = ""
    images: tuple[str, ...] = ()


class _Described(msgspec.Struct, frozen=True):
    digest: str = ""
    platform: dict[str, object] | None = None


class _Content(msgspec.Struct, frozen=True):
    config: _Described | None = None
    manifests: tuple[_Described, ...] = ()


class _TagPage(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] | None = None


class _Key(NamedTuple):
    """What opens a repository. ``login``: whom it was given to; None: to anybody."""

    value: str = ""
    login: Login | None = None


class Registries:
    """Asks registries, several at once, each over connections of its own. An asynchronous context manager."""

    def __init__(self) -> None:
        self._configured = registries_conf.read()
        self._connections: dict[tuple[str, bool], Connection] = {}
        self._keys: dict[str, _Key] = {}
        self._logging_in: dict[str, asyncio.Lock] = {}
        # By registry. Until it has taken a login, one is tried at a time; one that it does not take is tried once:
        # whoever has a wrong password for a hundred images would be locked out.
        self._trying: dict[str, asyncio.Lock] = {}
        self._takes_logins: set[str] = set()
        self._refused: dict[tuple[str, Login | None], LoginRefusedError] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._connections.values():
            await each.close()

    async def digest(self, reference: Reference) -> str | None:
        """Of the manifest, or the list of manifests, that a tag names now; None: there is no such tag.

        Raises RegistryError, UsageError.
        """
        async with _deadline(reference):
            answer = await self._manifest("HEAD", reference)
            if answer.status in _HEAD_REFUSED or (answer.status == 200 and not _told_digest(answer)):
                answer = await self._manifest("GET", reference)
            return None if answer.status == 404 else _digest(answer, reference)

    async def manifest(self, reference: Reference) -> Manifest | None:
        """What `digest` tells, and what it is made of; registries may count it as a pull. Raises as `digest`."""
        async with _deadline(reference):
            answer = await self._manifest("GET", reference)
            return None if answer.status == 404 else _manifest(answer, reference)

    async def tags(self, reference: Reference) -> Tags:
        """All tags of its repository, MAX_TAGS at most. Raises RegistryError, UsageError."""
        async with _deadline(reference):
            found: dict[str, None] = {}
            path: str | None = f"/tags/list?n={_PAGE}"
            for _ in range(_MAX_PAGES):
                if path is None:
                    break
                answer = await self._ask("GET", reference, path, "application/json")
                if answer.status == 404:
                    raise RegistryError(f"the image registry {reference.registry} has no {reference.repository}")
                found.update(dict.fromkeys(_tags(answer, reference)))
                path = _next(answer)
                if len(found) >= MAX_TAGS:
                    return Tags(tuple(found)[:MAX_TAGS], len(found) == MAX_TAGS and path is None)
            return Tags(tuple(found), path is None)

    async def _manifest(self, method: str, reference: Reference) -> Answer:
        return await self._ask(method, reference, f"/manifests/{reference.digest or reference.tag}", *LISTS, *MANIFESTS)

    async def _ask(self, method: str, reference: Reference, path: str, *accepted: str) -> Answer:
        """Below the repository; with a login, once the registry has asked for one. Raises RegistryError."""
        place = self._configured.place(reference)
        if place.blocked:
            raise RegistryError(f"{reference.name} is blocked by registries.conf")
        connection = self._connection(place)
        url = await connection.url(f"/v2/{place.reference.repository}{path}")
        headers = {"Accept": ", ".join(accepted)}

        def ask(key: _Key) -> Awaitable[Answer]:
            return connection.send(method, url, headers | _authorized(key))

        key = self._keys.get(place.reference.name, _Key())
        answer = await ask(key)
        if answer.status != 401:
            return _checked(answer, connection, place.reference, key)
        if connection.name in self._takes_logins:
            return await self._with_login(connection, answer, place.reference, key, ask)
        async with self._trying.setdefault(connection.name, asyncio.Lock()):
            return await self._with_login(connection, answer, place.reference, key, ask)

    async def _with_login(
        self,
        connection: Connection,
        answer: Answer,
        reference: Reference,
        used: _Key,
        ask: Callable[[_Key], Awaitable[Answer]],
    ) -> Answer:
        key = await self._log_in(connection, answer, reference, used)
        try:
            checked = _checked(await ask(key), connection, reference, key)
        except LoginRefusedError as error:
            self._refused[connection.name, key.login] = error
            self._keys.pop(reference.name, None)
            raise
        self._takes_logins.add(connection.name)
        return checked

    async def _log_in(self, connection: Connection, answer: Answer, reference: Reference, used: _Key) -> _Key:
        """Once for all who ask about the repository at the same time."""
        async with self._logging_in.setdefault(reference.name, asyncio.Lock()):
            known = self._keys.get(reference.name, used)
            if known != used:
                return known
            login = await credentials.find(reference)
            if error := self._refused.get((connection.name, login)):
                raise error
            told = answer.headers.get_list("WWW-Authenticate")
            try:
                made = await tokens.authorization(connection, answer.url, told, reference.repository, login)
            except LoginRefusedError as error:
                self._refused[connection.name, login] = error
                raise
            self._keys[reference.name] = _Key(made, login)
            return self._keys[reference.name]

    def _connection(self, place: Place) -> Connection:
        """Raises UsageError for certificates, or a proxy, that are damaged."""
        key = (place.reference.host, place.may_lack_tls)
        if key not in self._connections:
            self._connections[key] = Connection(
                place.reference.host, place.reference.registry, may_lack_tls=place.may_lack_tls
            )
        return self._connections[key]


@asynccontextmanager
async def _deadline(reference: Reference) -> AsyncIterator[None]:
    """For all that is asked about it. Raises RegistryError."""
    try:
        async with asyncio.timeout(_REFERENCE_S):
            yield
    except TimeoutError:
        raise RegistryError(
            f"the image registry {reference.registry} did not say all of {reference} within {_REFERENCE_S:g} s"
        ) from None


def _authorized(key: _Key) -> dict[str, str]:
    return {"Authorization": key.value} if key.value else {}


def _checked(answer: Answer, connection: Connection, reference: Reference, key: _Key) -> Answer:
    """An answer that says something. Raises RegistryError."""
    if answer.status in (200, 404) or (answer.is_head and answer.status in _HEAD_REFUSED):
        return answer
    if answer.status == 401 and key.login is None:
        raise tokens.needs_login(connection.name, reference.repository)
    if answer.status == 401 and key.value.startswith("Basic"):
        raise tokens.refused(connection.name)
    # Docker Hub says 401 where others say 403 or 404.
    if answer.status in (401, 403):
        raise RegistryError(
            f"the image registry {connection.name} does not show {reference.repository}: there is no such repository, "
            f"or the login may not read it (`podman login {connection.name}`)"
        )
    raise RegistryError(
        f"the image registry {connection.name} answered HTTP {answer.status} for {reference.repository}; "
        "try again later"
    )


def _told_digest(answer: Answer) -> str:
    told = answer.headers.get("Docker-Content-Digest", "")
    return told if _DIGEST.fullmatch(told) else ""


def _digest(answer: Answer, reference: Reference) -> str:
    """As told, or of the bytes. Raises RegistryError."""
    if answer.content:
        return digest_of(answer.content)
    if told := _told_digest(answer):
        return told
    raise RegistryError(f"the image registry {reference.registry} does not say the digest of {reference}")


def _manifest(answer: Answer, reference: Reference) -> Manifest:
    try:
        content = msgspec.json.decode(answer.content, type=_Content)
    except (ValueError, RecursionError):
        raise RegistryError(f"the image registry {reference.registry} has no manifest for {reference}") from None
    images = tuple(
        each.digest for each in content.manifests if _DIGEST.fullmatch(each.digest) and not _is_attestation(each)
    )
    config = content.config.digest if content.config else ""
    return Manifest(_digest(answer, reference), config if _DIGEST.fullmatch(config) else "", images)


def _is_attestation(described: _Described) -> bool:
    """What buildx puts beside images, about them."""
    return (described.platform or {}).get("os") == "unknown"


def _tags(answer: Answer, reference: Reference) -> tuple[str, ...]:
    try:
        found = msgspec.json.decode(answer.content, type=_TagPage).tags or ()
        return tuple(each for each in found if _TAG.fullmatch(each))
    except (ValueError, RecursionError):
        raise RegistryError(f"the image registry {reference.registry} does not list tags as others do") from None


def _next(answer: Answer) -> str | None:
    """The path of the next page, below the repository (RFC 8288); None: this is the last."""
    link = _NEXT.search(answer.headers.get("Link", ""))
    if link is None:
        return None
    url = address(link[1], answer.url)
    # Only the position counts: who is asked, and about what, is ours to say.
    return f"/tags/list?{url.query.decode()}" if url and url.query else None
