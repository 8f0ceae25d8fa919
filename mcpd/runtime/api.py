"""podman's API over its Unix socket: requests with deadlines, typed answers, and errors.

The API is podman's own (`podman-system-service(1)`), version 4.0.0, which podman 4 and 5 both serve.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import trio

from mcpd.errors import McpdError, UnavailableError
from mcpd.runtime import api_types
from mcpd.runtime.attached import Attached, RefusalError, attach

T = TypeVar("T")

# Receives the method and path of a request, its duration in seconds, and whether podman answered.
Observe = Callable[[str, str, float, bool], None]

_PREFIX = "/v4.0.0/libpod"
_BASE = f"http://podman{_PREFIX}"
# Renaming, creating a network and the like only wait for podman's locks.
QUICK_S = 15.0


class PodmanError(McpdError):
    """podman refused; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoSuchError(PodmanError):
    """The object of the call does not exist."""


class Api:
    """One podman, by its socket. Raises NoSuchError, PodmanError, or UnavailableError when podman does not answer."""

    def __init__(self, client: httpx.AsyncClient, socket: Path) -> None:
        self._client = client
        self._socket = socket
        self._observe: Observe = _unobserved

    @staticmethod
    @asynccontextmanager
    async def connect(socket: Path) -> AsyncIterator[Api]:
        """Does not connect yet: podman may come and go."""
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        async with httpx.AsyncClient(transport=transport, base_url=_BASE) as client:
            yield Api(client, socket)

    def observe_with(self, observe: Observe) -> None:
        """Calls ``observe`` after every request from now on, except cancelled ones."""
        self._observe = observe

    async def ask(self, method: str, path: str, answer: type[T], **request: Any) -> T:
        """As `do`, but returns the decoded answer. Raises PodmanError when it cannot be decoded."""
        response = await self.do(method, path, **request)
        return decoded(response.content, answer, f"answered {method} {path}")

    async def do(self, method: str, path: str, *, timeout: float = QUICK_S, **request: Any) -> httpx.Response:
        """Sends one request and reads its whole answer; ``timeout`` is in seconds, ``request`` as in httpx."""
        with self._translated(method, path):
            response = await self._client.request(method, path, timeout=timeout, **request)
        _raise_for(response.status_code, response.content)
        return response

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, timeout: float | None, **request: Any
    ) -> AsyncIterator[httpx.Response]:
        """Sends one request and streams its answer; with ``timeout`` None the stream may pause for any time."""
        with self._translated(method, path):
            async with self._client.stream(method, path, timeout=timeout, **request) as response:
                if response.is_error:
                    _raise_for(response.status_code, await response.aread())
                yield response

    async def attach(
        self,
        path: str,
        *,
        has_terminal: bool,
        timeout: float,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Attached:
        """POSTs, and returns what podman attaches us to; it must do so within ``timeout`` seconds."""
        call = f"POST {path}"
        try:
            with trio.fail_after(timeout):
                return await attach(
                    self._socket, f"{_PREFIX}{path}", params=params or {}, body=body, has_terminal=has_terminal
                )
        except RefusalError as refusal:
            _raise_for(refusal.status, refusal.body)
            raise PodmanError(f"podman answered {call} with status {refusal.status}", refusal.status) from None
        except trio.TooSlowError:
            raise UnavailableError(f"podman did not answer in time ({call})") from None
        except OSError as error:
            raise UnavailableError(f"podman does not answer at {self._socket}: {error}") from error

    def _translated(self, method: str, path: str) -> _Translated:
        return _Translated(self._socket, method, path, self._observe)


def decoded(content: bytes | str, of: type[T], did: str) -> T:
    """What podman said when it ``did`` something. Raises PodmanError when it makes no sense."""
    try:
        return msgspec.json.decode(content, type=of)
    except msgspec.DecodeError as error:
        raise PodmanError(f"podman {did} with something unexpected: {error}", 0) from error


def _unobserved(method: str, path: str, seconds: float, answered: bool) -> None:
    """The observer that does nothing."""


class _Translated:
    """Turns httpx's errors into ours. A class, since a generator would see a `yield` cross a cancel scope."""

    def __init__(self, socket: Path, method: str, path: str, observe: Observe) -> None:
        self._socket = socket
        self._method = method
        self._path = path
        self._observe = observe
        self._began = 0.0

    @property
    def _call(self) -> str:
        return f"{self._method} {self._path}"

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, Exception):
            seconds = time.monotonic() - self._began
            self._observe(self._method, self._path, seconds, not isinstance(error, httpx.HTTPError))
        if isinstance(error, httpx.TimeoutException):
            raise UnavailableError(f"podman did not answer in time ({self._call}); `mcpctl node list` shows more")
        if isinstance(error, httpx.HTTPError):
            raise UnavailableError(
                f"podman does not answer at {self._socket}: {error or type(error).__name__}; mcpd keeps trying"
            ) from error


def _raise_for(status: int, body: bytes) -> None:
    if status < httpx.codes.BAD_REQUEST:
        return
    try:
        failure = msgspec.json.decode(body, type=api_types.Failure)
    except msgspec.DecodeError:
        failure = api_types.Failure(body[:500].decode(errors="replace").strip())
    message = failure.message or failure.cause or f"HTTP status {status}"
    raise (NoSuchError if status == httpx.codes.NOT_FOUND else PodmanError)(message, status)
