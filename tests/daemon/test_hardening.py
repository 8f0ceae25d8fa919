"""What strangers and broken clients do on the network: the daemon stays up, small, and there for its operators."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from mcpd.rpc import streams
from mcpd.rpc.connections import MAX_HANDSHAKES, MAX_HEADER_BYTES, MAX_PER_PEER, MAX_STREAMS
from mcpd.rpc.listener import HANDSHAKE_S
from tests.support.h2_client import PING, SETTINGS, Flood, Raw, connected, frame, resets, rss, sockets, tls_context
from tests.support.waiting import free_port, until

from .conftest import HOST, NODE, Daemon, mcpd

LIST_SERVICES = "/mcp.v1.AgentService/ListServices"
WHO_AM_I = "/mcp.v1.AgentService/WhoAmI"
HEALTH = "/grpc.health.v1.Health/"
CALL_S = 20.0
# What an operator may have to wait while strangers are at the door.
# An operator who waited for an idler would wait as long as a handshake may take.
SOON_S = 0.8 * HANDSHAKE_S
FLOOD = 500
FLOOD_CONNECTIONS = int(os.environ.get("MCP_FLOOD_CONNECTIONS", "3"))
FLOOD_SECONDS = float(os.environ.get("MCP_FLOOD_SECONDS", "3"))
# Of `mcpctl list`, for the time of a quiet one; they are measured by hand only.
LISTS = 5 if "MCP_FLOOD_SECONDS" in os.environ else 0
# Blocks that no flood comes to the end of.
MANY = 100_000
MIB = 1024 * 1024
# asyncio's buffer of a TLS connection, and what OpenSSL and the allocator add.
HANDSHAKE_BYTES = 200 * 1024


@pytest.fixture
def running(node: Daemon) -> Iterator[Daemon]:
    node.start()
    yield node
    assert "Traceback" not in node.log
    assert "call crashed" not in node.log


def pid(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def ask(daemon: Daemon, timeout: float = CALL_S, address: str = "") -> bytes:
    """An operator's call, over a new connection; raises grpc.RpcError."""
    credentials = grpc.ssl_channel_credentials(daemon.ca.read_bytes())
    # grpc shares a connection between the channels of a process unless it is told not to.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address or daemon.address, credentials, options) as channel:
        answer: bytes = channel.unary_unary(LIST_SERVICES)(b"", metadata=daemon.bearer(), timeout=timeout)
    return answer


def hello(daemon: Daemon) -> bytes:
    """The first message of a TLS handshake."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls_context(daemon).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST).do_handshake()
    return outgoing.read()


# ------------------------------------------------------------------------------------------------ handshakes


@pytest.mark.parametrize("says", ["nothing", "half a hello", "a hello"])
def test_idling_before_and_in_the_handshake_keeps_no_operator_out(running: Daemon, says: str) -> None:
    first = {"nothing": b"", "half a hello": hello(running)[:100], "a hello": hello(running)}[says]
    before = rss(pid(running))
    with contextlib.ExitStack() as opened:
        for _ in range(FLOOD):
            idler = opened.enter_context(socket.create_connection((HOST, running.port), timeout=CALL_S))
            with contextlib.suppress(OSError):
                idler.sendall(first)
        assert ask(running, SOON_S)
        assert sockets(pid(running)) < MAX_HANDSHAKES + 50
        assert rss(pid(running)) - before < FLOOD * HANDSHAKE_BYTES
        assert running.log.count("handshakes are in progress") == 1
    assert ask(running, SOON_S)


def test_a_handshake_that_does_not_end_and_tls_without_http_2_are_ended(running: Daemon) -> None:
    with (
        socket.create_connection((HOST, running.port), timeout=CALL_S) as mute,
        socket.create_connection((HOST, running.port), timeout=CALL_S) as half,
        connected(running) as raw,
    ):
        half.sendall(hello(running)[:100])
        assert mute.recv(1) == b""
        assert half.recv(1) == b""
        while raw.secured.recv(4096):
            pass
        assert "no HTTP/2 after the handshake" in running.log


# ------------------------------------------------------------------------------------------------ connections


def test_a_peer_has_so_many_connections_and_no_more(running: Daemon) -> None:
    def speak(raw: Raw) -> None:
        assert raw.status(raw.headers(HEALTH + "Check", end_stream=True)) != "closed"

    with contextlib.ExitStack() as opened:
        held = []
        until(lambda: may_connect(running), "the connection that saw it start is gone")
        for _ in range(MAX_PER_PEER):
            raw = opened.enter_context(connected(running))
            raw.begin()
            speak(raw)
            held.append(raw)
        for _ in range(5):
            with pytest.raises(OSError):
                opened.enter_context(connected(running)).begin()
        speak(held[0])
        speak(held[-1])
        # Another address has its own share.
        with connected(running, source="127.0.0.2") as other:
            other.begin()
            speak(other)
        assert running.log.count("connections are refused") == 1
        held[0].secured.close()
        until(lambda: may_connect(running), "a connection that closed makes room")


def may_connect(daemon: Daemon) -> bool:
    try:
        with connected(daemon) as raw:
            raw.begin()
            return raw.status(raw.headers(HEALTH + "Check", end_stream=True)) != "closed"
    except OSError:
        return False


def test_streams_above_the_limit_end_at_most_their_own_connection(running: Daemon) -> None:
    """One that keeps to what the server says waits; one that does not is told to go."""
    with connected(running) as raw, running.channel() as channel:
        raw.begin()
        raw.h2.remote_settings.max_concurrent_streams = 2**31 - 1
        with contextlib.suppress(OSError):
            for _ in range(MAX_STREAMS + 20):
                raw.headers(HEALTH + "Check")
        raw.wait_until_closed()
        watches = [channel.unary_stream(HEALTH + "Watch")(b"") for _ in range(MAX_STREAMS - 1)]
        for each in watches:
            next(each)
        calls = [
            channel.unary_unary(LIST_SERVICES).future(b"", metadata=running.bearer(), timeout=CALL_S)
            for _ in range(MAX_STREAMS * 2)
        ]
        assert all(call.result() for call in calls)
        for each in watches:
            each.cancel()
    assert ask(running)


# ------------------------------------------------------------------------------------------------ bytes


def test_headers_above_the_limit_are_refused(running: Daemon) -> None:
    bomb = "x" * (4 * MAX_HEADER_BYTES)
    with running.channel() as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(LIST_SERVICES)(b"", metadata=(*running.bearer(), ("bomb", bomb)), timeout=CALL_S)
        assert raised.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        assert channel.unary_unary(LIST_SERVICES)(b"", metadata=running.bearer(), timeout=CALL_S)
    # One that does not look at what the server allows.
    with connected(running) as raw:
        raw.begin()
        stream = raw.headers(LIST_SERVICES, *running.bearer(), ("bomb", "x" * (MAX_HEADER_BYTES + 1)))
        raw.h2.send_data(stream, bytes(5), end_stream=True)
        with contextlib.suppress(ConnectionError):
            raw.flush()
        assert raw.status(stream) == "closed"
    assert ask(running)


def test_headers_within_the_limit_are_taken(running: Daemon) -> None:
    with connected(running) as raw:
        raw.begin()
        stream = raw.headers(HEALTH + "Check", ("bomb", "x" * (MAX_HEADER_BYTES - 2000)))
        raw.h2.send_data(stream, bytes(5), end_stream=True)
        raw.flush()
        assert raw.status(stream) == "0"


@pytest.mark.parametrize("path", [LIST_SERVICES, HEALTH + "Check"])
def test_a_message_of_150_mib_is_refused_before_it_is_held(running: Daemon, path: str) -> None:
    message = b"\x0a" + bytes(150 * MIB)
    ask(running)
    before = rss(pid(running))
    with running.channel() as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(path)(message, metadata=running.bearer(), timeout=CALL_S)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rss(pid(running)) - before < 20 * MIB


@pytest.mark.parametrize("is_let_in", [True, False])
def test_large_frames_are_for_those_that_are_let_in_to_push(running: Daemon, is_let_in: bool) -> None:
    more = running.bearer() if is_let_in else ()
    with connected(running) as raw:
        raw.begin()
        stream = raw.headers("/mcp.v1.AgentService/PushFile", *more)
        raw.h2.end_stream(stream)
        raw.flush()
        raw.status(stream)
        assert raw.h2.max_outbound_frame_size == (streams.WIDE_FRAME_BYTES if is_let_in else 16 * 1024)


GARBAGE: dict[str, Callable[[Raw], bytes]] = {
    "no preface": lambda _: b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
    "random bytes": lambda _: os.urandom(4096),
    "random bytes after the preface": lambda raw: begun(raw) + os.urandom(4096),
    "a frame that is too long": lambda raw: begun(raw) + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "data of no stream": lambda raw: begun(raw) + frame(0, 0, 1, b"x" * 100),
    "settings of half a size": lambda raw: begun(raw) + frame(4, 0, 0, b"xxx"),
    "headers that are no HPACK": lambda raw: begun(raw) + frame(1, 4, 1, b"\xff" * 50),
    "headers that are no ASCII": lambda raw: begun(raw) + frame(1, 4, 1, b"\x00\x02\xff\xfe\x02\xff\xfe"),
    "a window of nothing": lambda raw: begun(raw) + frame(8, 0, 0, bytes(4)),
    "a window that overflows": lambda raw: begun(raw) + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "continuation of nothing": lambda raw: begun(raw) + frame(9, 4, 1, b"x"),
    "an even stream": lambda raw: begun(raw) + frame(1, 4, 2, b"\x82"),
    "padding beyond the frame": lambda raw: begun(raw) + frame(0, 8, 1, b"\xff"),
    "a push promise": lambda raw: begun(raw) + frame(5, 4, 1, b"\0\0\0\2\x82"),
    "headers for ever": lambda raw: begun(raw) + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"x" * 16000) * 200,
    "a farewell": lambda raw: begun(raw) + frame(7, 0, 0, bytes(8)) + frame(6, 0, 0, bytes(8)),
}


def begun(raw: Raw) -> bytes:
    raw.h2.initiate_connection()
    sent: bytes = raw.h2.data_to_send()
    return sent


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_http_2_ends_its_connection_and_harms_nobody(
    daemon: Daemon, channel: grpc.Channel, garbage: Callable[[Raw], bytes]
) -> None:
    with connected(daemon) as raw:
        with contextlib.suppress(OSError):
            raw.secured.sendall(garbage(raw))
        raw.wait_until_closed()
    assert channel.unary_unary(LIST_SERVICES)(b"", metadata=daemon.bearer(), timeout=CALL_S)
    assert "Traceback" not in daemon.log


def test_frames_of_unknown_types_are_ignored(daemon: Daemon) -> None:
    with connected(daemon) as raw:
        raw.secured.sendall(begun(raw) + frame(0xFA, 0, 0, b"grease") + frame(0xFA, 0, 1, b"grease"))
        stream = raw.headers(HEALTH + "Check")
        raw.h2.send_data(stream, bytes(5), end_stream=True)
        raw.flush()
        assert raw.status(stream) == "0"


@pytest.mark.parametrize(
    "header",
    [(":method", "GET"), ("grpc-timeout", "soon"), ("grpc-timeout", "99999999H"), ("x-bin", "===="), ("te", "x")],
    ids=" ".join,
)
def test_odd_headers_harm_nobody(daemon: Daemon, channel: grpc.Channel, header: tuple[str, str]) -> None:
    with connected(daemon) as raw:
        raw.begin()
        raw.headers(HEALTH + "Check", header, end_stream=True)
        stream = raw.headers(HEALTH + "Check")
        raw.h2.send_data(stream, bytes(5), end_stream=True)
        raw.flush()
        assert raw.status(stream) == "0"
    assert channel.unary_unary(LIST_SERVICES)(b"", metadata=daemon.bearer(), timeout=CALL_S)
    assert "Traceback" not in daemon.log


# ------------------------------------------------------------------------------------------------ floods


def after_its_end() -> list[bytes]:
    """A call that is reset, and data for it without an end: each frame is answered with a reset."""
    (begun, *_) = resets(HEALTH + "Check", blocks=1, calls=1)
    return [begun, *[frame(0, 0, 1, b"x") * 1000] * MANY]


# What is sent, and how its end is told in the log; where nothing is told, it is not read any more.
FLOODS: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "calls that are reset": (lambda: resets(HEALTH + "Check"), "resets more than"),
    "pings": (lambda: [PING * 1000] * MANY, "frames a second that carry nothing"),
    "settings": (lambda: [SETTINGS * 1000] * MANY, "frames a second that carry nothing"),
    "data after the end": (after_its_end, ""),
}


@pytest.mark.parametrize(("blocks", "told"), FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_a_client_that_does_not_read_is_ended_and_takes_no_memory(
    running: Daemon, blocks: Callable[[], list[bytes]], told: str
) -> None:
    """By hand: MCP_FLOOD_CONNECTIONS=12 MCP_FLOOD_SECONDS=60, which also measures `mcpctl list` meanwhile."""
    quiet = [seconds_of_a_list(running) for _ in range(LISTS)]
    ask(running)
    before = most = rss(pid(running))
    meanwhile: list[float] = []
    with Flood(running, FLOOD_CONNECTIONS, blocks()) as flood:
        end = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < end:
            flood.wait(0.1)
            meanwhile += [seconds_of_a_list(running)] if LISTS else []
            most = max(most, rss(pid(running)))
        ask(running)
        until(lambda: told in running.log if told else flood.stands_still(), "it is ended")
    until(lambda: rss(pid(running)) - before < 16 * MIB, "its memory is what it was", within=60)
    print(f"{flood.connections} connections, RSS {before / MIB:.0f} MiB, at most {most / MIB:.0f} MiB")
    assert most - before < 64 * MIB
    # Each connection may do something before it is told to go.
    assert len(running.log) < 20_000 + 2000 * LISTS * 10
    if LISTS:
        print(
            f"mcpctl list: {statistics.median(quiet):.2f} s when quiet, {statistics.median(meanwhile):.2f} s meanwhile"
        )
        assert statistics.median(meanwhile) < 3 * statistics.median(quiet)


def seconds_of_a_list(daemon: Daemon) -> float:
    started = time.monotonic()
    listed = daemon.mcpctl("list")
    assert listed.returncode == 0, listed.stderr
    return time.monotonic() - started


# ------------------------------------------------------------------------------------------------ IPv6


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class OnIPv6(Daemon):
    @property
    def address(self) -> str:
        return f"[::1]:{self.port}"

    def accepts(self) -> bool:
        try:
            return bool(ask(self))
        except grpc.RpcError:
            return False


@pytest.fixture
def on_ipv6(tmp_path: Path) -> Iterator[OnIPv6]:
    daemon = OnIPv6(tmp_path / "node", free_port())
    made = mcpd("init", str(daemon.folder), "--node", NODE, "--address", daemon.address)
    assert made.returncode == 0, made.stderr
    daemon.edit('socket = "" ', f'socket = "{daemon.podman_socket}" ')
    (daemon.folder / "services").mkdir()
    (daemon.folder / "mcp.toml").write_text(
        f'[services]\ndir = "services"\n[tls]\nca_cert = "certs/ca.pem"\n[auth]\ntoken_path = "admin.token"\n'
        f'[[nodes]]\nname = "{NODE}"\naddress = "{daemon.address}"\n'
    )
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_an_ipv6_address_is_served_from_end_to_end(on_ipv6: OnIPv6) -> None:
    assert NODE.encode() in ask(on_ipv6)
    listed = on_ipv6.mcpctl("list")
    assert listed.returncode == 0, listed.stderr
    assert '"peer": "::1:' in on_ipv6.log
    assert on_ipv6.terminate() == 0
