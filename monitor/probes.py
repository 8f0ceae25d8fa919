"""A component's own probe: runs it once, and gives a verdict in words. Intervals and retries are the caller's."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import httpx
import msgspec
import trio

from monitor.ports import Executor
from protos import grammar, program_output
from protos.parts import Health

# Enough of a probe's output to know what it complained of.
_MAX_WORDS = 300
_FIRST_UNHEALTHY_STATUS = 400
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# httpcore's words for a connection that ended without an answer; others of its kind quote what came.
_CUT_OFF = "Server disconnected"


class Verdict(NamedTuple):
    """``words`` say what the probe found: for an alert's reason, when it is not healthy."""

    healthy: bool
    words: str


def identity(health: Health | None) -> str:
    """Which probe this is: the same as long as the same is asked, however often and patiently. Empty: none."""
    if health is None:
        return ""
    question = msgspec.json.encode((health.cmd, health.http, health.tcp))
    return hashlib.sha256(question).hexdigest()[:16]


async def ask(health: Health, container: str, executor: Executor) -> Verdict:
    """Asks once, for ``health.timeout`` at most. What goes wrong with the component is a verdict.

    Raises OutsideError when podman cannot be asked: that says nothing of the component.
    """
    seconds = health.timeout.total_seconds()
    with trio.move_on_after(seconds):
        try:
            if health.http:
                return await _http(await _url(health.http, container, executor))
            if health.tcp:
                return await _tcp(health.tcp, container, executor)
            return await _cmd(health.cmd, container, executor)
        except (OSError, httpx.HTTPError) as error:
            if isinstance(error, httpx.RemoteProtocolError) and not str(error).startswith(_CUT_OFF):
                return Verdict(False, program_output.said(f"{health.http}: no HTTP", _cut(str(error))))
            where = health.http or health.tcp or " ".join(health.cmd)
            return Verdict(False, f"{where}: {_cut(str(error) or type(error).__name__)}")
    return Verdict(False, f"no answer within {seconds:g} s")


async def _http(url: str) -> Verdict:
    # The certificate is not checked: the question is whether the component works, asked from beside it.
    async with httpx.AsyncClient(verify=False, timeout=None, trust_env=False) as client:  # noqa: S501, S113
        async with client.stream("GET", url) as response:
            healthy = response.status_code < _FIRST_UNHEALTHY_STATUS
            return Verdict(healthy, f"{url}: HTTP status {response.status_code}")


async def _tcp(address: str, container: str, executor: Executor) -> Verdict:
    host, port = grammar.host_port(address)
    stream = await trio.open_tcp_stream(host, await _port(host, port, container, executor))
    await stream.aclose()
    return Verdict(True, f"{address}: connected")


async def _url(url: str, container: str, executor: Executor) -> str:
    asked = httpx.URL(url)
    usual = 443 if asked.scheme == "https" else 80
    port = await _port(asked.host, asked.port or usual, container, executor)
    return url if port == (asked.port or usual) else str(asked.copy_with(port=port))


async def _port(host: str, port: int, container: str, executor: Executor) -> int:
    """Where the container is reached on the node: with routes it has ports of its own, since two of it may run."""
    return await executor.reached_at(container, port) if host in _LOOPBACK else port


async def _cmd(argv: tuple[str, ...], container: str, executor: Executor) -> Verdict:
    ran = await executor.run_inside(container, argv)
    return Verdict(ran.status == 0, program_output.exited(argv[0], ran.status, _cut(ran.output)))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_WORDS else "..." + text[-_MAX_WORDS:]
