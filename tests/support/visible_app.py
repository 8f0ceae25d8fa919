"""The program in a container behind a proxy: a web server that remembers what it was asked, and when.

    /           who answers
    /slow?s=2   the same, after so many seconds
    /upload     POST: how many bytes came
    /ws         a WebSocket that answers each message with the same message
    /healthz    200 once it is healthy, 503 before
    /seen       what it has seen, as JSON (`App.seen`)

Every answer has X-Instance, who answers, and the X-Request of its request. After SIGTERM it takes no connection more,
finishes what it has begun, prints what it has seen and exits with 0, `GRACE_S` later at the latest.

Its environment: PORT; INSTANCE (default: the host name, in a container the beginning of its id); HEALTHY_AFTER, seconds
from its start; HEALTHY=never; SEEN_LOG, a file that gets a line for each request as it comes (`Line`), and that several
may share. Nothing here needs more than the standard library, as the file is all of ours that the image has.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO
from urllib.parse import parse_qs, urlsplit

# Longer than any request of the tests takes, and shorter than podman's own patience (10 s).
GRACE_S = 5.0
# As many connections may wait to be accepted; a busy second of a test opens fewer.
_BACKLOG = 1024
# What a body or a message of the tests fits into many times.
_MAX_BODY = 16 << 20
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}

# RFC 6455, sections 1.3, 5.2 and 7.4.1.
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GOING_AWAY = 1001
_LENGTH_16, _LENGTH_64 = 126, 127


class Frame(NamedTuple):
    opcode: int
    payload: bytes


def accept_of(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """A message in one frame, as bytes; with four bytes of ``mask`` when a client sends it."""
    masked = 0x80 if mask else 0
    if len(payload) < _LENGTH_16:
        head = struct.pack(">BB", 0x80 | opcode, masked | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, masked | _LENGTH_16, len(payload))
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, masked | _LENGTH_64, len(payload))
    return head + mask + (_xor(payload, mask) if mask else payload)


def take_frame(received: bytearray) -> Frame | None:
    """Takes the first frame from what was received; None when not all of it is there. Messages have one frame each."""
    if len(received) < 2:
        return None
    size, start = received[1] & 0x7F, 2
    if size >= _LENGTH_16:
        start = 4 if size == _LENGTH_16 else 10
        if len(received) < start:
            return None
        size = int.from_bytes(received[2:start], "big")
    mask = b""
    if received[1] & 0x80:
        mask, start = bytes(received[start : start + 4]), start + 4
    if len(received) < start + size:
        return None
    payload = bytes(received[start : start + size])
    opcode = received[0] & 0x0F
    del received[: start + size]
    return Frame(opcode, _xor(payload, mask) if mask else payload)


def _xor(payload: bytes, mask: bytes) -> bytes:
    return bytes(each ^ mask[index % 4] for index, each in enumerate(payload))


class Line(NamedTuple):
    """A line of SEEN_LOG: when the head of a request had come, in seconds since 1970; its X-Request; who got it."""

    at: float
    request: str
    instance: str


def lines_of(log: Path) -> list[Line]:
    """What SEEN_LOG has, without a last line that is being written."""
    text = log.read_text() if log.exists() else ""
    words = (line.split() for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [Line(float(at), request, instance) for at, request, instance in words]


class Settings(NamedTuple):
    """As the environment says: see above."""

    port: int
    instance: str
    healthy_after: float | None
    log: str


def settings(environment: Mapping[str, str]) -> Settings:
    never = environment.get("HEALTHY") == "never"
    return Settings(
        port=int(environment.get("PORT", "8080")),
        instance=environment.get("INSTANCE") or socket.gethostname(),
        healthy_after=None if never else float(environment.get("HEALTHY_AFTER") or 0),
        log=environment.get("SEEN_LOG", ""),
    )


class _BadRequestError(Exception):
    """What came is no request that this server knows."""


class _Request(NamedTuple):
    method: str
    target: str
    headers: Mapping[str, str]
    keeps_alive: bool

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def name(self) -> str:
        return self.headers.get("x-request", "-")

    @property
    def seconds(self) -> float:
        return float(parse_qs(urlsplit(self.target).query).get("s", ["0"])[0])


class _Connection:
    """One connection, and what a stop does to it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.is_busy = False
        self.is_websocket = False

    def stop(self) -> None:
        """Ends it now when nothing is asked on it; a WebSocket is asked to end."""
        if self.is_websocket:
            self._writer.write(frame(CLOSE, struct.pack(">H", GOING_AWAY)))
        elif not self.is_busy:
            self._writer.close()


class App:
    def __init__(self, given: Settings, log: TextIO | None) -> None:
        self._settings = given
        self._log = log
        self._started = time.monotonic()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._stopping = asyncio.Event()
        self._terminated: float | None = None
        self._count = self._before_healthy = 0
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None

    async def serve(self) -> None:
        """Until SIGTERM, and what is begun is finished."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminate)
        server = await asyncio.start_server(self._connected, "0.0.0.0", self._settings.port, backlog=_BACKLOG)
        await self._stopping.wait()
        server.close()
        for each in self._connections.values():
            each.stop()
        if self._connections:
            await asyncio.wait(self._connections, timeout=GRACE_S)
        print(json.dumps(self.seen()), flush=True)

    def seen(self) -> dict[str, object]:
        """What has come, other than to /healthz and /seen. Times: seconds since 1970, and of the monotonic clock."""
        return {
            "instance": self._settings.instance,
            "count": self._count,
            "first": _times(self._first),
            "last": _times(self._last),
            "before_healthy": self._before_healthy,
            "sigterm": self._terminated,
        }

    def _terminate(self) -> None:
        self._terminated = time.time()
        self._stopping.set()

    @property
    def _is_healthy(self) -> bool:
        after = self._settings.healthy_after
        return after is not None and time.monotonic() - self._started >= after

    def _note(self, request: _Request) -> None:
        if request.path in {"/healthz", "/seen"}:
            return
        now = (time.time(), time.monotonic())
        self._first = self._first or now
        self._last = now
        self._count += 1
        self._before_healthy += not self._is_healthy
        if self._log:
            # One write of one short line: a file that several append to has it whole (O_APPEND, open(2)).
            self._log.write(f"{now[0]:.6f} {request.name} {self._settings.instance}\n")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._connections[task] = _Connection(writer)
        try:
            # A client may go at any moment; that is its own affair.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._converse(connection, reader, writer)
        finally:
            del self._connections[task]
            writer.close()

    async def _converse(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while not self._stopping.is_set():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                connection.is_busy = True
                request = _parsed(head)
                self._note(request)
                if request.path == "/ws":
                    await self._websocket(request, connection, reader, writer)
                    return
                received = await _read_body(request.headers, reader)
                status, body = await self._answer(request, received)
            except (_BadRequestError, ValueError, asyncio.LimitOverrunError) as error:
                writer.write(self._response(400, f"{error}\n", "-", keeps_alive=False))
                return
            keeps_alive = request.keeps_alive and not self._stopping.is_set()
            writer.write(self._response(status, body, request.name, keeps_alive=keeps_alive))
            await writer.drain()
            if not keeps_alive:
                return
            connection.is_busy = False

    async def _answer(self, request: _Request, received: int) -> tuple[int, str]:
        match request.path:
            case "/":
                return 200, f"{self._settings.instance}\n"
            case "/slow":
                await asyncio.sleep(request.seconds)
                return 200, f"{self._settings.instance}\n"
            case "/upload":
                return 200, f"{received}\n"
            case "/healthz":
                return (200, "healthy\n") if self._is_healthy else (503, "not healthy\n")
            case "/seen":
                return 200, json.dumps(self.seen()) + "\n"
        return 404, f"nothing at {request.path}\n"

    def _response(self, status: int, body: str, request: str, *, keeps_alive: bool) -> bytes:
        content = body.encode()
        return (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n"
            f"X-Instance: {self._settings.instance}\r\nX-Request: {request}\r\n"
            + ("" if keeps_alive else "Connection: close\r\n")
            + "\r\n"
        ).encode("latin-1") + content

    async def _websocket(
        self, request: _Request, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        key = request.headers.get("sec-websocket-key")
        if key is None or request.headers.get("upgrade", "").lower() != "websocket":
            raise _BadRequestError("no handshake of a WebSocket")
        writer.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept_of(key)}\r\n"
                f"X-Instance: {self._settings.instance}\r\nX-Request: {request.name}\r\n\r\n"
            ).encode("latin-1")
        )
        connection.is_websocket = True
        async for opcode, payload in _frames(reader):
            if opcode == CLOSE:
                # After SIGTERM it is the answer to ours (RFC 6455, section 5.5.1).
                if not self._stopping.is_set():
                    writer.write(frame(CLOSE, payload))
                return
            # Nothing follows a close frame of ours.
            if not self._stopping.is_set():
                writer.write(frame(PONG if opcode == PING else opcode, payload))
                await writer.drain()


def _parsed(head: bytes) -> _Request:
    first, *rest = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    pairs = (line.partition(":") for line in rest)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return _Request(method, target, headers, version == "HTTP/1.1" and headers.get("connection", "").lower() != "close")


async def _read_body(headers: Mapping[str, str], reader: asyncio.StreamReader) -> int:
    """Reads a body and returns its length in bytes."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return len(await reader.readexactly(_allowed(int(headers.get("content-length", "0")))))
    total = 0
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        total = _allowed(total + size)
        await reader.readexactly(size + 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # a trailer
    return total


def _allowed(size: int) -> int:
    if not 0 <= size <= _MAX_BODY:
        raise _BadRequestError(f"a body of {size} bytes")
    return size


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
    """The frames of a WebSocket until its connection ends."""
    received = bytearray()
    while data := await reader.read(65536):
        received += data
        while (found := take_frame(received)) is not None:
            yield found


def _times(pair: tuple[float, float] | None) -> dict[str, float] | None:
    return None if pair is None else {"wall": pair[0], "monotonic": pair[1]}


def main(arguments: Iterable[str] = ()) -> int:
    if list(arguments):
        print("visible_app takes no arguments; see what its environment says", file=sys.stderr)
        return 2
    given = settings(os.environ)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(Path(given.log).open("a", buffering=1)) if given.log else None
        asyncio.run(App(given, log).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
