"""Bearer tokens of ``mode = "mcias"``: an MCIAS server says whose a token is.

What cannot be found out is UNAVAILABLE, and never "allowed". A good answer is believed for `CACHE_S`, so that is how
long a token that is revoked may go on working.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import msgspec
import structlog
import trio

from mcpd.errors import BugError, ConfigError, ForbiddenError, McpdError, UnauthenticatedError, UnavailableError
from mcpd.identity.tokens import digest
from mcpd.model import Caller, Role

log = structlog.get_logger()

# The longest that DESIGN.md allows: what an administrator revokes must stop working while they watch.
CACHE_S = 30.0
# For a call that goes on, MCIAS is asked anew when its last answer is so old: it may then fail for as long again before
# the call is cut off, and what is revoked is seen well within `CACHE_S`.
RENEW_S = CACHE_S / 2
# Some hundred bytes each. More people and programs than these do not work with one node within `CACHE_S`.
MOST_CACHED = 4096
# Strangers with made-up tokens must not become a flood at MCIAS, which other services need as well.
MOST_AT_ONCE = 16
# For everything: waiting for one of those, connecting, the handshake, the answer. The caller waits that long.
DEADLINE_S = 5.0
# An answer has some hundred bytes, a few thousand for somebody with very many roles.
MAX_ANSWER_BYTES = 64 * 1024
# As long as any account's name; it becomes part of logs and tables.
_MAX_NAME_CHARS = 256

Clock = Callable[[], float]


class _Verdict(msgspec.Struct, frozen=True):
    valid: bool


class _Holder(msgspec.Struct, frozen=True):
    """What MCIAS says of a token that is valid. An empty list may be left out, or null (Go's JSON)."""

    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]
    sub: str = ""
    username: str = ""
    roles: tuple[str, ...] | None = None


class _Known(NamedTuple):
    caller: Caller
    expires_at: datetime
    asked_at: float


class _Asking:
    """A request under way, for everyone who wants its result."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Caller | McpdError = UnavailableError("mcpd is shutting down; try again when it is back")


class Mcias:
    """Knows who holds a token, by what MCIAS answers now or has answered within `CACHE_S`."""

    def __init__(self, client: httpx.AsyncClient, server_url: str, requests: trio.Nursery, clock: Clock) -> None:
        self._client = client
        self._server = server_url.rstrip("/")
        self._requests = requests
        self._clock = clock
        # Both by the token's digest, so that no token stays in memory. Oldest first.
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, _Asking] = {}

    @staticmethod
    @asynccontextmanager
    async def connect(server_url: str, ca_cert: Path | None, clock: Clock = time.monotonic) -> AsyncIterator[Mcias]:
        """Opens no connection yet: MCIAS may come and go. ``ca_cert`` None: whom the system trusts.

        Raises ConfigError when ``ca_cert`` cannot be used.
        """
        client = _client(ca_cert)
        async with trio.open_nursery() as requests:
            mcias = Mcias(client, server_url, requests, clock)
            try:
                yield mcias
            finally:
                requests.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await mcias._client.aclose()

    def trust(self, ca_cert: Path | None) -> None:
        """Believes whom ``ca_cert`` signed from the next question on. Raises ConfigError, and then all is as it was."""
        old, self._client = self._client, _client(ca_cert)
        self._requests.start_soon(_retire, old)

    def known(self, token: str, now: datetime) -> Caller | None:
        """Who holds ``token``, as MCIAS said not long ago."""
        key = digest(token)
        found = self._known.get(key)
        if found is None:
            return None
        if self._clock() - found.asked_at >= CACHE_S or now >= found.expires_at:
            del self._known[key]
            return None
        return found.caller

    async def caller(self, token: str, now: datetime) -> Caller:
        """Asks MCIAS; those who ask for the same token at the same time share one request.

        Raises UnauthenticatedError for a token that is not good, ForbiddenError for a user without a role here,
        UnavailableError when MCIAS does not answer as it should.
        """
        return self.known(token, now) or await self._answer(token, now)

    async def again(self, token: str, now: datetime) -> Caller:
        """As `caller`, by an answer younger than `RENEW_S`; or than `CACHE_S`, when MCIAS cannot be asked."""
        known = self.known(token, now)
        if known and self._clock() - self._known[digest(token)].asked_at < RENEW_S:
            return known
        try:
            return await self._answer(token, now)
        except UnavailableError:
            if known := self.known(token, now):
                return known
            raise

    async def _answer(self, token: str, now: datetime) -> Caller:
        """What MCIAS says now."""
        key = digest(token)
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = _Asking()
            # In a task of its own: whoever wants the result may be cancelled without a loss for the others.
            self._requests.start_soon(self._find_out, key, token, now, asking)
        await asking.done.wait()
        if isinstance(asking.result, McpdError):
            raise type(asking.result)(*asking.result.args)
        return asking.result

    async def _find_out(self, key: str, token: str, now: datetime, asking: _Asking) -> None:
        # An answer is as old as its question: MCIAS may have revoked the token right after looking.
        asked_at = self._clock()
        try:
            holder = holder_in(await self._ask(token), now, self._server)
            self._remember(key, _Known(holder, holder.expires_at or now, asked_at))
            asking.result = holder
        except (UnauthenticatedError, ForbiddenError) as error:
            self._known.pop(key, None)
            asking.result = error
        except McpdError as error:
            asking.result = error
        except Exception as error:
            log.error("the query to MCIAS crashed", exc_info=error)
            asking.result = BugError("mcpd failed because of a bug; its log has the details")
        finally:
            del self._asking[key]
            asking.done.set()

    def _remember(self, key: str, known: _Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > MOST_CACHED:
            del self._known[next(iter(self._known))]

    async def _ask(self, token: str) -> bytes:
        """The answer's body, whatever it holds. Raises UnavailableError."""
        try:
            with trio.fail_after(DEADLINE_S):
                return await self._post(token)
        except trio.TooSlowError:
            raise _unavailable(self._server, f"it has not answered within {DEADLINE_S:.0f} s") from None
        except httpx.HTTPError as error:
            raise _unavailable(self._server, _reason(error)) from None

    async def _post(self, token: str) -> bytes:
        # An answer that is compressed could be small here and huge when read.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        content = msgspec.json.encode({"token": token})
        url = f"{self._server}/v1/token/validate"
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise _unavailable(self._server, f"it answered with the HTTP status {response.status_code}")
            body = bytearray()
            # Cancelled, and not broken off: httpx's generators close only what an exception passes through.
            with trio.CancelScope() as reading:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        reading.cancel()
        if len(body) > MAX_ANSWER_BYTES:
            raise _unavailable(self._server, f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)


def holder_in(answer: bytes, now: datetime, server: str) -> Caller:
    """Who holds the token that the server was asked about, by its answer. Raises as `Mcias.caller` does."""
    try:
        if not msgspec.json.decode(answer, type=_Verdict).valid:
            raise UnauthenticatedError("MCIAS does not accept this token (any more); `mcpctl login` gets another")
        holder = msgspec.json.decode(answer, type=_Holder)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unavailable(server, f"its answer does not describe a token ({error})") from None
    name = holder.username or holder.sub
    if not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        raise _unavailable(server, "its answer names no account")
    if now >= holder.expires_at:
        raise UnauthenticatedError(f"the token of {name} has expired; `mcpctl login` gets another")
    return Caller(name, _role(name, holder.roles or ()), holder.expires_at)


def _role(name: str, roles: tuple[str, ...]) -> Role:
    """The highest role that is one here."""
    for role in (Role.ADMIN, Role.VIEWER):
        if role in roles:
            return role
    have = ", ".join(map(repr, roles)) or "it has none"
    raise ForbiddenError(f"{name} has no access here: none of its roles in MCIAS ({have}) is `admin` or `viewer`")


def _client(ca_cert: Path | None) -> httpx.AsyncClient:
    """Raises ConfigError."""
    return httpx.AsyncClient(
        verify=_trust(ca_cert),
        limits=httpx.Limits(max_connections=MOST_AT_ONCE),
        timeout=None,  # noqa: S113 -- `_ask` has one for everything
        follow_redirects=False,
        trust_env=False,  # no proxy is shown a token
    )


async def _retire(client: httpx.AsyncClient) -> None:
    """Closes a client that nobody begins to use any more, once the last who did has an answer."""
    try:
        await trio.sleep(DEADLINE_S)
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()


def _trust(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_cert)
    except (ssl.SSLError, ValueError):
        raise ConfigError(f"mcias.ca_cert: {ca_cert} holds no certificate in PEM") from None
    except OSError as error:
        raise ConfigError(f"mcias.ca_cert: {ca_cert} cannot be read: {error.strerror}") from None


def _unavailable(server: str, reason: str) -> UnavailableError:
    return UnavailableError(f"MCIAS at {server} could not be queried about this token: {reason}; try again later")


def _reason(error: BaseException) -> str:
    """What went wrong. Trio's and httpx's own errors are often silent, and what caused them is not."""
    cause: BaseException | None = error
    while cause is not None:
        if text := str(cause):
            return text.rstrip(".")
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
