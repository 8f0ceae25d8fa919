"""A call in which both sides talk, as grpclib lacks it: nothing is sent twice, and what was said is read to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.utils import Wrapper
from h2.exceptions import ProtocolError as H2ProtocolError

if TYPE_CHECKING:
    from betterproto import Message
    from betterproto.grpc.grpclib_client import MetadataLike
    from grpclib.protocol import Stream

A = TypeVar("A", bound="Message")

# Whoever reads learns them, too.
_ENDED = (GRPCError, ProtocolError, StreamTerminatedError, H2ProtocolError, OSError)


class _Patient(Wrapper):
    """Does not interrupt who reads an answer that is here as a whole.

    A server that has said everything resets the stream when we have not ended our side of it (RFC 9113, section 8.1);
    grpclib would then throw away what is not read yet.
    """

    stream: Stream | None = None

    def cancel(self, error: Exception) -> None:
        if self.stream is None or self.stream.trailers is None:
            super().cancel(error)


async def converse(
    channel: Channel,
    route: str,
    first: Any,
    rest: AsyncIterator[Any],
    request_type: type[Any],
    response_type: type[A],
    metadata: MetadataLike,
) -> AsyncGenerator[A, None]:
    """The answers. ``rest`` is sent from the first answer on; a call that is refused has taken only ``first``.

    Without a deadline. Raises as grpclib does. Whoever leaves early ends the call.
    """
    async with channel.request(
        route, Cardinality.STREAM_STREAM, request_type, response_type, metadata=metadata
    ) as stream:
        wrapper = stream._wrapper = _Patient()
        await stream.send_message(first)
        wrapper.stream = stream._stream
        sending: asyncio.Task[None] | None = None
        try:
            async for response in stream:
                if sending is None:
                    sending = asyncio.create_task(_send(stream, rest, wrapper))
                yield response
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])
        # Nothing more is sent. grpclib asks for the status only of calls that have ended their side, which a server
        # that has reset the stream does not hear.
        stream._end_done = True


async def _send(stream: Any, rest: AsyncIterator[Any], wrapper: Wrapper) -> None:
    try:
        with contextlib.suppress(*_ENDED):
            async for each in rest:
                await stream.send_message(each)
    except Exception as error:
        wrapper.cancel(error)
