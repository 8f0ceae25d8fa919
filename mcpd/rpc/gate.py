"""The one way in: every call is authenticated, authorized, limited, answered and logged here (audit S5).

`authentication` says who calls, `authorization` demands a role, `statuses` says how a failure is told, and `call_log`
keeps who called what.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from mcpd import errors
from mcpd.model import Caller
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.authentication import Authentication, Authenticator, bearer_token
from mcpd.rpc.authorization import OpenCalls, refusal, required_role
from mcpd.rpc.call import SHOWN_CHARS, Call
from mcpd.rpc.call_log import CallLog, target_of
from mcpd.rpc.grpc_status import status_of
from mcpd.rpc.messages import Message, demand_message, received, send_all, send_each, streamed
from mcpd.rpc.methods import ENDLESS, AnyMethod, Conversation, FromMemory, Method
from mcpd.rpc.streams import MAX_STRANGERS_MESSAGE_BYTES, CallStream
from mcpd.rpc.trio_bridge import in_asyncio, in_trio


class Gate:
    """Makes the handlers that grpclib calls."""

    def __init__(self, authenticator: Authenticator, audit: Callable[[AuditEntry], None]) -> None:
        self._authentication = Authentication(authenticator)
        self.open_calls = OpenCalls(authenticator)
        self.log = CallLog(audit)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    def agent(
        self,
        contract: Mapping[str, Handler],
        methods: Mapping[str, AnyMethod],
        from_memory: Mapping[str, FromMemory],
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
                    if required_role(path) is None:
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

    def _handler(self, path: str, declared: Handler, method: AnyMethod, from_memory: FromMemory | None) -> Handler:
        async def serve(stream: Stream[Any, Any]) -> None:
            name = path.rpartition("/")[2]
            counted = contextlib.nullcontext() if name in ENDLESS else self._in_flight_counted()
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
        need = required_role(call.method)
        if need is None:
            return
        token = bearer_token(stream)
        call.caller = await self._authentication.caller(call.address, token)
        if why := refusal(call.caller, need):
            raise why
        call.token, call.need = token, need

    @contextlib.contextmanager
    def _accounted(self, stream: Stream[Any, Any]) -> Iterator[Call]:
        """Turns every way to end into a gRPC status."""
        call = _of(stream).call
        self.open_calls.add(call)
        try:
            yield call
            call.status = Status.OK
        except asyncio.CancelledError:
            if call.ending:
                call.status, message = status_of(call.ending, call, has_gone=False)
                raise GRPCError(call.status, message) from None
            if call.is_over:
                call.status = Status.OK
                raise
            if not self._draining:
                raise
            call.status = Status.UNAVAILABLE
            raise GRPCError(call.status, "mcpd is shutting down; its operations finish on their own") from None
        except Exception as error:
            call.status, message = status_of(error, call, has_gone=_has_gone(stream))
            raise GRPCError(call.status, message) from None
        finally:
            self.open_calls.discard(call)


async def _answer(
    method: AnyMethod,
    from_memory: FromMemory | None,
    cardinality: Cardinality,
    stream: Stream[Any, Any],
    caller: Caller,
    call: Call,
) -> None:
    """Receives, answers from memory or calls ``method`` in Trio, and sends what it returns or yields."""

    def concerns(request: Any, program: str = "") -> None:
        call.target = target_of(request, program)

    if cardinality.client_streaming and cardinality.server_streaming:
        # Who talks with a program may be silent for as long as both like.
        _of(stream).may_pause = True
        async with streamed(stream, concerns) as requests:

            async def send(messages: Sequence[Message]) -> None:
                await in_asyncio(send_each, stream, messages)

            try:
                await in_trio(cast(Conversation, method), requests, caller, send)
            finally:
                call.is_over = requests.is_over
    elif cardinality.client_streaming:
        async with streamed(stream, concerns) as requests:
            returned = await in_trio(cast(Callable[[Any, Caller], Awaitable[Message]], method), requests, caller)
        await stream.send_message(returned)
    else:
        await _answer_one(cast(Method, method), from_memory, cardinality, stream, caller, concerns)


async def _answer_one(
    method: Method,
    from_memory: FromMemory | None,
    cardinality: Cardinality,
    stream: Stream[Any, Any],
    caller: Caller,
    concerns: Callable[[Any], None],
) -> None:
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


def _of(stream: Stream[Any, Any]) -> CallStream:
    """Our stream behind grpclib's."""
    return cast(CallStream, stream._stream)


def _has_gone(stream: Stream[Any, Any]) -> bool:
    """Whether the client's connection is closed, or about to be."""
    return bool(stream._stream._transport.is_closing())
