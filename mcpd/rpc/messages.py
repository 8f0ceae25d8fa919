"""A call's messages: received, decoded, handed to its method in Trio, and sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import betterproto
import trio
from google.protobuf.message import DecodeError
from grpclib.server import Stream

from mcpd import errors
from mcpd.rpc.trio_bridge import in_asyncio

Message = betterproto.Message

# Messages of a client's stream that are received while its method is busy: 2 MiB of a file's chunks.
_AHEAD = 8
# Sends a conversation's answers.
Send = Callable[[list[Message]], Awaitable[None]]


class Requests:
    """The messages of a client-streaming call, for its method in Trio.

    They are received in grpclib's loop while the method is busy, and handed over as many at once as there are: a hop
    between the loops for each of them would cost a third of what a push can do.
    """

    def __init__(self, stream: Stream[Any, Any], concerns: Callable[..., None]) -> None:
        """``concerns`` is told what the call is about (a message, or words), for its log line."""
        self._stream = stream
        self.concerns = concerns
        # The client is being told how it ends: one that leaves then has not cut anything off.
        self.is_over = False
        self._ahead: deque[Any] = deque()
        self._end: Exception | None = None
        self._has_ended = False
        # Set in Trio's context and in asyncio's, which are two sides of one thread.
        self._has_more = trio.Event()
        self._has_room = asyncio.Event()

    @property
    def is_lost(self) -> bool:
        """Whether its connection is gone, and the client has not said that it gives up."""
        stream: Any = self._stream._stream
        return not stream.call.is_reset and stream._transport.is_closing()

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
async def streamed(stream: Stream[Any, Any], concerns: Callable[..., None]) -> AsyncIterator[Requests]:
    """The messages of a client-streaming call, received while it lasts."""
    requests = Requests(stream, concerns)
    receiving = asyncio.create_task(requests.receive())
    try:
        yield requests
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])


def demand_message(stream: Stream[Any, Any]) -> None:
    """For handlers that grpclib ships, which take it for granted that there is a message."""
    receive = stream.recv_message

    async def recv_message() -> Any:
        return await received(receive)

    stream.recv_message = recv_message  # type: ignore[method-assign]


async def received(receive: Callable[[], Awaitable[Any]]) -> Any:
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


async def send_within(seconds: float, send: Send, answer: Message) -> None:
    """In Trio. Raises UnavailableError when the client takes nothing for so long."""
    with trio.move_on_after(seconds):
        await send([answer])
        return
    raise errors.UnavailableError(f"the client has taken nothing for {seconds:.0f} s")


async def send_all(messages: AsyncGenerator[Message | Sequence[Message], None], stream: Stream[Any, Any]) -> None:
    """In Trio: sends what a method yields. A client that takes nothing is `CallStream.stalled`'s business."""
    # aclosing, since a handler that is cut off must run its `finally` now, in its own loop, and not when some garbage
    # collector finds it.
    async with contextlib.aclosing(messages):
        async for message in messages:
            if isinstance(message, Message):
                await in_asyncio(stream.send_message, message)
                continue
            await in_asyncio(send_each, stream, message)


async def send_each(stream: Stream[Any, Any], messages: Sequence[Message]) -> None:
    for message in messages:
        await stream.send_message(message)
