"""One call's HTTP/2 stream: what it buffers, its limits, and whether its client stalls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from grpclib.protocol import Buffer, Connection, EventsProcessor, Stream
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived
from h2.settings import SettingCodes

from mcpd.errors import ExhaustedError
from mcpd.rpc.call import Call, Headers

# A definition is some kilobytes and a file's chunk is 256 KiB; grpc's own default for what a client accepts is 4 MiB.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# What anybody may ask without a token has a name in it, if anything.
MAX_STRANGERS_MESSAGE_BYTES = 16 * 1024
# What a client may send before anybody has looked at it: HTTP/2's own default (RFC 9113, section 6.9.2).
WINDOW_BYTES = 2**16 - 1
# For those that push, once they are let in: 100 ms of 40 MB/s.
WIDE_WINDOW_BYTES = 4 * 1024 * 1024
# Of one frame: each costs some 40 us, whatever its size; HTTP/2's own limit is 16 KiB.
WIDE_FRAME_BYTES = 256 * 1024
# A client that takes none of what it asked for, or sends none of what it began: it holds memory, and a turn that
# others wait for.
STALL_S = 60.0


class Inbox(Buffer):
    """What has come of a call and is not taken yet.

    grpclib's has three objects for every frame, so that frames of one byte hold a hundred times what the window allows;
    and it takes an empty frame for the end.
    """

    def __init__(self, give_back: Callable[[int], None]) -> None:
        """``give_back``: lets the client send so many bytes more."""
        self._give_back = give_back
        self._held = bytearray()
        # Of what is held: bytes that the client's window still lacks.
        self._owed = 0
        self._has_ended = False
        self._news = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        self._held += data
        self._owed += len(data)
        self._give_back(ack_size - len(data))  # the padding
        self._news.set()

    def eof(self) -> None:
        self._has_ended = True
        self._news.set()

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; none when nothing follows. Raises ValueError when the client ends in between."""
        while len(self._held) < size and not self._has_ended:
            self._pay(0)
            self._news.clear()
            await self._news.wait()
        if len(self._held) < size:
            if self._held:
                raise ValueError("the call ended in the middle of a message")
            return b""
        taken = bytes(self._held[:size])
        del self._held[:size]
        self._pay(len(self._held))
        return taken

    def _pay(self, keep: int) -> None:
        """Gives back all that is owed but for ``keep`` bytes."""
        due = max(self._owed - keep, 0)
        self._owed -= due
        self._give_back(due)

    def unacked_size(self) -> int:
        """When the call is over: what it still owes."""
        owed, self._owed = self._owed, 0
        return owed


class CallStream(Stream):
    """A stream whose messages are limited, and that knows when its client stands still."""

    call: Call

    def __init__(self, connection: Connection, h2: H2Connection, stream_id: int, processor: Processor) -> None:
        super().__init__(connection, h2, connection._transport, stream_id=stream_id)
        self._processor = processor
        self.max_message_bytes = MAX_MESSAGE_BYTES
        # Whether silence is part of the call, which then has limits of its own.
        self.may_pause = False
        self._is_sending = False
        self._is_receiving = False
        self._moved = -1
        self._moved_at = 0.0

    def init_stream(self, stream_id: int, connection: Connection) -> None:
        super().init_stream(stream_id, connection)
        self.buffer = Inbox(partial(connection.ack, stream_id))

    async def recv_data(self, size: int) -> bytes:
        """Raises ExhaustedError by the length that a message's prefix announces, before any of it is collected."""
        if size > self.max_message_bytes:
            raise ExhaustedError(
                f"the message has {size} bytes; at most {self.max_message_bytes} "
                f"({_in_words(self.max_message_bytes)}) are accepted"
            )
        self._is_receiving = True
        try:
            return await super().recv_data(size)
        finally:
            self._is_receiving = False

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        self._is_sending = True
        try:
            await super().send_data(data, end_stream)
        finally:
            self._is_sending = False

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        if self.closable:  # else the client has reset it, and is told nothing
            self.call.answered(headers)
            if end_stream:
                self.call.end()
        await super().send_headers(headers, end_stream)

    def widen(self) -> None:
        """For a client that is let in and sends much: it need not wait for us after every 64 KiB."""
        if not self.closable:
            return
        self._processor.widen()
        self._h2_connection.increment_flow_control_window(WIDE_WINDOW_BYTES - WINDOW_BYTES, self.id)
        self.connection.flush()

    def stalled(self, now: float) -> str:
        """What the client has not done for `STALL_S`, though the call waits for it; empty when it moves. Asked often.

        By what has moved, and not by how long a message takes: a slow line is slow.
        """
        if self.may_pause:
            return ""
        moved = self.data_sent + self.data_received
        if not (self._is_sending or self._is_receiving) or moved != self._moved:
            self._moved, self._moved_at = moved, now
        if now - self._moved_at < STALL_S:
            return ""
        return f"the client has {'taken' if self._is_sending else 'sent'} nothing for {STALL_S:.0f} s"


class Processor(EventsProcessor):
    """What happens on a connection."""

    _is_wide = False

    def process_request_received(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        stream = CallStream(self.connection, self.connection._connection, event.stream_id, self)
        headers: Headers = event.headers or []  # type: ignore[assignment]  # h2 decodes them, as it was told to
        self.handler.accept(stream, headers, self.register(stream))

    def process_data_received(self, event: DataReceived) -> None:
        if event.data:
            super().process_data_received(event)
        else:
            self.connection.ack(event.stream_id or 0, event.flow_controlled_length or 0)

    def widen(self) -> None:
        if not self._is_wide:
            self._is_wide = True
            h2 = self.connection._connection
            h2.increment_flow_control_window(WIDE_WINDOW_BYTES - WINDOW_BYTES)
            h2.update_settings({SettingCodes.MAX_FRAME_SIZE: WIDE_FRAME_BYTES})


class Allowance:
    """How much of something a client may do: ``burst`` at once, and ``per_s`` from then on."""

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left = burst
        self._looked_at = clock()

    def take(self, amount: float = 1) -> bool:
        """Whether it may."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._looked_at) * self._per_s) - amount
        self._looked_at = now
        return self._left >= 0

    def give(self, amount: float) -> None:
        self._left = min(self._burst, self._left + amount)


def _in_words(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
