"""The one place where a call is authenticated, authorized, limited, answered for and logged (audit S5)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import structlog
import trio
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.metadata import encode_grpc_message
from grpclib.server import Stream

from mcpd import errors
from mcpd.identity.roles import REQUIRED_ROLE, allows
from mcpd.model import Caller, Role
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.anonymous_calls import AnonymousCalls
from mcpd.rpc.attempts import Attempts
from mcpd.rpc.bridge import in_trio
from mcpd.rpc.call import SHOWN_CHARS, Call
from mcpd.rpc.messages import Message, demand_message, received, send_all, streamed
from mcpd.rpc.streams import MAX_STRANGERS_MESSAGE_BYTES, CallStream
from protos.mcp import v1 as wire

log = structlog.get_logger()

# A status message travels in a header, percent-encoded, and grpc clients refuse headers of more than 8 KiB together.
_MAX_STATUS_BYTES = 6000
# Requests that are about a row of a ledger, and what that is called in the audit log.
_NUMBERED: Mapping[type, str] = {
    wire.AckAlertRequest: "alert",
    wire.UnsilenceAlertRequest: "silence",
    wire.WatchOperationRequest: "operation",
    wire.CancelOperationRequest: "operation",
}
# Calls that end only when their caller has seen enough: a shutdown does not wait for them.
_ENDLESS = frozenset({"WatchEvents", "WatchAudit", "Logs"})

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

# How often it is looked whether the tokens of open calls are still good. Most answers are in memory.
LOOK_AGAIN_S = 1.0

# What a room of `mcpd.rpc` offers for an RPC: a Trio function of (request, caller) that returns one message, or an
# async generator of them, or of lists of them that are sent at once. A client-streaming RPC's request is `Requests`.
Method = (
    Callable[[Any, Caller], Awaitable[Message]]
    | Callable[[Any, Caller], AsyncGenerator[Message, None]]
    | Callable[[Any, Caller], AsyncGenerator[Sequence[Message], None]]
)
# The same answer from memory, without leaving grpclib's event loop; None when memory does not have it.
FromMemory = Callable[[Any, Caller], Message | None]


class Authenticator(Protocol):
    def known(self, token: str, now: datetime) -> Caller | None:
        """Who holds ``token``, from memory; None when that takes asking."""

    async def caller(self, token: str, now: datetime) -> Caller:
        """Asks, in Trio. Raises UnauthenticatedError, or UnavailableError when it cannot be found out."""

    async def again(self, token: str, now: datetime) -> Caller:
        """As `caller`, for a call that goes on: asks early, so that the answer in memory need not run out."""


class Gate:
    """Makes the handlers that grpclib calls."""

    def __init__(self, authenticator: Authenticator, audit: Callable[[AuditEntry], None]) -> None:
        self._authenticator = authenticator
        self._audit = audit
        self._attempts = Attempts()
        self._anonymous = AnonymousCalls()
        # Those that were let in with a token and go on.
        self._open: set[Call] = set()
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
                with self._accounted(stream) as call:
                    if REQUIRED_ROLE[path] is None:
                        _of(stream).max_message_bytes = MAX_STRANGERS_MESSAGE_BYTES
                    await self._admit(call, stream)
                    if not shipped.cardinality.client_streaming:
                        demand_message(stream)
                    await shipped.func(stream)

            return shipped._replace(func=serve)

        return {path: guarded(path, shipped) for path, shipped in contract.items()}

    def unknown(self, path: str) -> Handler:
        """The handler for an RPC that no contract has."""

        async def serve(_: Stream[Any, Any]) -> None:
            shown = path[:SHOWN_CHARS]
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
            with self._accounted(stream) as call, counted:
                await self._admit(call, stream)
                if declared.cardinality.client_streaming:
                    _of(stream).widen()
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

    async def _admit(self, call: Call, stream: Stream[Any, Any]) -> None:
        """Lets the call in, and notes who calls.

        Raises UnauthenticatedError, ForbiddenError, UnavailableError; ExhaustedError for a peer that failed too often.
        """
        if self._draining:
            raise errors.UnavailableError("mcpd is shutting down; try again when it is back")
        need = REQUIRED_ROLE[call.method]
        if need is None:
            return
        token = _bearer_token(stream)
        call.caller = await self._authenticated(_address(call.peer), token)
        if refusal := _refusal(call.caller, need):
            raise refusal
        call.token, call.need = token, need

    async def _authenticated(self, peer: str, token: str) -> Caller:
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
    def _accounted(self, stream: Stream[Any, Any]) -> Iterator[Call]:
        """Turns every way to end into a gRPC status."""
        call = _of(stream).call
        self._open.add(call)
        try:
            yield call
            call.status = Status.OK
        except asyncio.CancelledError:
            if call.ending:
                call.status, message = _status_of(call.ending, call, has_gone=False)
                raise GRPCError(call.status, message) from None
            if not self._draining:
                raise
            call.status = Status.UNAVAILABLE
            raise GRPCError(call.status, "mcpd is shutting down; what it was doing ends by itself") from None
        except Exception as error:
            call.status, message = _status_of(error, call, has_gone=_has_gone(stream))
            raise GRPCError(call.status, message) from None
        finally:
            self._open.discard(call)

    async def look_again(self) -> None:
        """In Trio: cuts off the open calls whose token is not good any more, or not for what they do."""
        by_token: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self._open:
            if call.token:
                by_token[call.token].append(call)
        async with trio.open_nursery() as nursery:
            for token, calls in by_token.items():
                nursery.start_soon(self._look_again_at, token, calls)

    async def _look_again_at(self, token: str, calls: list[Call]) -> None:
        try:
            answer: Caller | errors.McpdError = await self._authenticator.again(token, datetime.now(UTC))
        except errors.McpdError as error:
            answer = error
        for call in calls:
            assert call.need, "it was let in by a role"
            why = answer if isinstance(answer, errors.McpdError) else _refusal(answer, call.need)
            if why and call in self._open:
                call.cut(why)

    def ended(self, call: Call) -> None:
        """One line in the log for every call of somebody, and one in the audit table; strangers' are counted."""
        entry = AuditEntry(
            at=call.at,
            method=call.method.rpartition("/")[2],
            caller=call.caller.name if call.caller else "",
            role=str(call.caller.role) if call.caller else "",
            peer=call.peer,
            target=call.target,
            status=call.status.name,
            duration=timedelta(seconds=time.monotonic() - call.started),
        )
        if call.caller or self._anonymous.is_first(entry, _address(call.peer)):
            self._tell(entry)

    def tell_counted(self, *, all_of_them: bool = False) -> None:
        """Tells of the strangers' calls of the minutes that are over."""
        for entry in self._anonymous.due(all_of_them=all_of_them):
            self._tell(entry)

    def _tell(self, entry: AuditEntry) -> None:
        fields = ("method", "caller", "role", "peer", "target", "status")
        told = {name: getattr(entry, name) for name in fields}
        if entry.calls > 1:
            told["calls"] = entry.calls
        log.info("rpc", **told, ms=round(entry.duration / timedelta(milliseconds=1), 1))
        self._audit(entry)


async def _answer(
    method: Method,
    from_memory: FromMemory | None,
    cardinality: Cardinality,
    stream: Stream[Any, Any],
    caller: Caller,
    call: Call,
) -> None:
    """Receives, answers from memory or calls ``method`` in Trio, and sends what it returns or yields."""

    def concerns(request: Any) -> None:
        call.target = _target(request)

    if cardinality.client_streaming:
        async with streamed(stream, concerns) as requests:
            returned = await in_trio(cast(Callable[[Any, Caller], Awaitable[Message]], method), requests, caller)
        await stream.send_message(returned)
        return
    request = await received(stream.recv_message)
    concerns(request)
    if from_memory and (answer := from_memory(request, caller)) is not None:
        await stream.send_message(answer)
    elif cardinality.server_streaming:
        await in_trio(send_all, cast(AsyncGenerator[Message, None], method(request, caller)), stream)
    else:
        await stream.send_message(
            await in_trio(cast(Callable[[Any, Caller], Awaitable[Message]], method), request, caller)
        )


def _bearer_token(stream: Stream[Any, Any]) -> str:
    header = stream.metadata.get("authorization") if stream.metadata else None
    if header is None:
        raise errors.UnauthenticatedError("no token: send `authorization: Bearer TOKEN`, or set MCP_TOKEN for mcpctl")
    scheme, _, token = str(header).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.UnauthenticatedError("the authorization metadata is not `Bearer TOKEN`")
    return token.strip()


def _refusal(caller: Caller, need: Role) -> errors.ForbiddenError | None:
    if allows(caller.role, need):
        return None
    return errors.ForbiddenError(f"{caller.name} is a {caller.role}; this needs the role {need}")


def _of(stream: Stream[Any, Any]) -> CallStream:
    """What our `Processor` made for grpclib's."""
    return cast(CallStream, stream._stream)


def _address(peer: str) -> str:
    """Without the port, which every connection has another of."""
    return peer.rpartition(":")[0]


def _has_gone(stream: Stream[Any, Any]) -> bool:
    """Whether the client's connection is closed, or about to be."""
    return bool(stream._stream._transport.is_closing())


def _status_of(error: Exception, call: Call, *, has_gone: bool) -> tuple[Status, str]:
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
    return "/".join(part for part in (name, component, path) if isinstance(part, str) and part)[:SHOWN_CHARS]
