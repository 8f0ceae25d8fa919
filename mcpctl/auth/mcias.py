"""MCIAS, as its published clients use it: JSON over HTTPS, a login, a renewal, a logout. Imported when one is due.

No message of ours holds a password or a token, whatever the server says.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from mcpctl.auth import credentials, tls
from mcpctl.auth.credentials import Server
from mcpctl.errors import MciasError, MciasUnreachableError

# For everything: the name, the connection, the answer. What MCIAS does takes milliseconds.
_PATIENCE_S = 10.0
# A token has a kilobyte.
_MAX_BYTES = 64 * 1024
# What a server may add to a sentence of ours.
_MAX_WORDS = 200

_LOGIN = "/v1/auth/login"
_RENEW = "/v1/auth/renew"
_LOGOUT = "/v1/auth/logout"


class WrongCredentialsError(MciasError):
    """Wrong user name or password."""


class TotpNeededError(MciasError):
    """The account needs a one-time code, too."""


class Grant(msgspec.Struct, frozen=True):
    """A token, and its end where MCIAS says one."""

    token: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Failure(msgspec.Struct):
    error: str = ""


class _Answer(NamedTuple):
    status: int
    content: bytes

    def words(self, *secrets: str) -> str:
        """What the server says of its refusal, without what it was told in confidence."""
        try:
            said = msgspec.json.decode(self.content, type=_Failure).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        for secret in filter(None, secrets):
            said = said.replace(secret, "***")
        return said if len(said) <= _MAX_WORDS else said[: _MAX_WORDS - 3] + "..."


def login(server: Server, username: str, password: str, totp: str = "") -> Grant:
    """Raises TotpNeededError, WrongCredentialsError, MciasError, MciasUnreachableError."""
    asked = {"username": username, "password": password, "service_name": server.service_name}
    answer = _post(server, _LOGIN, asked | ({"totp_code": totp} if totp else {}), _PATIENCE_S)
    words = answer.words(password, totp)
    if answer.status == 401 and "totp" in words.lower() and not totp:
        raise TotpNeededError(
            f"MCIAS at {server.url} requires a one-time code for {username}: run `mcpctl login` in a terminal"
        )
    if answer.status == 401:
        what = "user name, password or one-time code" if totp else "user name or password"
        raise WrongCredentialsError(f"MCIAS at {server.url} rejected the login of {username}: wrong {what}")
    if answer.status == 403:
        raise MciasError(
            f"MCIAS at {server.url} denied {username}: {words or 'denied by policy'}; ask its administrator"
        )
    return _grant(server, _LOGIN, answer, words)


def renew(server: Server, token: str, patience: float) -> Grant:
    """A new token for one that is still good, in ``patience`` seconds. Raises MciasError, MciasUnreachableError."""
    answer = _post(server, _RENEW, {}, patience, token)
    return _grant(server, _RENEW, answer, answer.words(token))


def logout(server: Server, token: str) -> None:
    """Makes the token worthless; one that is already, stays so. Raises MciasError, MciasUnreachableError."""
    answer = _post(server, _LOGOUT, {}, _PATIENCE_S, token)
    if answer.status // 100 != 2 and answer.status != 401:
        raise _unexpected(server, _LOGOUT, answer, answer.words(token))


def _grant(server: Server, path: str, answer: _Answer, words: str) -> Grant:
    if answer.status // 100 != 2:
        raise _unexpected(server, path, answer, words)
    try:
        grant = msgspec.json.decode(answer.content, type=Grant)
    except (msgspec.DecodeError, UnicodeDecodeError):
        grant = Grant("")
    if not credentials.is_usable(grant.token):
        raise _nonsense(server, path)
    return grant


def _unexpected(server: Server, path: str, answer: _Answer, words: str) -> MciasError:
    # A redirection is not followed: a password goes where the configuration says, and nowhere else.
    says = f": {words}" if words else ""
    hint = "check mcias.server_url" if 300 <= answer.status < 500 else "try again, or ask its administrator"
    return MciasError(f"MCIAS at {server.url} answered {path} with HTTP {answer.status}{says}; {hint}")


def _nonsense(server: Server, path: str) -> MciasError:
    return MciasError(f"MCIAS at {server.url} did not answer {path} like an MCIAS server; check mcias.server_url")


# -- HTTP


def _post(server: Server, path: str, body: dict[str, str], patience: float, token: str = "") -> _Answer:
    """Raises UsageError for a CA that is none, MciasError for nonsense, MciasUnreachableError."""
    context = tls.context(server.ca_cert, "MCIAS", ssl.TLSVersion.TLSv1_2)
    outcome: SimpleQueue[_Answer | Exception] = SimpleQueue()

    def exchange() -> None:
        try:
            outcome.put(_exchange(server, path, body, token, context, patience))
        except Exception as error:
            outcome.put(error)

    # A thread, because the timeout of a socket starts anew with each byte, and that of a name's look-up is not ours.
    threading.Thread(target=exchange, daemon=True).start()
    try:
        found = outcome.get(timeout=patience)
    except Empty:
        found = TimeoutError()
    if isinstance(found, Exception):
        raise _told(server, path, found, patience) from None
    return found


def _exchange(
    server: Server, path: str, body: dict[str, str], token: str, context: ssl.SSLContext, patience: float
) -> _Answer:
    url = urlsplit(server.url)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=patience, context=context)
    try:
        connection.request("POST", url.path.rstrip("/") + path, msgspec.json.encode(body), headers)
        with connection.getresponse() as response:
            content = response.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES:
                raise http.client.HTTPException
            return _Answer(response.status, content)
    finally:
        connection.close()


def _told(server: Server, path: str, error: Exception, patience: float) -> Exception:
    """``error`` as a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return MciasUnreachableError(
            f"the server at {server.url} is not trusted: {tls.why_not_trusted(error, server.ca_cert)}; "
            "mcias.ca_cert must name the CA of MCIAS"
        )
    if isinstance(error, TimeoutError):
        return MciasUnreachableError(f"MCIAS at {server.url} did not answer within {patience:g} s; try again later")
    if isinstance(error, OSError):
        # http.client's RemoteDisconnected among them.
        reason = error.strerror or "it closed the connection"
        return MciasUnreachableError(f"MCIAS at {server.url} cannot be reached: {reason}; does it run there?")
    if isinstance(error, http.client.HTTPException):
        return _nonsense(server, path)
    return error
