"""One connection to one node: TLS against the configured CA, a bearer token, and errors that a person can use."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl import trust
from mcpctl.config import Node, Settings
from mcpctl.errors import (
    BusyError,
    CliError,
    MciasUnreachableError,
    UnknownServiceError,
    UnreachableError,
    UsageError,
)
from protos.mcp.v1 import AgentServiceStub

if TYPE_CHECKING:
    from betterproto import Message
    from betterproto.grpc.grpclib_client import MetadataLike
    from grpclib.metadata import Deadline

A = TypeVar("A", bound="Message")

# A node that looks at itself answers in milliseconds; what needs longer is down, or so slow that it must be said.
READ_DEADLINE_S = 10.0
# Pulls and stop timeouts are honest work; an operation ends by itself on the node, however long we watch.
CHANGE_DEADLINE_S = 3600.0
# A node that lost its power closes no connection: whoever follows it for days finds out by asking. Ten seconds are
# what a node has to answer in anyhow.
_KEEPALIVE = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=READ_DEADLINE_S,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)

_DEFINITION_ERRORS = (Status.INVALID_ARGUMENT, Status.ALREADY_EXISTS)


@asynccontextmanager
async def agent(settings: Settings, node: Node, *, deadline: float) -> AsyncIterator[AgentServiceStub]:
    """The agent of ``node``; every call has ``deadline`` seconds. Raises UnreachableError, UsageError, CliError."""
    host, port = node.host_port
    # What is wrong on our own side is told before a node is bothered.
    await _token(settings, node)
    channel = Channel(host, port, ssl=_tls(settings, node), config=_KEEPALIVE)
    # Who may take an hour for an answer has ten seconds to be there: the kernel would try for two minutes.
    patience = min(deadline, READ_DEADLINE_S)
    is_connected = False
    try:
        async with asyncio.timeout(patience):
            await channel.__connect__()
        patience, is_connected = deadline, True
        yield _Agent(settings, node, channel, deadline)
    except GRPCError as error:
        raise _refused(settings, node, error) from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"node {node.name}: the server at {node.address} is not trusted: "
            f"{trust.why_not_trusted(error, settings.ca_cert(node))}"
        ) from None
    except TimeoutError:
        raise UnreachableError(f"node {node.name}: {node.address} did not answer within {patience:g} s") from None
    except (StreamTerminatedError, ProtocolError, ssl.SSLError) as error:
        raise UnreachableError(f"node {node.name}: the connection to {node.address} broke: {error}") from None
    except OSError as error:
        # A connection that breaks is told otherwise: this is whoever read our output, and has enough of it.
        if is_connected and isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror or str(error)
        raise UnreachableError(
            f"node {node.name}: {node.address} cannot be reached: {reason}; is mcpd running there?"
        ) from None
    finally:
        channel.close()


def run(coroutine: object) -> int:
    """Runs a command's coroutine and returns its exit status."""
    return asyncio.run(coroutine)  # type: ignore[arg-type]


class _Agent(AgentServiceStub):
    """Each call goes with the token of its time, and a second time with another when the first one is refused."""

    def __init__(self, settings: Settings, node: Node, channel: Channel, timeout: float) -> None:
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
        token = await _token(self._settings, self._node)
        call = super()._unary_stream
        begun = False
        try:
            async for each in call(
                route, request, response_type, timeout=timeout, deadline=deadline, metadata=_bearer(token)
            ):
                begun = True
                yield each
            return
        except GRPCError as error:
            if begun:
                raise
            token = await self._another(token, error)
        async for each in call(
            route, request, response_type, timeout=timeout, deadline=deadline, metadata=_bearer(token)
        ):
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
            raise kind(f"node {self._node.name}: {error.message}; and a login did not help: {reason}") from None
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


def _refused(settings: Settings, node: Node, error: GRPCError) -> CliError:
    message = f"node {node.name}: {error.message or error.status.name}"
    if error.status is Status.UNAUTHENTICATED and settings.session.account.server and not settings.fixed_token(node):
        return CliError(f"{message}; `mcpctl login` gets a new token")
    if error.status is Status.NOT_FOUND:
        return UnknownServiceError(message)
    if error.status in _DEFINITION_ERRORS:
        return UsageError(message)
    if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
        return UnreachableError(message)
    if error.status is Status.RESOURCE_EXHAUSTED:
        return BusyError(message)
    return CliError(message)


def _tls(settings: Settings, node: Node) -> ssl.SSLContext:
    context = trust.context(settings.ca_cert(node), f"node {node.name}", ssl.TLSVersion.TLSv1_3)
    context.set_alpn_protocols(["h2"])
    return context
