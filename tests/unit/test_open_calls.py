"""Calls over HTTP/2 by hand, without a network: each is told of once, and nothing of it is left."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes
from trio.testing import wait_all_tasks_blocked

from mcpd.errors import UnauthenticatedError, UnavailableError
from mcpd.model import Caller, Role
from mcpd.registry.audit import AuditEntry
from mcpd.rpc import connections, streams
from mcpd.rpc.connections import IDLE_TALK_AT_ONCE, RESETS_AT_ONCE, Connection, Connections
from mcpd.rpc.gate import Gate
from mcpd.rpc.messages import Requests
from mcpd.rpc.server import _make_server, _Server
from mcpd.rpc.streams import MAX_STRANGERS_MESSAGE_BYTES, STALL_S
from mcpd.rpc.trio_bridge import in_asyncio, open_loop
from protos.mcp import v1 as wire

AGENT = "/mcp.v1.AgentService/"
CHECK = "/grpc.health.v1.Health/Check"
BEARER = ("authorization", "Bearer good")
EMPTY = bytes(5)


class Transport(asyncio.Transport):
    """Keeps what is written; a client may be made to read nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 4711)})
        self.sent = bytearray()
        self.is_reading = True
        self.is_closed = self.is_aborted = False

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Tokens:
    """One good token, until it is not."""

    def __init__(self) -> None:
        self.answer: Caller | Exception = Caller("ops", Role.ADMIN, None)

    def known(self, token: str, now: datetime) -> Caller | None:
        return self.answer if token == "good" and isinstance(self.answer, Caller) else None

    async def caller(self, token: str, now: datetime) -> Caller:
        if token != "good":
            raise UnauthenticatedError("the token is not known here")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    again = caller


class Rig:
    """A server with one connection, and the client's end of it."""

    def __init__(self, server: _Server, gate: Gate, told: list[AuditEntry], tokens: Tokens) -> None:
        self.server = server
        self.gate = gate
        self.told = told
        self.tokens = tokens
        self.transport = Transport()
        self.protocol: Connection = server.make_protocol()
        self.protocol.connection_made(self.transport)
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.events: list[Event] = []

    def headers(self, path: str, *more: tuple[str, str], without: str = "", end_stream: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        fixed = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "n1")]
        fixed += [("te", "trailers"), ("content-type", "application/grpc")]
        replaced = {name for name, _ in more} | {without}
        kept = [each for each in fixed if each[0] not in replaced]
        ordered = sorted([*kept, *more], key=lambda each: not each[0].startswith(":"))
        self.h2.send_headers(stream, ordered, end_stream=end_stream)
        return stream

    def call(self, path: str, *more: tuple[str, str], message: bytes = EMPTY) -> int:
        stream = self.headers(path, *more)
        self.h2.send_data(stream, message, end_stream=True)
        return stream

    async def exchange(self) -> None:
        """What the client has for the server, and back, until both have nothing more to say."""
        while True:
            await wait_all_tasks_blocked()
            data, answer = self.h2.data_to_send(), bytes(self.transport.sent)
            self.transport.sent.clear()
            if not data and not answer:
                return
            self.events += self.h2.receive_data(answer)
            await in_asyncio(self._feed, data)

    async def _feed(self, data: bytes) -> None:
        if data and not self.transport.is_closed:
            self.protocol.data_received(data)

    def status(self, stream: int) -> str:
        for event in self.events:
            if isinstance(event, ResponseReceived | TrailersReceived) and event.stream_id == stream:
                found = dict(event.headers or ())
                if "grpc-status" in found:
                    return str(found["grpc-status"])
        return ""

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [(each.method, each.status) for each in self.told]

    @property
    def goodbye(self) -> int | None:
        found = [each.error_code for each in self.events if isinstance(each, ConnectionTerminated)]
        return found[0] if found else None


async def answer(_request: Any, _caller: Caller) -> wire.ListServicesResponse:
    return wire.ListServicesResponse(node="n1")


async def watch(_request: Any, _caller: Caller) -> AsyncGenerator[wire.WatchEventsResponse, None]:
    yield wire.WatchEventsResponse()
    await trio.sleep_forever()


async def pour(_request: Any, _caller: Caller) -> AsyncGenerator[wire.LogsResponse, None]:
    while True:
        yield wire.LogsResponse(line=b"x" * 1000)


async def push(requests: Requests, _caller: Caller) -> wire.PushFileResponse:
    while await requests.batch():
        pass
    return wire.PushFileResponse()


@asynccontextmanager
async def rigged() -> AsyncIterator[Rig]:
    told: list[AuditEntry] = []
    tokens = Tokens()
    names = [path.rpartition("/")[2] for path in wire.AgentServiceBase().__mapping__()]
    methods: dict[str, Any] = dict.fromkeys(names, answer) | {"WatchEvents": watch, "Logs": pour, "PushFile": push}

    async def make() -> Rig:
        gate = Gate(tokens, told.append)
        return Rig(await _make_server(gate, methods, {}, Connections()), gate, told, tokens)

    async with open_loop():
        rig = await in_asyncio(make)
        await rig.exchange()
        yield rig
        await in_asyncio(in_asyncio_close, rig)
        await wait_all_tasks_blocked()
        assert rig.protocol.processor.streams == {}
        assert not rig.server._busy


async def in_asyncio_close(rig: Rig) -> None:
    rig.protocol.connection_lost(None)


# ------------------------------------------------------------------------------------------------ told of


@pytest.mark.parametrize(
    ("path", "more", "without", "end"),
    [
        (AGENT + "ListServices", [], "", ("ListServices", "UNAUTHENTICATED")),
        (AGENT + "Nonsense", [], "", ("unknown", "UNIMPLEMENTED")),
        ("/", [(":method", "GET")], "", ("unknown", "UNKNOWN")),
        (AGENT + "ListServices", [(":method", "GET")], "", ("ListServices", "UNKNOWN")),
        (CHECK, [("content-type", "text/html")], "", ("Check", "UNKNOWN")),
        (CHECK, [], "content-type", ("Check", "UNKNOWN")),
        (CHECK, [], "te", ("Check", "UNKNOWN")),
        (CHECK, [("grpc-timeout", "soon")], "", ("Check", "UNKNOWN")),
        (CHECK, [("x-bin", "A")], "", ("Check", "INVALID_ARGUMENT")),
        (CHECK, [], ":path", ("unknown", "INVALID_ARGUMENT")),
        (CHECK, [], ":method", ("Check", "INVALID_ARGUMENT")),
        (CHECK, [], "", ("Check", "OK")),
    ],
)
async def test_every_call_is_told_of_and_answered(
    path: str, more: list[tuple[str, str]], without: str, end: tuple[str, str]
) -> None:
    async with rigged() as rig:
        stream = rig.headers(path, *more, without=without)
        rig.h2.send_data(stream, EMPTY, end_stream=True)
        await rig.exchange()
        assert rig.ends == [end]
        assert rig.told[0].peer == "10.0.0.1:4711"
        assert any(isinstance(each, ResponseReceived) and each.stream_id == stream for each in rig.events)


async def test_what_a_stranger_asks_for_is_shown_and_is_no_name_of_ours() -> None:
    async with rigged() as rig:
        rig.call("/" + "x" * 500)
        await rig.exchange()
        (entry,) = rig.told
        assert (entry.method, entry.target) == ("unknown", "/" + "x" * 119)


async def test_a_call_that_is_reset_before_it_begins_is_told_of_and_nothing_is_left() -> None:
    async with rigged() as rig:
        stream = rig.call(CHECK)
        rig.h2.reset_stream(stream, ErrorCodes.CANCEL)
        await rig.exchange()
        assert rig.ends == [("Check", "CANCELLED")]
        assert rig.protocol.processor.streams == {}
        assert rig.protocol.connection._connection.open_inbound_streams == 0


async def test_a_call_that_is_cancelled_before_its_first_step_is_told_of_and_nothing_is_left() -> None:
    async with rigged() as rig:
        rig.call(CHECK)

        async def both() -> None:
            rig.protocol.data_received(rig.h2.data_to_send())
            rig.protocol.connection_lost(None)

        await in_asyncio(both)
        await wait_all_tasks_blocked()
        assert rig.ends == [("Check", "CANCELLED")]


async def test_a_call_that_is_reset_later_is_told_of_with_its_caller() -> None:
    async with rigged() as rig:
        stream = rig.call(AGENT + "WatchEvents", BEARER)
        await rig.exchange()
        assert rig.ends == []
        rig.h2.reset_stream(stream, ErrorCodes.CANCEL)
        await rig.exchange()
        assert [(each.caller, each.status) for each in rig.told] == [("ops", "CANCELLED")]


async def test_strangers_calls_are_counted_and_those_of_somebody_are_all_told_of() -> None:
    async with rigged() as rig:
        for _ in range(20):
            rig.call(CHECK)
            rig.call(AGENT + "ListServices", BEARER)
            rig.call(AGENT + "ListServices", ("authorization", "Bearer bad"))
            await rig.exchange()
        assert Counter(rig.ends) == {
            ("Check", "OK"): 1,
            ("ListServices", "OK"): 20,
            ("ListServices", "UNAUTHENTICATED"): 1,
        }
        rig.gate.log.tell_counted(all_of_them=True)
        counted = {(each.method, each.peer): each.calls for each in rig.told[-2:]}
        assert counted == {("Check", "10.0.0.1"): 19, ("ListServices", "10.0.0.1"): 19}


# ------------------------------------------------------------------------------------------------ floods


async def test_resets_are_bounded() -> None:
    async with rigged() as rig:
        for _ in range(RESETS_AT_ONCE + 50):
            rig.h2.reset_stream(rig.call(CHECK), ErrorCodes.CANCEL)
        await rig.exchange()
        assert rig.goodbye == ErrorCodes.ENHANCE_YOUR_CALM
        assert rig.transport.is_closed


async def test_what_makes_us_reset_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that overflows: h2 resets the stream, and the client has reset nothing."""
    # Otherwise a machine that is busy enough exchanges fewer than it may.
    monkeypatch.setattr("mcpd.rpc.connections.RESETS_PER_S", 0)
    async with rigged() as rig:
        for _ in range(RESETS_AT_ONCE + 50):
            stream = rig.headers(AGENT + "WatchEvents", BEARER, end_stream=True)
            window = struct.pack(">I", 4)[1:] + bytes([8, 0]) + struct.pack(">II", stream, 2**31 - 1)
            await in_asyncio(rig._feed, rig.h2.data_to_send() + window)
            await rig.exchange()
            if rig.goodbye is not None:
                break
        assert rig.goodbye == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "say",
    [
        lambda h2: h2.ping(bytes(8)),
        lambda h2: h2.update_settings({}),
        lambda h2: h2.prioritize(1, weight=16, depends_on=0, exclusive=False),
        lambda h2: h2.send_data(1, b""),
    ],
    ids=["pings", "settings", "priorities", "data without data"],
)
async def test_frames_that_say_nothing_are_bounded(say: Callable[[H2Connection], None]) -> None:
    async with rigged() as rig:
        rig.headers(CHECK)
        await rig.exchange()
        for _ in range(IDLE_TALK_AT_ONCE // 2):
            say(rig.h2)
        await rig.exchange()
        assert rig.goodbye is None
        for _ in range(IDLE_TALK_AT_ONCE):
            say(rig.h2)
        await rig.exchange()
        assert rig.goodbye == ErrorCodes.ENHANCE_YOUR_CALM


async def test_data_without_data_is_no_end_of_a_message() -> None:
    async with rigged() as rig:
        stream = rig.headers(CHECK)
        for part in (b"", EMPTY[:2], b"", EMPTY[2:], b""):
            rig.h2.send_data(stream, part)
        rig.h2.end_stream(stream)
        await rig.exchange()
        assert rig.status(stream) == "0"


async def test_a_message_in_frames_of_one_byte_is_read() -> None:
    async with rigged() as rig:
        stream = rig.headers(CHECK)
        for byte in struct.pack(">BI", 0, 300) + b"\x0a\xa9\x02" + b"x" * 297:
            rig.h2.send_data(stream, bytes([byte]), pad_length=3)
        rig.h2.end_stream(stream)
        await rig.exchange()
        assert rig.status(stream) == "5"


async def test_a_stranger_sends_no_long_message() -> None:
    async with rigged() as rig:
        stream = rig.call(CHECK, message=struct.pack(">BI", 0, MAX_STRANGERS_MESSAGE_BYTES + 1))
        await rig.exchange()
        assert rig.status(stream) == "8"


async def test_a_client_that_does_not_read_is_not_read_either_and_then_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rigged() as rig:
        rig.protocol.pause_writing()
        assert not rig.transport.is_reading
        rig.protocol.resume_writing()
        assert rig.transport.is_reading
        rig.protocol.pause_writing()
        await in_asyncio(rig.server.sweep)
        assert not rig.transport.is_aborted
        monkeypatch.setattr(connections, "STALL_S", 0.0)
        await in_asyncio(rig.server.sweep)
        assert rig.transport.is_aborted


async def test_a_client_that_sends_much_is_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TURN_S", 0.0)
    async with rigged() as rig:
        made = [rig.call(CHECK) for _ in range(50)]

        async def feed() -> None:
            rig.protocol.data_received(rig.h2.data_to_send())
            assert not rig.transport.is_reading

        await in_asyncio(feed)
        await wait_all_tasks_blocked()
        await rig.exchange()
        assert [rig.status(each) for each in made] == ["0"] * 50
        assert rig.transport.is_reading


# ------------------------------------------------------------------------------------------------ stalls


@pytest.mark.parametrize("path", [AGENT + "ListServices", AGENT + "PushFile", CHECK])
async def test_a_call_without_its_message_is_ended(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        stream = rig.headers(path, BEARER)
        rig.h2.send_data(stream, EMPTY[:2])
        await rig.exchange()
        await in_asyncio(rig.server.sweep)
        await rig.exchange()
        assert rig.status(stream) == ""
        monkeypatch.setattr(streams, "STALL_S", 0.0)
        await in_asyncio(rig.server.sweep)
        await rig.exchange()
        assert rig.status(stream) == "14"
        assert [each.status for each in rig.told] == ["UNAVAILABLE"]


@pytest.mark.parametrize("path", [AGENT + "ListServices", AGENT + "WatchEvents", AGENT + "Logs", CHECK])
async def test_a_client_that_takes_nothing_is_ended(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        rig.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await rig.exchange()
        stream = rig.call(path, BEARER)
        await rig.exchange()
        await in_asyncio(rig.server.sweep)
        await rig.exchange()
        assert rig.status(stream) == ""
        monkeypatch.setattr(streams, "STALL_S", 0.0)
        await in_asyncio(rig.server.sweep)
        await rig.exchange()
        assert rig.status(stream) == "14"


async def test_a_call_that_has_nothing_to_say_is_no_stall() -> None:
    async with rigged() as rig:
        stream = rig.call(AGENT + "WatchEvents", BEARER)
        await rig.exchange()
        (each,) = rig.protocol.processor.streams.values()
        assert isinstance(each, streams.CallStream)
        now = time.monotonic()
        assert each.stalled(now) == ""
        assert each.stalled(now + 10 * STALL_S) == ""
        assert rig.status(stream) == ""


async def test_a_slow_client_is_no_stall() -> None:
    async with rigged() as rig:
        stream = rig.headers(CHECK)
        await rig.exchange()
        (each,) = rig.protocol.processor.streams.values()
        assert isinstance(each, streams.CallStream)
        now = time.monotonic()
        assert each.stalled(now) == ""
        for number, byte in enumerate(EMPTY[:4], start=1):
            assert each.stalled(now + number * (STALL_S - 1)) == ""
            rig.h2.send_data(stream, bytes([byte]))
            await rig.exchange()
            assert each.stalled(now + number * (STALL_S - 1)) == ""
        assert "sent nothing" in each.stalled(now + 5 * STALL_S)


# ------------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (UnauthenticatedError("the token is not known here"), "16"),
        (UnavailableError("MCIAS could not be asked"), "14"),
        (Caller("ops", Role.VIEWER, None), "7"),
    ],
)
async def test_an_open_stream_ends_with_its_token(answer: Caller | Exception, status: str) -> None:
    async with rigged() as rig:
        stream = rig.call(AGENT + "Logs", BEARER)
        rig.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        push = rig.headers(AGENT + "PushFile", BEARER)
        await rig.exchange()
        await rig.gate.open_calls.look_again()
        await rig.exchange()
        assert (rig.status(stream), rig.status(push)) == ("", "")
        rig.tokens.answer = answer
        await rig.gate.open_calls.look_again()
        await rig.exchange()
        assert (rig.status(stream), rig.status(push)) == (status, status)
        assert {each.caller for each in rig.told} == {"ops"}


async def test_a_viewers_stream_goes_on_when_an_admin_becomes_a_viewer() -> None:
    async with rigged() as rig:
        stream = rig.call(AGENT + "WatchEvents", BEARER)
        await rig.exchange()
        rig.tokens.answer = Caller("ops", Role.VIEWER, None)
        await rig.gate.open_calls.look_again()
        await rig.exchange()
        assert rig.status(stream) == ""
