"""A client that does what no well-behaved one does: HTTP/2 by hand, over real TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, TrailersReceived
from hpack import Encoder

from tests.daemon.conftest import Daemon

ANSWER_S = 20.0


def tls_context(daemon: Daemon) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=daemon.ca)
    context.set_alpn_protocols(["h2"])
    return context


def rss(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(each.readlink()).startswith("socket:")
    return count


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


PING = frame(6, 0, 0, bytes(8))
SETTINGS = frame(4, 0, 0, b"")
# A call's headers, and the reset of it.
_HEADERS, _RST_STREAM, _END_HEADERS, _CANCEL = 1, 3, 4, 8


def resets(path: str, blocks: int = 40, calls: int = 250) -> list[bytes]:
    """Calls that are reset as soon as they are begun, from a connection's first stream on."""
    encoder, stream, made = Encoder(), 1, []
    headers = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "n1")]
    headers += [("te", "trailers"), ("content-type", "application/grpc")]
    for _ in range(blocks):
        block = b""
        for _ in range(calls):
            block += frame(_HEADERS, _END_HEADERS, stream, encoder.encode(headers))
            block += frame(_RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))
            stream += 2
        made.append(block)
    return made


class Raw:
    """One connection. ``h2`` may be made to send anything."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        self.secured = secured
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self._events: list[Event] = []

    def begin(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.secured.sendall(self.h2.data_to_send())

    def headers(self, path: str, *more: tuple[str, str], end_stream: bool = False) -> int:
        """Begins a call, and returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        fixed = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "n1")]
        fixed += [("te", "trailers"), ("content-type", "application/grpc")]
        self.h2.send_headers(stream, [*fixed, *more], end_stream=end_stream)
        self.flush()
        return stream

    def events(self) -> Iterator[Event]:
        """What comes, until the server closes. Raises TimeoutError."""
        while True:
            try:
                data = self.secured.recv(65536)
            except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
                return
            if not data:
                return
            found = self.h2.receive_data(data)
            yield from found
            try:
                self.flush()
            except OSError:
                return

    def status(self, stream: int) -> str:
        """The gRPC status of a call; "closed" when the connection ends without one."""
        for event in self.events():
            if isinstance(event, ResponseReceived | TrailersReceived) and event.stream_id == stream:
                found = dict(event.headers or ())
                if "grpc-status" in found:
                    return str(found["grpc-status"])
            elif isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                return "closed"
        return "closed"

    def wait_until_closed(self) -> None:
        """Raises TimeoutError when the server keeps it open."""
        for _ in self.events():
            pass


@contextmanager
def connected(daemon: Daemon, source: str = "127.0.0.1", host: str = "127.0.0.1") -> Iterator[Raw]:
    """A connection after its TLS handshake."""
    with socket.create_connection((host, daemon.port), timeout=ANSWER_S, source_address=(source, 0)) as plain:
        with tls_context(daemon).wrap_socket(plain, server_hostname=host) as secured:
            yield Raw(secured)


class Flood:
    """Connections that send without reading, each in a thread of its own; one that is closed is opened again."""

    def __init__(self, daemon: Daemon, connections: int, blocks: Iterable[bytes]) -> None:
        """``blocks``: what each connection sends, from its beginning."""
        self._daemon = daemon
        self._all = blocks
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]
        self.blocks = 0
        self.connections = 0

    def __enter__(self) -> Flood:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def stands_still(self) -> bool:
        """Whether nothing more is taken from it."""
        before = self.blocks
        self.wait(1.0)
        return self.blocks == before

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(OSError), connected(self._daemon) as raw:
                self.connections += 1
                # A server that reads no more is asked again whether it is time to end.
                raw.secured.settimeout(0.2)
                raw.begin()
                self._send(raw)

    def _send(self, raw: Raw) -> None:
        for block in self._all:
            rest = memoryview(block)
            while rest:
                if self._over.is_set():
                    return
                with suppress(TimeoutError):
                    rest = rest[raw.secured.send(rest) :]
            self.blocks += 1
        while not self._over.is_set():
            with suppress(TimeoutError):
                if not raw.secured.recv(65536):
                    return
