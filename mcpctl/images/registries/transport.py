"""HTTP to image registries, bounded in every way: time, bytes, redirects, repetitions, and requests at once."""

from __future__ import annotations

import asyncio
import math
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from mcpctl.errors import RegistryAccessError, RegistryError, UsageError
from mcpctl.images.registries import conf, trust
from mcpctl.images.registries.reference import is_loopback

# For one request, from the connection to the last byte.
_REQUEST_S = 20.0
# What speaks no TLS may wait for a line that never comes, on this machine.
_LOOPBACK_TLS_S = 5.0
# Registries count requests of one address; more at once are no faster.
_AT_ONCE = 4
# Manifests have 4 MiB at most (OCI distribution-spec); a page of tags has as much.
_MAX_BYTES = 4 * 1024 * 1024
_MAX_REDIRECTS = 5
_LARGEST_PORT = 2**16 - 1
# What is told to wait waits so often, and so long at most each time.
_RETRIES, _LONGEST_WAIT_S, _SHORTEST_WAIT_S = 3, 20.0, 1.0
_BUSY = (429, 503)
_REDIRECTS = (301, 302, 303, 307, 308)


class Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    content: bytes
    url: httpx.URL
    is_head: bool = False


class Connection:
    """To one registry, HOST[:PORT], which errors name ``name``."""

    def __init__(self, host: str, name: str, *, may_lack_tls: bool = False) -> None:
        """Raises UsageError."""
        self.host = host
        self.name = name
        self._here = is_loopback(host)
        try:
            self._client = httpx.AsyncClient(
                verify=trust.context(name),
                timeout=_REQUEST_S,
                # A proxy would see what is meant for this machine.
                trust_env=not self._here,
                # Bytes are counted as they come, and hashed as they are.
                headers={"User-Agent": "mcpctl", "Accept-Encoding": "identity"},
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            raise UsageError("the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name is no HTTP proxy") from None
        self._scheme = "" if self._here or may_lack_tls else "https"
        self._deciding = asyncio.Lock()
        self._free = asyncio.Semaphore(_AT_ONCE)
        # Whoever is not there, or has had enough, is left alone, however much there was to ask.
        self._absent: RegistryError | None = None

    async def close(self) -> None:
        await self._client.aclose()

    async def url(self, path: str) -> httpx.URL:
        """Raises RegistryError."""
        async with self._deciding:
            if not self._scheme:
                self._scheme = "https" if await self._speaks_tls() else "http"
        return self._own(self._scheme, path)

    def _own(self, scheme: str, path: str) -> httpx.URL:
        """Raises RegistryError when the registry's name is none that a server can have."""
        if (url := address(f"{scheme}://{self.host}{path}")) is None:
            raise RegistryError(f"the image registry {self.name} cannot be reached: {self.host} is no host and port")
        return url

    def is_confidential(self, url: httpx.URL) -> bool:
        """Whether a password may go there."""
        return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.netloc.decode()))

    async def send(
        self, method: str, url: httpx.URL, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Answer:
        """Follows redirects, never to another scheme, and with an Authorization to the same host only.

        Raises RegistryError when there is no answer, or still 429 after some waiting.
        """
        if "Authorization" in headers and not self.is_confidential(url):
            raise RegistryError(
                f"the image registry {self.name} has no TLS, and mcpctl sends no login over plain HTTP to another "
                "machine"
            )
        async with self._free:
            if self._absent:
                raise self._absent
            for waited in range(_RETRIES + 1):
                answer = await self._followed(method, url, headers, form)
                if answer.status not in _BUSY:
                    return answer
                pause = _pause(answer, waited)
                if waited == _RETRIES or pause > _LONGEST_WAIT_S:
                    break
                await asyncio.sleep(pause)
        if answer.status == 429:
            is_told = "Retry-After" in answer.headers and pause < math.inf
            when = f" in {pause:.0f} s" if is_told else " later"
            self._absent = RegistryError(
                f"the image registry {self.name} takes no more requests for now (rate limit, HTTP 429): try "
                f"again{when}; with a login (`podman login {self.name}`) the limit may be higher"
            )
            raise self._absent
        return answer

    async def _followed(
        self, method: str, url: httpx.URL, headers: dict[str, str], form: dict[str, str] | None
    ) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = await self._once(method, url, headers, form)
            if answer.status not in _REDIRECTS:
                return answer
            if form is not None:
                break
            if (target := address(answer.headers.get("Location", ""), url)) is None:
                break
            if target.scheme != url.scheme:
                raise RegistryError(
                    f"the image registry {self.name} redirects from {url.scheme} to {target.scheme or 'nowhere'}, "
                    "which is not followed"
                )
            if (target.host, target.port) != (url.host, url.port):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise RegistryError(f"the image registry {self.name} redirects to no end")

    async def _once(self, method: str, url: httpx.URL, headers: dict[str, str], form: dict[str, str] | None) -> Answer:
        try:
            try:
                return await self._exchange(method, url, headers, form)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if form is not None:
                    raise
                # A connection that was kept open, and that the registry has closed at this moment.
                return await self._exchange(method, url, headers, form)
        # UnicodeError: of a Location, which httpx looks into.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ssl.SSLError, OSError) as error:
            told = self._told(error, url)
            if url.netloc.decode() == self.host:
                self._absent = told
            raise told from None

    async def _exchange(
        self, method: str, url: httpx.URL, headers: dict[str, str], form: dict[str, str] | None
    ) -> Answer:
        async with asyncio.timeout(_REQUEST_S):
            async with self._client.stream(method, url, headers=headers, data=form) as response:
                content = b""
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > _MAX_BYTES:
                        raise RegistryError(f"the image registry {self.name} answers with more than 4 MiB")
                return Answer(response.status_code, response.headers, content, url, method == "HEAD")

    async def _speaks_tls(self) -> bool:
        """Whether there is TLS; what has it with a certificate that is not trusted, has it. Raises RegistryError."""
        url = self._own("https", "/v2/")
        try:
            async with asyncio.timeout(_LOOPBACK_TLS_S if self._here else _REQUEST_S):
                async with self._client.stream("GET", url):
                    return True
        except TimeoutError:
            return False
        except (httpx.HTTPError, OSError) as error:
            if _cause(error, ssl.SSLCertVerificationError):
                raise self._told(error, url) from None
            return False

    def _told(self, error: Exception, url: httpx.URL) -> RegistryError:
        """``error`` as a sentence, which has no header and no query in it."""
        where = "" if url.netloc.decode() == self.host else f" (at {url.host})"
        if untrusted := _cause(error, ssl.SSLCertVerificationError):
            assert isinstance(untrusted, ssl.SSLCertVerificationError)
            return RegistryAccessError(trust.not_trusted(self.name, untrusted) + where)
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return RegistryError(f"the image registry {self.name}{where} did not answer within {_REQUEST_S:g} s")
        if broken := _cause(error, ssl.SSLError):
            assert isinstance(broken, ssl.SSLError)
            hint = f" (if it has none, `{conf.WITHOUT_TLS}` in registries.conf says so)"
            return RegistryError(
                f"the image registry {self.name}{where} does not speak TLS: {broken.reason or 'no handshake'}{hint}"
            )
        return RegistryError(f"the image registry {self.name}{where} cannot be reached: {_reason(error)}")


def address(text: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """What a registry names, relative to ``base``; None for what no server can be asked by (RFC 3986, RFC 5891)."""
    try:
        url = base.join(text) if base else httpx.URL(text)
        return url if url.host and (url.port or 0) <= _LARGEST_PORT else None
    except (httpx.InvalidURL, ValueError):
        return None


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """What lies below an error of httpx's."""
    found: BaseException | None = error
    # No chain of exceptions is as long.
    for _ in range(10):
        if found is None or isinstance(found, kind):
            return found
        found = found.__cause__ or found.__context__
    return None


def _reason(error: Exception) -> str:
    below: BaseException | None = error
    while (below := _cause(below, OSError) if below else None) is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return str(error) or type(error).__name__


def _pause(answer: Answer, waited: int) -> float:
    """Seconds until it may be asked again: Retry-After (RFC 9110, 10.2.3), else twice as long each time."""
    said = answer.headers.get("Retry-After", "")
    try:
        seconds = float(int(said))
    except OverflowError:
        seconds = math.inf
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return _SHORTEST_WAIT_S * 2.0**waited
    return max(seconds, _SHORTEST_WAIT_S)
