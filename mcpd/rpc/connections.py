"""The server's connections: how many there may be, what each may ask of us, and when an idle one is closed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

import structlog
from grpclib.config import Configuration
from grpclib.protocol import H2Protocol
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    StreamReset,
    UnknownFrameReceived,
)
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes
from h2.utilities import SizeLimitDict

from mcpd.rpc.coalescing import CoalescingTransport
from mcpd.rpc.open_calls import Calls
from mcpd.rpc.streams import STALL_S, Allowance, Processor

log = structlog.get_logger()

# A team's terminals, scripts and dashboards behind one address, with room; each holds one connection. One address
# alone cannot take every place.
MAX_PER_PEER = 256
# With MAX_HANDSHAKES below, what the network can take stays under the 1024 file descriptors that a process may usually
# have, and leaves some for podman, pidfds and the registry. Some 300 KiB of memory each while it is busy.
MAX_CONNECTIONS = 512
# Accepted, and not through their handshake yet. Above that the oldest makes room: a client that means it needs
# milliseconds, and one that idles loses its place.
MAX_HANDSHAKES = 256
# grpc's own clients open another connection, or wait, when a server says so.
MAX_STREAMS = 100
# A token, a deadline and a few names are 1 KiB; grpc's clients and servers take 8 or 16 KiB by default.
MAX_HEADER_BYTES = 16 * 1024
# Between the handshake and the HTTP/2 preface, which a client sends in the same breath.
PREFACE_S = 10.0
# Calls that end by a reset: all that may be open, and then what a dashboard's deadlines need. A reset costs its sender
# 13 bytes, and us a call (HTTP/2's "rapid reset").
RESETS_AT_ONCE = MAX_STREAMS
RESETS_PER_S = 20
# Frames that say nothing: pings, settings, priorities, data without data. Each of them makes work, and most an answer.
# Clients measure their line with a ping in every round trip, while we send; so what is sent counts for them.
IDLE_TALK_AT_ONCE = 1000
IDLE_TALK_PER_S = 100
_BYTES_SENT_FOR_ONE = 4096
# Of what a client does not read: from there on, nothing that it sends is read either. asyncio's own limits are 512 and
# 256 KiB, which is much for every connection there may be.
MAX_UNREAD_BYTES = 64 * 1024
# Streams that are over, of which h2 remembers how they ended, for frames that were under way: a hundred bytes each,
# and its own limit is 65536.
_REMEMBERED_STREAMS = 10 * MAX_STREAMS
# A client that is not asking anything: mcpctl never is for so long, and others connect again by themselves.
IDLE_S = 300.0
# How often the two above are looked at.
SWEEP_S = 5.0
# A peer that lost its power never closes; its kernel not answering four probes 15 s apart does it instead (tcp(7)).
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
# What a client begins with (RFC 9113, section 3.4); a frame begins with its length (section 4.1).
_PREFACE_BYTES = 24
_LENGTH_BYTES = 3
_FRAME_HEADER_BYTES = 9
# After so much work for one connection the others have their turn. A pushed file's frames take less.
_TURN_S = 0.005
# One line in the log for a peer, however often it tries meanwhile.
_TELL_AGAIN_S = 60.0
_MAX_TOLD = 1024


class Seen(NamedTuple):
    """What is known of a connection, by the monotonic clock."""

    made_at: float
    has_preface: bool
    busy_at: float
    # Since when so much waits to be written that nothing is read; None when it does not.
    full_since: float | None = None


def overdue(seen: Seen, now: float) -> str:
    """Why a connection is to be closed; empty when it may stay."""
    # 1. It is through its handshake, and never began to speak HTTP/2.
    if not seen.has_preface:
        return "no HTTP/2 after the handshake" if now - seen.made_at >= PREFACE_S else ""
    # 2. It takes nothing of what we have for it.
    if seen.full_since is not None and now - seen.full_since >= STALL_S:
        return f"its client has read nothing for {STALL_S:.0f} s"
    # 3. It has had no call for long.
    return "idle" if now - seen.busy_at >= IDLE_S else ""


class Connections:
    """Those that are open, by peer. Used in grpclib's loop; the clock only moves forwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[Connection, str] = {}
        self._of_peer: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._one_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def refusal(self, peer: str) -> str:
        """Why another connection of ``peer`` is not taken; empty when it is."""
        if self._of_peer[peer] >= MAX_PER_PEER:
            return f"the address has {MAX_PER_PEER} connections already"
        if len(self._open) >= MAX_CONNECTIONS:
            return f"there are {MAX_CONNECTIONS} connections already"
        return ""

    def tell(self, peer: str, why: str) -> None:
        """Logs that a connection was refused: once per peer and minute."""
        now = self._clock()
        if now - self._told.get(peer, -_TELL_AGAIN_S) < _TELL_AGAIN_S:
            return
        self._told.pop(peer, None)
        self._told[peer] = now
        if len(self._told) > _MAX_TOLD:
            del self._told[next(iter(self._told))]
        log.warning("connections are refused", peer=peer, why=why)

    def add(self, connection: Connection, peer: str) -> None:
        self._open[connection] = peer
        self._of_peer[peer] += 1

    def remove(self, connection: Connection) -> None:
        peer = self._open.pop(connection, None)
        if peer is None:
            return
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]
        self._one_gone.set()

    async def all_gone(self) -> None:
        """Waits until no client is connected."""
        while self._open:
            self._one_gone.clear()
            await self._one_gone.wait()

    def close(self) -> None:
        for connection in list(self._open):
            connection.farewell()

    async def sweep(self) -> None:
        """Closes what is overdue."""
        now = self._clock()
        for connection, peer in list(self._open.items()):
            if why := overdue(connection.seen(now), now):
                log.info("connection closed", peer=peer, why=why)
                connection.farewell()


class _TooMuchError(Exception):
    """A client does what no client needs to, at any rate that it likes."""


class Connection(H2Protocol):
    """One client's HTTP/2, within limits; what is no HTTP/2 ends it, and harms nothing else."""

    def __init__(
        self, calls: Calls, config: Configuration, h2_config: H2Configuration, connections: Connections
    ) -> None:
        super().__init__(calls, config, h2_config)
        self._calls = calls
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._made_at = self._busy_at = time.monotonic()
        self._has_preface = False
        self._full_since: float | None = None
        self._resets = Allowance(RESETS_AT_ONCE, RESETS_PER_S)
        self._idle_talk = Allowance(IDLE_TALK_AT_ONCE, IDLE_TALK_PER_S)
        self._sent_before = 0
        # What has come and is not looked at yet.
        self._come = bytearray()
        self._preface_left = _PREFACE_BYTES
        self._has_more_to_do = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """After the TLS handshake."""
        assert isinstance(transport, asyncio.Transport)
        coalescing = CoalescingTransport(transport)
        super().connection_made(coalescing)
        self.processor = Processor(self.handler, self.connection)
        self._transport = coalescing
        self._made_at = self._busy_at = time.monotonic()
        peer = peer_of(transport)
        # Asked before the handshake too, but several may have been in it at once.
        if why := self._connections.refusal(peer):
            self._connections.tell(peer, why)
            transport.abort()
            return
        self._connections.add(self, peer)
        _detect_a_dead_peer(transport)
        transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        if isinstance(transport, _HasReadLimits):
            transport.set_read_buffer_limits(high=MAX_UNREAD_BYTES)
        self._limit()

    def _limit(self) -> None:
        """Says what a client may do, and holds it to that from the first byte on."""
        h2 = self.connection._connection
        h2.decoder.max_header_list_size = MAX_HEADER_BYTES
        h2._closed_streams = SizeLimitDict(size_limit=_REMEMBERED_STREAMS)
        h2.update_settings(
            {SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES}
        )
        self.connection.flush()
        processors = self.processor.processors
        settings_changed = self.processor.process_remote_settings_changed

        def first_settings(event: RemoteSettingsChanged) -> None:
            self._has_preface = True  # which a SETTINGS frame is part of (RFC 9113, section 3.4)
            settings_changed(event)

        processors[RemoteSettingsChanged] = first_settings
        # Frames of unknown types are ignored (RFC 9113, section 4.1); grpclib raises.
        processors[UnknownFrameReceived] = lambda _: None

    def data_received(self, data: bytes) -> None:
        self._come += data
        if not self._has_more_to_do:
            self._work()

    def _work(self) -> None:
        """Takes the frames that have come; after `_TURN_S` it goes on when others have had theirs."""
        self._has_more_to_do = False
        if self.connection.is_closing():
            self._come.clear()
            return
        until = time.monotonic() + _TURN_S
        try:
            while (frame := self._next_frame()) and not self.connection.is_closing():
                for event in self.connection.feed(frame):
                    self._charge(event)
                    self.processor.process(event)
                if time.monotonic() >= until and self._come:
                    self._has_more_to_do = True
                    asyncio.get_running_loop().call_soon(self._work)
                    break
            if not self.connection.is_closing():
                self.connection.flush()
        except _TooMuchError as error:
            self._connections.tell(self._peer, str(error))
            self.connection._connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end("Too much")
        except Exception as error:
            # h2 raises more than its own errors for bytes of no HTTP/2, and has a GOAWAY ready for most. Unlogged, a
            # client that does not work could not be explained; with its bytes, the log could be written by strangers.
            self._connections.tell(self._peer, f"the client does not speak HTTP/2: {type(error).__name__}")
            self._end("Protocol error")
        if not self.connection.is_closing():
            self._calls.begin()
        self._read_or_not()

    def _next_frame(self) -> bytes:
        """The next whole frame, none when it has not come yet. Raises FrameTooLargeError by a frame's first bytes.

        One by one, so that what a client may do is looked at before it is done.
        """
        if self._preface_left:
            size = min(self._preface_left, len(self._come))
            self._preface_left -= size
        else:
            begun = self._come[:_LENGTH_BYTES]
            length = int.from_bytes(begun, "big")
            if len(begun) == _LENGTH_BYTES and length > self.connection._connection.max_inbound_frame_size:
                raise FrameTooLargeError("a frame exceeds the maximum length")
            size = _FRAME_HEADER_BYTES + length
            if len(self._come) < size:
                return b""
        frame = bytes(self._come[:size])
        del self._come[:size]
        return frame

    def _read_or_not(self) -> None:
        """Nothing is read while there is enough to do, or too much waits for a client that does not read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_more_to_do or self._full_since is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _charge(self, event: Event) -> None:
        """Raises _TooMuchError."""
        if isinstance(event, StreamReset):
            if not self._resets.take():
                raise _TooMuchError(f"a client resets more than {RESETS_PER_S} calls a second")
        elif _says_nothing(event):
            sent = self.connection.data_sent // _BYTES_SENT_FOR_ONE + self.connection.messages_sent
            self._idle_talk.give(sent - self._sent_before)
            self._sent_before = sent
            if not self._idle_talk.take():
                raise _TooMuchError(f"a client sends more than {IDLE_TALK_PER_S} frames a second that carry nothing")

    def pause_writing(self) -> None:
        """Too much waits for a client that does not read: it makes us no more to write until it does."""
        super().pause_writing()
        self._full_since = time.monotonic()
        self._read_or_not()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._full_since = None
        self._read_or_not()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)
        # What is in a circle is freed late, and a flood makes many of these.
        self._transport = None
        self._come.clear()

    def seen(self, now: float) -> Seen:
        if self.processor.streams:
            self._busy_at = now
        self._busy_at = max(self._busy_at, self.connection.last_stream_created or 0.0)
        return Seen(self._made_at, self._has_preface, self._busy_at, self._full_since)

    def farewell(self) -> None:
        """Tells the client to go (GOAWAY), and closes; at once when it does not listen."""
        if not self.connection.is_closing():
            with suppress(ProtocolError):  # of its own: it has said so already
                self.connection._connection.close_connection()
        self._end("Connection closed")
        if self._transport and self._full_since is not None and time.monotonic() - self._full_since >= STALL_S:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if not self.connection.is_closing():
            self.connection.flush()
        self.processor.close(reason)

    @property
    def _peer(self) -> str:
        return peer_of(self._transport) if self._transport else ""


@runtime_checkable
class _HasReadLimits(Protocol):
    """asyncio's transport of a TLS connection; its documentation leaves that out."""

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


def _says_nothing(event: Event) -> bool:
    if isinstance(event, DataReceived):
        return not event.data and event.stream_ended is None
    return isinstance(event, PingReceived | RemoteSettingsChanged | PriorityUpdated)


def peer_of(transport: asyncio.BaseTransport) -> str:
    address = transport.get_extra_info("peername")
    return str(address[0]) if address else ""


def _detect_a_dead_peer(transport: asyncio.Transport) -> None:
    opened = transport.get_extra_info("socket")
    if opened is None:
        return
    with suppress(OSError):  # gone already
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
