"""One connection to one node: TLS against the configured CA, a bearer token, and errors that a person can use."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl import __version__
from mcpctl.auth import tls
from mcpctl.config import Node, Settings
from mcpctl.errors import (
    BusyError,
    CliError,
    MciasUnreachableError,
    RejectedError,
    SilentError,
    UnknownServiceError,
    UnreachableError,
    UsageError,
)
from mcpctl.nodes import addresses
from mcpctl.nodes.channel import PromptChannel
from mcpctl.nodes.conversation import converse
from protos import grammar
from protos.mcp.v1 import AgentServiceStub, NodeStatusRequest

if TYPE_CHECKING:
    from betterproto import Message
    from betterproto.grpc.grpclib_client import MessageSource, MetadataLike
    from grpclib.metadata import Deadline

A = TypeVar("A", bound="Message")

# A node that looks at itself answers in milliseconds; what needs longer is down, or so slow that it must be said.
READ_DEADLINE_S = 10.0
# Pulls and stop timeouts are honest work; an operation ends by itself on the node, however long we watch.
CHANGE_DEADLINE_S = 3600.0
# A file takes as long as it takes; but when nothing of it moved for so long, nothing will.
SILENCE_S = 60.0
# A node that lost its power closes no connection: whoever follows it for days finds out by asking. Ten seconds are
# what a node has to answer in anyhow.
_KEEPALIVE = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=READ_DEADLINE_S,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)
# On a slow line a question waits behind the megabytes that were sent before it.
_PATIENT = Configuration(_keepalive_time=10.0, _keepalive_timeout=SILENCE_S)
# A session without a terminal may carry megabytes, and may be silent for hours.
_SESSION = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=SILENCE_S,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)

_DEFINITION_ERRORS = (Status.INVALID_ARGUMENT, Status.ALREADY_EXISTS)


def read_deadline() -> float:
    """Seconds that a node has to be there, and to answer what changes nothing: ``MCP_TIMEOUT``, else `READ_DEADLINE_S`.

    Raises UsageError.
    """
    text = os.environ.get("MCP_TIMEOUT", "")
    if not text:
        return READ_DEADLINE_S
    try:
        return grammar.positive_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"MCP_TIMEOUT: {error}") from None


@asynccontextmanager
async def agent(
    settings: Settings, node: Node, *, deadline: float | None, is_session: bool = False
) -> AsyncIterator[AgentServiceStub]:
    """The agent of ``node``; every call has ``deadline`` seconds. Raises UnreachableError, UsageError, CliError.

    ``deadline`` None: as long as it takes; whoever wants that looks for silence (`SILENCE_S`) himself. ``is_session``:
    much may be sent either way, or nothing for hours.
    """
    host, port = node.host_port
    # What is wrong on our own side is told before a node is bothered.
    await _token(settings, node)
    addresses.aside(asyncio.get_running_loop())
    pings = _SESSION if is_session else _KEEPALIVE if deadline else _PATIENT
    channel = PromptChannel(host, port, ssl=_tls(settings, node), config=pings)
    # Who may take an hour for an answer has ten seconds to be there: the kernel would try for two minutes.
    patience = min(deadline or read_deadline(), read_deadline())
    is_connected = False
    stub = _Agent(settings, node, channel, deadline)
    try:
        async with asyncio.timeout(patience):
            await channel.__connect__()
        patience, is_connected = deadline or patience, True
        yield stub
    except GRPCError as error:
        if error.status is Status.UNIMPLEMENTED:
            raise CliError(f"node {node.name}: {error.message}; {await _apart(node, stub)}") from None
        raise _refused(settings, node, error) from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"node {node.name}: the server at {node.address} is not trusted: "
            f"{tls.why_not_trusted(error, settings.ca_cert(node))}"
        ) from None
    except TimeoutError:
        raise SilentError(f"node {node.name}: {node.address} did not answer within {patience:g} s") from None
    except (StreamTerminatedError, ProtocolError, ssl.SSLError) as error:
        raise UnreachableError(f"node {node.name}: the connection to {node.address} failed: {error}") from None
    except OSError as error:
        # A connection that breaks is told otherwise: this is whoever read our output, and has enough of it.
        if is_connected and isinstance(error, BrokenPipeError):
            raise
        # What asyncio says instead names the address once more, and not what was wrong.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        what = "is mcpd running there?"
        if isinstance(error, socket.gaierror):
            what = f"check its address in {settings.path} and this machine's DNS"
        raise UnreachableError(f"node {node.name}: {node.address} cannot be reached: {reason}; {what}") from None
    finally:
        channel.close()


def run(coroutine: object) -> int:
    """Runs a command's coroutine and returns its exit status."""
    return asyncio.run(coroutine)  # type: ignore[arg-type]


class _Agent(AgentServiceStub):
    """Each call goes with the token of its time, and a second time with another when the first one is refused."""

    def __init__(self, settings: Settings, node: Node, channel: PromptChannel, timeout: float | None) -> None:
        super().__init__(channel, timeout=timeout)
        self._settings = settings
        self._node = node

    async def _unary_unary(
        self,
        route: str,
        request: Any,
        response_type: type[A],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> A:
        token = await _token(self._settings, self._node)
        call = super()._unary_unary
        try:
            return await call(
                route, request, response_type, timeout=timeout, deadline=deadline, metadata=_bearer(token)
            )
        except GRPCError as error:
            token = await self._another(token, error)
        return await call(route, request, response_type, timeout=timeout, deadline=deadline, metadata=_bearer(token))

    async def _unary_stream(
        self,
        route: str,
        request: Any,
        response_type: type[A],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> AsyncIterator[A]:
        call = super()._unary_stream

        def begin(token: str) -> AsyncIterator[A]:
            return call(route, request, response_type, timeout=timeout, deadline=deadline, metadata=_bearer(token))

        async with aclosing(self._streamed(begin)) as responses:
            async for each in responses:
                yield each

    async def _stream_unary(
        self,
        route: str,
        request_iterator: MessageSource,
        request_type: type[Any],
        response_type: type[A],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> A:
        """Raises TypeError for an iterator: what is sent may have to be sent from its beginning again."""
        if isinstance(request_iterator, (AsyncIterator, Iterator)):
            raise TypeError(f"{type(request_iterator).__name__} cannot be gone through twice")
        token = await _token(self._settings, self._node)
        call = super()._stream_unary

        def begin(token: str) -> asyncio.Task[A]:
            # The node may refuse before it has read everything. grpclib then cancels the task that sends, and never
            # takes that back, so that Ctrl-C and deadlines would be miscounted in it: it has a task of its own.
            return asyncio.create_task(
                call(
                    route,
                    request_iterator,
                    request_type,
                    response_type,
                    timeout=timeout,
                    deadline=deadline,
                    metadata=_bearer(token),
                )
            )

        try:
            return await begin(token)
        except GRPCError as error:
            token = await self._another(token, error)
        return await begin(token)

    async def _stream_stream(
        self,
        route: str,
        request_iterator: MessageSource,
        request_type: type[Any],
        response_type: type[A],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> AsyncGenerator[A, None]:
        """Without a deadline. Of the requests only the first is sent until the node has answered."""
        assert isinstance(request_iterator, AsyncIterator)
        first = await anext(request_iterator)

        def begin(token: str) -> AsyncGenerator[A, None]:
            return converse(self.channel, route, first, request_iterator, request_type, response_type, _bearer(token))

        async with aclosing(self._streamed(begin)) as responses:
            async for each in responses:
                yield each

    async def _streamed(self, begin: Callable[[str], AsyncIterator[A]]) -> AsyncGenerator[A, None]:
        """The answers of the call that ``begin`` makes with a token; with another one, if the first was refused."""
        token = await _token(self._settings, self._node)
        begun = False
        try:
            async with aclosing(cast("AsyncGenerator[A, None]", begin(token))) as responses:
                async for each in responses:
                    begun = True
                    yield each
            return
        except GRPCError as error:
            if begun:
                raise
            token = await self._another(token, error)
        async with aclosing(cast("AsyncGenerator[A, None]", begin(token))) as responses:
            async for each in responses:
                yield each

    async def _another(self, token: str, error: GRPCError) -> str:
        """What to try instead of a token that was refused with ``error``, which is raised when there is nothing.

        A refused call was not begun: it can be made again.
        """
        if error.status is not Status.UNAUTHENTICATED or self._settings.fixed_token(self._node):
            raise error
        try:
            other = await asyncio.to_thread(self._settings.session.another, token)
        except CliError as reason:
            kind = UnreachableError if isinstance(reason, MciasUnreachableError) else CliError
            raise kind(f"node {self._node.name}: {error.message}; a new login failed too: {reason}") from None
        if other is None:
            raise error
        return other


async def _token(settings: Settings, node: Node) -> str:
    """Raises as `Settings.token` does."""
    if token := settings.token_at_hand(node):
        return token
    return await asyncio.to_thread(settings.token, node)


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def _apart(node: Node, stub: AgentServiceStub) -> str:
    """How the versions of a node that lacks an RPC, and of ours, compare, and which to update."""
    try:
        theirs = (await stub.node_status(NodeStatusRequest(), timeout=read_deadline())).mcpd_version
    except (GRPCError, StreamTerminatedError, ProtocolError, OSError, TimeoutError, CliError):
        theirs = ""
    versions = f"mcpd there has {f'version {theirs}' if theirs else 'an unknown version'}, mcpctl has {__version__}"
    if theirs == __version__:
        return f"{versions}; updating either does not help"
    older = "mcpctl" if theirs and _ordered(theirs) > _ordered(__version__) else f"mcpd on {node.name}"
    return f"{versions}; update {older}"


def _ordered(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare by: 0.10.0 comes after 0.9.1."""
    return tuple(int(each) for each in re.findall(r"\d+", version))


def _refused(settings: Settings, node: Node, error: GRPCError) -> CliError:
    message = f"node {node.name}: {error.message or error.status.name}"
    if error.status is Status.UNAUTHENTICATED and settings.session.account.server and not settings.fixed_token(node):
        return CliError(f"{message}; `mcpctl login` gets a new token")
    if error.status is Status.NOT_FOUND:
        return UnknownServiceError(message)
    if error.status in _DEFINITION_ERRORS:
        return RejectedError(message)
    if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
        return UnreachableError(message)
    if error.status is Status.RESOURCE_EXHAUSTED:
        return BusyError(message)
    return CliError(message)


# By the CA's file and the time of its last change (nanoseconds): many nodes share one, and who follows for days
# meets another.
_contexts: dict[tuple[Path, int], ssl.SSLContext] = {}


def _tls(settings: Settings, node: Node) -> ssl.SSLContext:
    """Raises UsageError."""
    path = settings.ca_cert(node)
    try:
        key = path, path.stat().st_mtime_ns
    except OSError:
        # `trust` says what is wrong with it.
        key = path, 0
    if key not in _contexts:
        context = tls.context(path, f"node {node.name}", ssl.TLSVersion.TLSv1_3)
        context.set_alpn_protocols(["h2"])
        _contexts[key] = context
    return _contexts[key]
