"""The one place where a call is authenticated, authorized, limited, answered for and logged (audit S5)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import betterproto
import structlog
import trio
from google.protobuf.message import DecodeError
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.metadata import encode_grpc_message
from grpclib.server import Stream

from mcpd import errors
from mcpd.identity.roles import REQUIRED_ROLE, allows
from mcpd.model import Caller
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.attempts import Attempts
from mcpd.rpc.bridge import in_asyncio, in_trio
from protos.mcp import v1 as wire

log = structlog.get_logger()

# A definition is some kilobytes and a file's chunk is 256 KiB; grpc's own default for what a client accepts is 4 MiB.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A status message travels in a header, percent-encoded, and grpc clients refuse headers of more than 8 KiB together.
_MAX_STATUS_BYTES = 6000
_SHOWN_METHOD_CHARS = 120
# Requests that are about a row of a ledger, and what that is called in the audit log.
_NUMBERED: Mapping[type, str] = {
    wire.AckAlertRequest: "alert",
    wire.UnsilenceAlertRequest: "silence",
    wire.WatchOperationRequest: "operation",
    wire.CancelOperationRequest: "operation",
}
# Messages of a client's stream that are received while its method is busy: 2 MiB of a file's chunks.
_AHEAD = 8
# A client that takes none of what it asked for: it holds memory, and a turn that others wait for.
_SEND_STALL_S = 60.0
# Calls that end only when their caller has seen enough: a shutdown does not wait for them.
_ENDLESS = frozenset({"WatchEvents", "Logs"})

_STATUS: dict[type[errors.McpdError], Status] = {
    errors.InvalidRequestError: Status.INVALID_ARGUMENT,
    errors.NotFoundError: Status.NOT_FOUND,
    errors.ConflictError: Status.ALREADY_EXISTS,
    errors.RefusedError: Status.FAILED_PRECONDITION,
    errors.BusyError: Status.ABORTED,
    errors.UnauthenticatedError: Status.UNAUTHENTICATED,
    errors.ForbiddenError: Status.PERMISSION_DENIED,
    errors.ExhaustedError: Status.RESOURCE_EXHAUSTED,
    errors.UnavailableError: Status.UNAVAILABLE,
    # A token file or database that cannot be read is the node's trouble, and may be mended while the caller waits.
    errors.ConfigError: Status.UNAVAILABLE,
    errors.RegistryError: Status.UNAVAILABLE,
    # So is a disk that is full; but what asks again and again does not free it.
    errors.UnwritableError: Status.FAILED_PRECONDITION,
    errors.BugError: Status.INTERNAL,
}

Message = betterproto.Message
# What a room of `mcpd.rpc` offers for an RPC: a Trio function of (request, caller) that returns one message, or an
# async generator of them, or of lists of them that are sent at once. A client-streaming RPC's request is `Requests`.
Method = (
    Callable[[Any, Caller], Awaitable[Message]]
    | Callable[[Any, Caller], AsyncGenerator[Message, None]]
    | Callable[[Any, Caller], AsyncGenerator[Sequence[Message], None]]
)
# The same answer from memory, without leaving grpclib's event loop; None when memory does not have it.
FromMemory = Callable[[Any], Message | None]


class Authenticator(Protocol):
    def known(self, token: str, now: datetime) -> Caller | None:
        """Who holds ``token``, from memory; None when that takes asking."""

    async def caller(self, token: str, now: datetime) -> Caller:
        """Asks, in Trio. Raises UnauthenticatedError, or UnavailableError when it cannot be found out."""


class _Call:
    """What is known of one call, for its log line."""

    def __init__(self, method: str, peer: str) -> None:
        self.method = method
        self.peer = peer
        self.caller: Caller | None = None
        self.target = ""


class Gate:
    """Makes the handlers that grpclib calls."""

    def __init__(self, authenticator: Authenticator, audit: Callable[[AuditEntry], None]) -> None:
        self._authenticator = authenticator
        self._audit = audit
        self._attempts = Attempts()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    def agent(
        self, contract: Mapping[str, Handler], methods: Mapping[str, Method], from_memory: Mapping[str, FromMemory]
    ) -> dict[str, Handler]:
        """Handlers for every RPC of ``contract``, each answered by one of ``methods`` (by RPC name)."""
        names = {path: path.rpartition("/")[2] for path in contract}
        return {
            path: self._handler(path, declared, methods[names[path]], from_memory.get(names[path]))
            for path, declared in contract.items()
        }

    def library(self, contract: Mapping[str, Handler]) -> dict[str, Handler]:
        """Handlers that grpclib ships (health, reflection), admitted as ours are. Drain does not wait for them."""

        def guarded(path: str, shipped: Handler) -> Handler:
            async def serve(stream: Stream[Any, Any]) -> None:
                with self._accounted(path, stream) as call:
                    await self._admit(call, stream)
                    if not shipped.cardinality.client_streaming:
                        _demand_message(stream)
                    await shipped.func(stream)

            return shipped._replace(func=serve)

        return {path: guarded(path, shipped) for path, shipped in contract.items()}

    def unknown(self, path: str) -> Handler:
        """The handler for an RPC that no contract has."""

        async def serve(_: Stream[Any, Any]) -> None:
            shown = path[:_SHOWN_METHOD_CHARS]
            raise GRPCError(Status.UNIMPLEMENTED, f"there is no RPC {shown}; client and mcpd may differ in version")

        return Handler(serve, Cardinality.UNARY_UNARY, Message, Message)

    async def drain(self, grace: float) -> None:
        """Refuses new calls, and waits ``grace`` seconds at most for those in flight. Called in the asyncio loop."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace)

    def _handler(self, path: str, declared: Handler, method: Method, from_memory: FromMemory | None) -> Handler:
        async def serve(stream: Stream[Any, Any]) -> None:
            name = path.rpartition("/")[2]
            counted = contextlib.nullcontext() if name in _ENDLESS else self._in_flight_counted()
            with self._accounted(path, stream) as call, counted:
                await self._admit(call, stream)
                assert call.caller, "every RPC of ours needs a role"
                await _answer(method, from_memory, declared.cardinality, stream, call.caller, call)

        return declared._replace(func=serve)

    @contextlib.contextmanager
    def _in_flight_counted(self) -> Iterator[None]:
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _admit(self, call: _Call, stream: Stream[Any, Any]) -> None:
        """Lets the call in, and notes who calls.

        Raises UnauthenticatedError, ForbiddenError, UnavailableError; ExhaustedError for a peer that failed too often.
        """
        _limit_messages(stream)
        if self._draining:
            raise errors.UnavailableError("mcpd is shutting down; try again when it is back")
        need = REQUIRED_ROLE[call.method]
        if need is None:
            return
        call.caller = await self._authenticated(call.peer.rpartition(":")[0], stream)
        if not allows(call.caller.role, need):
            raise errors.ForbiddenError(f"{call.caller.name} is a {call.caller.role}; this needs the role {need}")

    async def _authenticated(self, peer: str, stream: Stream[Any, Any]) -> Caller:
        token = _bearer_token(stream)
        if caller := self._authenticator.known(token, datetime.now(UTC)):
            return caller
        if wait := self._attempts.wait(peer):
            raise errors.ExhaustedError(
                f"{peer} has failed to authenticate too often; it may try again in {math.ceil(wait)} s"
            )
        try:
            return await in_trio(self._authenticator.caller, token, datetime.now(UTC))
        except errors.UnauthenticatedError:
            self._attempts.failed(peer)
            raise

    @contextlib.contextmanager
    def _accounted(self, path: str, stream: Stream[Any, Any]) -> Iterator[_Call]:
        """Turns every way to end into a gRPC status, and logs the call with it."""
        call = _Call(path, _peer(stream))
        at, started = datetime.now(UTC), time.monotonic()
        status = Status.CANCELLED
        try:
            yield call
            status = Status.OK
        except asyncio.CancelledError:
            if not self._draining:
                raise
            status = Status.UNAVAILABLE
            raise GRPCError(status, "mcpd is shutting down; what it was doing ends by itself") from None
        except Exception as error:
            status, message = _status_of(error, call, has_gone=_has_gone(stream))
            raise GRPCError(status, message) from None
        finally:
            self._tell(call, at, status, time.monotonic() - started)

    def _tell(self, call: _Call, at: datetime, status: Status, seconds: float) -> None:
        """One line in the log, and one in the audit table."""
        entry = AuditEntry(
            at=at,
            method=call.method.rpartition("/")[2],
            caller=call.caller.name if call.caller else "",
            role=str(call.caller.role) if call.caller else "",
            peer=call.peer,
            target=call.target,
            status=status.name,
            duration=timedelta(seconds=seconds),
        )
        fields = ("method", "caller", "role", "peer", "target", "status")
        log.info("rpc", **{name: getattr(entry, name) for name in fields}, ms=round(seconds * 1000, 1))
        self._audit(entry)


async def _answer(
    method: Method,
    from_memory: FromMemory | None,
    cardinality: Cardinality,
    stream: Stream[Any, Any],
    caller: Caller,
    call: _Call,
) -> None:
    """Receives, answers from memory or calls ``method`` in Trio, and sends what it returns or yields."""
    if cardinality.client_streaming:
        async with _requests(stream, call) as requests:
            returned = await in_trio(cast(Callable[[Any, Caller], Awaitable[Message]], method), requests, caller)
        await stream.send_message(returned)
        return
    request = await _received(stream.recv_message)
    call.target = _target(request)
    if from_memory and (answer := from_memory(request)) is not None:
        await stream.send_message(answer)
    elif cardinality.server_streaming:
        await in_trio(_send_all, cast(AsyncGenerator[Message, None], method(request, caller)), stream)
    else:
        await stream.send_message(
            await in_trio(cast(Callable[[Any, Caller], Awaitable[Message]], method), request, caller)
        )


class Requests:
    """The messages of a client-streaming call, for its method in Trio.

    They are received in grpclib's loop while the method is busy, and handed over as many at once as there are: a hop
    between the loops for each of them would cost a third of what a push can do.
    """

    def __init__(self, stream: Stream[Any, Any], call: _Call) -> None:
        self._stream = stream
        self._call = call
        self._ahead: deque[Any] = deque()
        self._end: Exception | None = None
        self._has_ended = False
        # Set in Trio's context and in asyncio's, which are two sides of one thread.
        self._has_more = trio.Event()
        self._has_room = asyncio.Event()

    def concerns(self, request: Any) -> None:
        """Notes what the call is about, for its log line."""
        self._call.target = _target(request)

    async def batch(self) -> list[Any]:
        """In Trio: the messages that have come since; none when there will be no more. Raises InvalidRequestError."""
        while not self._ahead and not self._has_ended:
            self._has_more = trio.Event()
            await self._has_more.wait()
        found = list(self._ahead)
        self._ahead.clear()
        self._has_room.set()
        if not found and self._end:
            raise self._end
        return found

    async def receive(self) -> None:
        """In asyncio: receives until the client has sent all."""
        try:
            while (message := await _decoded(self._stream.recv_message)) is not None:
                self._ahead.append(message)
                self._has_more.set()
                while len(self._ahead) >= _AHEAD:
                    self._has_room.clear()
                    await self._has_room.wait()
        except Exception as error:  # told to the method, whose answer it is
            self._end = error
        self._has_ended = True
        self._has_more.set()


@contextlib.asynccontextmanager
async def _requests(stream: Stream[Any, Any], call: _Call) -> AsyncIterator[Requests]:
    requests = Requests(stream, call)
    receiving = asyncio.create_task(requests.receive())
    try:
        yield requests
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])


def _demand_message(stream: Stream[Any, Any]) -> None:
    """For handlers that grpclib ships, which take it for granted that there is a message."""
    receive = stream.recv_message

    async def recv_message() -> Any:
        return await _received(receive)

    stream.recv_message = recv_message  # type: ignore[method-assign]


async def _received(receive: Callable[[], Awaitable[Any]]) -> Any:
    """The one request message. Raises InvalidRequestError when there is none, or what came is none."""
    request = await _decoded(receive)
    if request is None:
        raise errors.InvalidRequestError("the call ended without a request message")
    return request


async def _decoded(receive: Callable[[], Awaitable[Any]]) -> Any:
    """The next message, None at the end. Raises InvalidRequestError when what came is none."""
    try:
        return await receive()
    except (RuntimeError, ValueError, TypeError, LookupError, DecodeError) as error:
        # betterproto's decoders have no exception of their own: these are what bytes of no message make them raise.
        raise errors.InvalidRequestError("the request is not a message of the type that this RPC takes") from error


async def _send_all(messages: AsyncGenerator[Message | Sequence[Message], None], stream: Stream[Any, Any]) -> None:
    # aclosing, since a handler that is cut off must run its `finally` now, in its own loop, and not when some garbage
    # collector finds it.
    async with contextlib.aclosing(messages):
        async for message in messages:
            if isinstance(message, Message):
                await in_asyncio(stream.send_message, message)
                continue
            with trio.move_on_after(_SEND_STALL_S) as waiting:
                await in_asyncio(_send_each, stream, message)
            if waiting.cancelled_caught:
                raise errors.UnavailableError(f"the client has taken nothing for {_SEND_STALL_S:.0f} s")


async def _send_each(stream: Stream[Any, Any], messages: Sequence[Message]) -> None:
    for message in messages:
        await stream.send_message(message)


def _bearer_token(stream: Stream[Any, Any]) -> str:
    header = stream.metadata.get("authorization") if stream.metadata else None
    if header is None:
        raise errors.UnauthenticatedError("no token: send `authorization: Bearer TOKEN`, or set MCP_TOKEN for mcpctl")
    scheme, _, token = str(header).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.UnauthenticatedError("the authorization metadata is not `Bearer TOKEN`")
    return token.strip()


def _limit_messages(stream: Stream[Any, Any]) -> None:
    """Refuses a message by the length that its prefix announces, before any of it is collected.

    grpclib has no limit and no hook for one; every message passes through this method of its HTTP/2 stream.
    """
    inner = stream._stream
    receive = inner.recv_data

    async def recv_data(size: int) -> bytes:
        if size > MAX_MESSAGE_BYTES:
            raise errors.ExhaustedError(
                f"the message has {size} bytes; at most {MAX_MESSAGE_BYTES} ({MAX_MESSAGE_BYTES >> 20} MiB) are taken"
            )
        return await receive(size)

    inner.recv_data = recv_data  # type: ignore[method-assign]


def _has_gone(stream: Stream[Any, Any]) -> bool:
    """Whether the client's connection is closed, or about to be."""
    return bool(stream._stream._transport.is_closing())


def _status_of(error: Exception, call: _Call, *, has_gone: bool) -> tuple[Status, str]:
    if isinstance(error, GRPCError):  # of a handler that grpclib ships
        return error.status, error.message or ""
    found = errors.expected(error)
    for kind in type(found).__mro__:
        if kind in _STATUS:
            return _STATUS[kind], _clipped(str(found))
    if found is not None:  # podman's own words
        return Status.FAILED_PRECONDITION, _clipped(str(found))
    if has_gone and isinstance(error, AttributeError | OSError):
        # asyncio's TLS transport raises these for a write to a connection that its client has just closed.
        return Status.CANCELLED, "the client has gone"
    log.error("call crashed", method=call.method, exc_info=error)
    return Status.INTERNAL, "mcpd failed by a bug of its own; its log has the details"


def _clipped(message: str) -> str:
    """``message``, its middle left out when it would not fit into a header."""
    keep = len(message)
    clipped = message
    while len(encode_grpc_message(clipped)) > _MAX_STATUS_BYTES:
        keep = keep * 3 // 4
        clipped = f"{message[: keep // 2]}\n...\n{message[-(keep // 2) :]}"
    return clipped


def _target(request: Any) -> str:
    """What the call is about, for its log line."""
    if (kind := _NUMBERED.get(type(request))) and request.id:
        return f"{kind} {request.id}"
    service = getattr(request, "service", "")
    name = getattr(service, "name", service)
    component = getattr(request, "component", "")
    path = getattr(request, "path", "")
    return "/".join(part for part in (name, component, path) if isinstance(part, str) and part)[:_SHOWN_METHOD_CHARS]


def _peer(stream: Stream[Any, Any]) -> str:
    address = stream.peer.addr() if stream.peer else None
    return f"{address[0]}:{address[1]}" if address else ""
