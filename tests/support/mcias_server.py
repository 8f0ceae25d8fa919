"""A stand-in for an MCIAS server: a real process over TLS, for tests and demonstrations. Never for anything else.

    python -m tests.support.mcias_server --folder DIR --port PORT [--address 127.0.0.1]

Everything of it is in DIR. It makes ``ca.pem``, ``cert.pem``, ``key.pem`` and ``signing.pem`` when they are missing,
and reads, at each request:

    accounts.json   [{"username", "password", "roles": ["admin"], "totp": null | "123456", "denied": false,
                    "lifetime_s": 3600}], all but the first two optional
    mood            how it misbehaves; no file: it does not. ``slow N`` (waits N seconds, then does well), ``500``,
                    ``nonsense`` (200 with bytes that are no JSON), ``lying`` (200 with JSON of the wrong types),
                    ``huge`` (200 with 10 MiB), ``reset`` (closes the connection)

It writes ``revoked.json`` (the ids of tokens that were logged out or renewed) and ``requests.log`` (a line
``METHOD PATH`` for each request, before it is answered).

What it answers, as JSON:

    POST /v1/auth/login       {username, password, totp_code?, service_name?, tags?} -> 200 {token, expires_at}
                              401 {"error": "invalid credentials"}, also for a TOTP code that is wrong
                              401 {"error": "TOTP code required"} for none, when the account needs one
                              403 {"error": "denied by policy"}
    POST /v1/auth/renew       with ``Authorization: Bearer TOKEN`` -> 200 {token, expires_at}; the old token is revoked
                              401 {"error": "invalid token"}
    POST /v1/auth/logout      with ``Authorization: Bearer TOKEN`` -> 204, no body; 401 as above
    POST /v1/token/validate   {token} -> 200 {valid, sub, username, roles, expires_at}, or 200 {"valid": false}
    GET  /v1/keys/public      -> 200 the Ed25519 key as a JWK (RFC 8037)
    GET  /v1/health           -> 200 {"status": "ok"}

``expires_at`` is RFC 3339 in UTC. Every failure has a body {"error": "..."}: 400 for a request that is not the JSON
asked for, 404 for another path, and in the mood ``500`` 500 {"error": "internal error"}. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hmac
import http.server
import secrets
import signal
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mcpd.setup import pki
from protos import atomic

T = TypeVar("T")

_MAX_BODY_BYTES = 64 * 1024
_HUGE_BYTES = 10 * 1024 * 1024
# A client that says nothing holds a thread no longer.
_SILENCE_S = 30.0


class Account(msgspec.Struct, frozen=True):
    username: str
    password: str
    roles: tuple[str, ...] = ()
    totp: str | None = None
    denied: bool = False
    lifetime_s: int = 3600


class Login(msgspec.Struct, frozen=True):
    username: str
    password: str
    totp_code: str = ""
    service_name: str = ""
    tags: tuple[str, ...] = ()


class Validate(msgspec.Struct, frozen=True):
    token: str


class Claims(msgspec.Struct, frozen=True):
    """``sub`` is an id that outlives the account's name; times are Unix seconds."""

    sub: str
    username: str
    roles: tuple[str, ...]
    iat: int
    exp: int
    jti: str


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: object = None


class Failed(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.answer = Answer(status, {"error": error})


class State:
    """What is in the folder, and what follows from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._key = signing_key(folder / "signing.pem")

    def mood(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "mood").read_text().strip()
        return ""

    def note(self, line: str) -> None:
        with self._lock, (self._folder / "requests.log").open("a") as log:
            log.write(f"{line}\n")

    def login(self, body: bytes) -> Answer:
        asked = decoded(body, Login)
        account = next((each for each in self._accounts() if each.username == asked.username), None)
        if account is None or not hmac.compare_digest(account.password.encode(), asked.password.encode()):
            raise Failed(401, "invalid credentials")
        if account.totp and not asked.totp_code:
            raise Failed(401, "TOTP code required")
        if account.totp and not hmac.compare_digest(account.totp.encode(), asked.totp_code.encode()):
            raise Failed(401, "invalid credentials")
        if account.denied:
            raise Failed(403, "denied by policy")
        subject = str(uuid.uuid5(uuid.NAMESPACE_DNS, account.username))
        return self._issued(subject, account.username, account.roles, account.lifetime_s)

    def renew(self, token: str) -> Answer:
        claims = self._bearer(token)
        self._revoke(claims.jti)
        return self._issued(claims.sub, claims.username, claims.roles, claims.exp - claims.iat)

    def logout(self, token: str) -> Answer:
        self._revoke(self._bearer(token).jti)
        return Answer(204)

    def validate(self, body: bytes) -> Answer:
        claims = self._claims(decoded(body, Validate).token)
        if claims is None:
            return Answer(200, {"valid": False})
        shown = {"sub": claims.sub, "username": claims.username, "roles": claims.roles}
        return Answer(200, {"valid": True, **shown, "expires_at": instant(claims.exp)})

    def public_key(self) -> Answer:
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return Answer(200, {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": base64url(raw)})

    def _accounts(self) -> list[Account]:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode((self._folder / "accounts.json").read_bytes(), type=list[Account])
        return []

    def _issued(self, sub: str, username: str, roles: tuple[str, ...], lifetime_s: int) -> Answer:
        now = int(time.time())
        claims = Claims(sub, username, roles, now, now + lifetime_s, secrets.token_hex(16))
        return Answer(200, {"token": self._signed(claims), "expires_at": instant(claims.exp)})

    def _signed(self, claims: Claims) -> str:
        """A JSON Web Token (RFC 7519, RFC 8037)."""
        header = msgspec.json.encode({"alg": "EdDSA", "typ": "JWT"})
        signed = f"{base64url(header)}.{base64url(msgspec.json.encode(claims))}"
        return f"{signed}.{base64url(self._key.sign(signed.encode()))}"

    def _claims(self, token: str) -> Claims | None:
        """What the token says; None when it is not ours, has expired or was revoked."""
        signed, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(from_base64url(signature), signed.encode())
            claims = msgspec.json.decode(from_base64url(signed.partition(".")[2]), type=Claims)
        except (InvalidSignature, ValueError):
            return None
        return None if claims.exp <= time.time() or claims.jti in self._revoked() else claims

    def _bearer(self, token: str) -> Claims:
        claims = self._claims(token)
        if claims is None:
            raise Failed(401, "invalid token")
        return claims

    def _revoked(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode((self._folder / "revoked.json").read_bytes(), type=list[str])
        return []

    def _revoke(self, jti: str) -> None:
        with self._lock:
            content = msgspec.json.encode([*self._revoked(), jti])
            atomic.write(self._folder / "revoked.json", content, mode=atomic.PRIVATE)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    disable_nagle_algorithm = True
    state: State

    def do_GET(self) -> None:
        self._serve({"/v1/keys/public": self.state.public_key, "/v1/health": lambda: Answer(200, {"status": "ok"})})

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _MAX_BODY_BYTES))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self._serve(
            {
                "/v1/auth/login": lambda: self.state.login(body),
                "/v1/auth/renew": lambda: self.state.renew(token),
                "/v1/auth/logout": lambda: self.state.logout(token),
                "/v1/token/validate": lambda: self.state.validate(body),
            }
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """No access log: `State.note` keeps what tests count."""

    def _serve(self, endpoints: dict[str, Callable[[], Answer]]) -> None:
        endpoint = endpoints.get(self.path)
        # An unknown path may hold anything, a token included.
        self.state.note(f"{self.command} {self.path if endpoint else '(unknown)'}")
        mood, _, seconds = self.state.mood().partition(" ")
        if mood == "reset":
            self._close()
        elif mood == "nonsense":
            self._send(200, b"\x00\xffnonsense")
        elif mood == "huge":
            self._send(200, b'{"valid": true, "sub": "' + b"x" * _HUGE_BYTES + b'"}')
        elif mood == "lying":
            self._send(
                200, b'{"valid": "yes", "token": 7, "sub": [], "username": 5, "roles": "admin", "expires_at": {}}'
            )
        elif mood == "500":
            self._answer(Failed(500, "internal error").answer)
        else:
            time.sleep(float(seconds or 0))
            self._answer(answered(endpoint))

    def _answer(self, answer: Answer) -> None:
        self._send(answer.status, b"" if answer.body is None else msgspec.json.encode(answer.body))

    def _send(self, status: int, body: bytes) -> None:
        # A client that has seen enough goes away in the middle.
        with contextlib.suppress(OSError):
            self.send_response(status)
            if body:
                self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _close(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(http.server.ThreadingHTTPServer):
    # More than the tests open at once.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust our certificate, or goes away, is no news."""


def answered(endpoint: Callable[[], Answer] | None) -> Answer:
    try:
        return endpoint() if endpoint else Answer(404, {"error": "not found"})
    except Failed as failed:
        return failed.answer


def decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(400, f"bad request: {error}") from None


def instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, made when there is none: tokens outlive the process."""
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        atomic.write(path, made, mode=atomic.PRIVATE)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def make_certificate(folder: Path, address: str) -> None:
    if (folder / "cert.pem").exists():
        return
    authority = pki.make_authority("mcias")
    server = pki.make_server(authority, "mcias", address)
    atomic.write(folder / "ca.pem", authority.pem.certificate, mode=atomic.PUBLIC)
    atomic.write(folder / "key.pem", server.key, mode=atomic.PRIVATE)
    atomic.write(folder / "cert.pem", server.certificate, mode=atomic.PUBLIC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.mcias_server")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    make_certificate(arguments.folder, arguments.address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.folder / "cert.pem", arguments.folder / "key.pem")
    handler = type("Handler", (Handler,), {"state": State(arguments.folder)})
    with Server((arguments.address, arguments.port), handler) as server:
        # The handshake happens with the first read, in the connection's own thread.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        # `shutdown` waits for the loop below, which this thread is in.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
