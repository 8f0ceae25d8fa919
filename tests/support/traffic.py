"""Load on a proxy, as browsers make it, and every request that was lost told in words.

    async with traffic("http://127.0.0.1:8080", "shop.example.net") as load:
        await swap_a_container()
    assert not load.result.failures

What answers must be `tests.support.visible_app`: an answer says who gave it (X-Instance) and to what (X-Request). Leave
the block, and every client finishes what it has begun. By hand: `python -m tests.support.traffic --help`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import select
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from tests.support.visible_app import CLOSE, PING, PONG, TEXT, Frame, accept_of, frame, take_frame

UPLOAD_BYTES = 200_000
# Far longer than anything here takes on a busy machine; a request that takes longer is lost.
ANSWER_S = 10.0
# A proxy on this machine takes a connection at once, or its queue is full.
_CONNECT_S = 5.0
# How often a WebSocket sends; the time in which an answer comes is ANSWER_S.
_MESSAGE_INTERVAL_S = 0.1
# How long a WebSocket waits for the answer to its close frame.
_CLOSE_S = 2.0
# After a failure: a proxy that is gone fails a client some 20 times each second, and not thousands.
_AFTER_FAILURE_S = 0.05
_FAILURES_TOLD = 20
_RECEIVE = 65536
# RFC 6455, section 7.4.1, and IANA's registry: going away, and service restart.
_PROPER_CLOSES = (1001, 1012)
_NORMAL_CLOSE = 1000


class Kind(StrEnum):
    """``KEEP_ALIVE``: request after request on one connection; ``FRESH``: a connection for each; ``SLOW``: the same,
    and the answer takes seconds; ``UPLOAD``: POSTs on one connection; ``WEBSOCKET``: one that is held open."""

    KEEP_ALIVE = "keep-alive"
    FRESH = "fresh"
    SLOW = "slow"
    UPLOAD = "upload"
    WEBSOCKET = "websocket"


class Clients(msgspec.Struct, frozen=True):
    """How many clients there are of each kind."""

    keep_alive: int = 4
    fresh: int = 4
    slow: int = 2
    upload: int = 2
    websocket: int = 2

    def of(self, kind: Kind) -> int:
        number: int = getattr(self, kind.name.lower())
        return number


class Failure(msgspec.Struct, frozen=True):
    """``at``: seconds since 1970."""

    kind: Kind
    at: float
    what: str

    def __str__(self) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(self.at)) + f"{self.at % 1:.3f}"[1:]
        return f"{moment} {self.kind}: {self.what}"


class Answers(msgspec.Struct, frozen=True):
    """What one container answered: when first and last, in seconds since 1970, and how often."""

    first: float
    last: float
    count: int


class Counts(msgspec.Struct, frozen=True):
    """Of one kind. A handshake of a WebSocket counts as a request, and so does each of its messages.

    ``retried``: GETs under which a kept connection ended before any byte of an answer, and that a fresh one answered,
    as a browser does it (RFC 9112, section 9.3.1); in ``sent`` they are one. ``closed``: WebSockets that the server
    closed properly; a message that was on its way then is not in ``sent``. Latencies are in seconds, of what was
    answered; handshakes are not among them.
    """

    sent: int
    ok: int
    failed: int
    retried: int
    closed: int
    p50: float
    p99: float
    max: float
    instances: Mapping[str, Answers]


class Result(msgspec.Struct, frozen=True):
    """``failures``: the first 20. ``seconds``: how long it took."""

    seconds: float
    counts: Mapping[Kind, Counts]
    failures: tuple[Failure, ...]

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.counts.values())

    @property
    def ok(self) -> int:
        return sum(each.ok for each in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.counts.values())

    @property
    def retried(self) -> int:
        return sum(each.retried for each in self.counts.values())

    @property
    def instances(self) -> dict[str, Answers]:
        """What each container answered, of every kind."""
        found: dict[str, Answers] = {}
        for counts in self.counts.values():
            for name, new in counts.instances.items():
                old = found.get(name, new)
                count = new.count + (old.count if name in found else 0)
                found[name] = Answers(min(old.first, new.first), max(old.last, new.last), count)
        return found

    def __str__(self) -> str:
        columns = "{:<11}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}"
        lines = [columns.format("", "sent", "ok", "failed", "retried", "closed", "p50 ms", "p99 ms", "max ms")]
        for kind, each in self.counts.items():
            times = (f"{seconds * 1000:.1f}" for seconds in (each.p50, each.p99, each.max))
            lines.append(columns.format(kind, each.sent, each.ok, each.failed, each.retried, each.closed, *times))
        lines.append(f"{self.sent} in {self.seconds:.1f} s, {self.sent / self.seconds:.0f}/s")
        lines += [
            f"{name}: {answers.count} answers in {answers.last - answers.first:.3f} s"
            for name, answers in self.instances.items()
        ]
        return "\n".join([*lines, *map(str, self.failures)])


class _LostError(Exception):
    """A request was lost; says how."""


class _IdleEndError(_LostError):
    """The connection ended before any byte of an answer."""


class _ClosedError(Exception):
    """The server closed a WebSocket properly."""


class _Tally:
    def __init__(self) -> None:
        self.sent = self.failed = self.retried = self.closed = self.ok = 0
        self.latencies: list[float] = []
        self.instances: dict[str, Answers] = {}

    def answered(self, instance: str) -> None:
        now = time.time()
        old = self.instances.get(instance) or Answers(now, now, 0)
        self.instances[instance] = Answers(old.first, now, old.count + 1)
        self.ok += 1

    def counts(self) -> Counts:
        ordered = sorted(self.latencies) or [0.0]
        return Counts(
            sent=self.sent,
            ok=self.ok,
            failed=self.failed,
            retried=self.retried,
            closed=self.closed,
            p50=ordered[len(ordered) // 2],
            p99=ordered[len(ordered) * 99 // 100],
            max=ordered[-1],
            instances=dict(self.instances),
        )


class Load:
    """The clients while they run; `result` is what has happened so far."""

    def __init__(self, url: str, host: str, requests: int | None, pause: float, slow: float) -> None:
        split = urlsplit(url)
        assert split.scheme == "http", url
        assert split.hostname, url
        self.address = (split.hostname, split.port or 80)
        self.host = host or split.netloc
        self.pause = pause
        self.slow = slow
        self._requests = requests
        self._tallies = {kind: _Tally() for kind in Kind}
        self._failures: list[Failure] = []
        self._over = trio.Event()
        self._began = time.monotonic()
        self._ended: float | None = None
        self._drained: set[str] = set()

    @property
    def result(self) -> Result:
        ended = time.monotonic() if self._ended is None else self._ended
        counts = {kind: tally.counts() for kind, tally in self._tallies.items()}
        return Result(ended - self._began, counts, tuple(self._failures[:_FAILURES_TOLD]))

    def drain(self, instance: str) -> None:
        """Says that a container is being drained: from now on a WebSocket of it may end without a close frame."""
        self._drained.add(instance)

    def end(self) -> None:
        """Every client finishes what it has begun, and begins nothing more."""
        self._over.set()

    # -- for the clients

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def is_drained(self, instance: str) -> bool:
        return instance in self._drained

    def next(self, kind: Kind) -> str:
        """Counts a request, and returns its id."""
        tally = self._tallies[kind]
        tally.sent += 1
        if self._requests is not None and sum(each.sent for each in self._tallies.values()) >= self._requests:
            self._over.set()
        return f"{kind}-{tally.sent}"

    def tally(self, kind: Kind) -> _Tally:
        return self._tallies[kind]

    def fail(self, kind: Kind, what: str) -> None:
        self._tallies[kind].failed += 1
        if len(self._failures) < _FAILURES_TOLD:
            self._failures.append(Failure(kind, time.time(), what))

    async def rest(self, seconds: float) -> None:
        """Sleeps, at most until it is over."""
        with trio.move_on_after(seconds):
            await self._over.wait()

    def all_ended(self) -> None:
        self._ended = time.monotonic()


@contextlib.asynccontextmanager
async def traffic(
    url: str,
    host: str = "",
    clients: Clients = Clients(),  # noqa: B008
    *,
    seconds: float | None = None,
    requests: int | None = None,
    pause: float = 0.0,
    slow: float = 2.0,
) -> AsyncIterator[Load]:
    """Clients run in the block. At its end they finish what they have begun, or go on until the end that was asked for.

    That is after ``seconds``, or when ``requests`` of every kind together were sent, whichever is first. ``host`` is
    what the requests ask for, by default what ``url`` says. Each client waits ``pause`` seconds between its requests;
    an answer to a slow one takes ``slow`` seconds. What the block raises ends every client at once.
    """
    load = Load(url, host, requests, pause, slow)
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as running:
            for kind in Kind:
                for _ in range(clients.of(kind)):
                    running.start_soon(_CLIENTS[kind], load)
            if seconds is not None:
                nursery.start_soon(_end_after, load, seconds)
            # Not left to the nursery, that would wrap it in a group.
            try:
                yield load
            except Exception as error:
                raised = error
                nursery.cancel_scope.cancel()
            if seconds is None and requests is None:
                load.end()
        nursery.cancel_scope.cancel()
    load.all_ended()
    if raised is not None:
        raise raised


async def _end_after(load: Load, seconds: float) -> None:
    await trio.sleep(seconds)
    load.end()


# -- HTTP


class _Connection:
    """A connection to the proxy, as a browser keeps one."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self.is_used = False

    @property
    def has_ended(self) -> bool:
        """Whether it cannot take a request more: the last answer said so, or the other end has closed it since."""
        if self._http.our_state is not h11.IDLE:
            return True
        # Between an answer and the next request there is nothing to read but an end.
        readable = select.poll()
        readable.register(self.stream.socket.fileno(), select.POLLIN)
        return bool(readable.poll(0))

    async def ask(self, request: h11.Request, body: bytes) -> tuple[h11.Response, bytes]:
        """Sends a request and returns the answer with its body. Raises _LostError."""
        sending = self._http.send(request) + self._sent(body)
        # A proxy may answer before it has read everything, and close: what it answered says more than that.
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(sending)
        response: h11.Response | None = None
        content = b""
        while True:
            match await self._event(has_begun=response is not None):
                case h11.Response() as response:
                    pass
                case h11.Data(data=data):
                    content += bytes(data)
                case h11.EndOfMessage():
                    break
        assert response is not None
        self.is_used = True
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return response, content

    async def upgrade(self, request: h11.Request) -> tuple[h11.InformationalResponse, bytes]:
        """Sends a handshake, and returns its answer and what came after it. Raises _LostError."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(self._http.send(request) + self._sent(b""))
        answer = await self._event(has_begun=False)
        if isinstance(answer, h11.InformationalResponse) and answer.status_code == 101:
            return answer, self._http.trailing_data[0]
        raise _LostError(f"the handshake was answered with {getattr(answer, 'status_code', answer)}")

    def _sent(self, body: bytes) -> bytes:
        data = self._http.send(h11.Data(data=body)) if body else b""
        return (data or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    async def _event(self, *, has_begun: bool) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise _LostError(f"what came is no answer, or part of one: {error}") from None
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self.stream.receive_some(_RECEIVE)
            except trio.BrokenResourceError as error:
                data, why = b"", f"was reset ({error.__cause__})"
            else:
                why = "ended"
            if not data and not has_begun and not self._http.trailing_data[0]:
                raise _IdleEndError(f"the connection {why} before any byte of an answer")
            if not data and why != "ended":
                raise _LostError(f"the connection {why} in the middle of an answer")
            self._http.receive_data(data)


async def _connect(load: Load) -> _Connection:
    """Raises _LostError."""
    # What trio.open_tcp_stream does to try several addresses takes most of the time of a short request.
    connecting = trio.socket.socket()
    try:
        with trio.fail_after(_CONNECT_S):
            await connecting.connect(load.address)
    except BaseException as error:
        connecting.close()
        match error:
            case trio.TooSlowError():
                raise _LostError(f"no connection within {_CONNECT_S:g} s") from None
            case OSError():
                raise _LostError(f"no connection: {error.strerror or error}") from None
        raise
    return _Connection(trio.SocketStream(connecting))


class _Browser:
    """Makes the requests of one client, on its connection if it keeps one."""

    def __init__(self, load: Load, kind: Kind, *, keeps: bool) -> None:
        self._load = load
        self._kind = kind
        self._keeps = keeps
        self._connection: _Connection | None = None

    async def ask(self, method: str, target: str, body: bytes, within: float) -> None:
        """Makes one request, and counts how it went."""
        name, began = self._load.next(self._kind), time.monotonic()
        headers = [("Host", self._load.host), ("X-Request", name)]
        if body:
            headers.append(("Content-Length", str(len(body))))
        request = h11.Request(method=method, target=target, headers=headers)
        tally = self._load.tally(self._kind)
        try:
            with trio.fail_after(within):
                response, content = await self._answer(request, body, tally)
            instance = _instance(response, content, name)
            if method == "POST" and content.strip() != str(len(body)).encode():
                raise _LostError(f"of {len(body)} bytes arrived {content[:80]!r}")
        except _LostError as error:
            await self._fail(f"{method} {target} ({name}): {error}")
        except trio.TooSlowError:
            await self._fail(f"{method} {target} ({name}): no answer within {within:g} s")
        else:
            tally.latencies.append(time.monotonic() - began)
            tally.answered(instance)
            if not self._keeps:
                await self.close()

    async def _answer(self, request: h11.Request, body: bytes, tally: _Tally) -> tuple[h11.Response, bytes]:
        connection = await self._open()
        try:
            return await connection.ask(request, body)
        except _IdleEndError:
            if not connection.is_used or request.method != b"GET":
                raise
        await self.close()
        connection = await self._open()
        answer = await connection.ask(request, body)
        tally.retried += 1
        return answer

    async def _open(self) -> _Connection:
        if self._connection is not None and self._connection.has_ended:
            await self.close()
        if self._connection is None:
            self._connection = await _connect(self._load)
        return self._connection

    async def _fail(self, what: str) -> None:
        self._load.fail(self._kind, what)
        await self.close()
        await self._load.rest(_AFTER_FAILURE_S)

    async def close(self) -> None:
        if self._connection is not None:
            await trio.aclose_forcefully(self._connection.stream)
            self._connection = None


def _instance(response: h11.Response | h11.InformationalResponse, content: bytes, name: str) -> str:
    """Who answered. Raises _LostError when it is not the answer to the request ``name``."""
    headers = {key.decode(): value.decode("latin-1") for key, value in response.headers}
    instance = headers.get("x-instance", "")
    if response.status_code not in {101, 200}:
        who = instance or "the proxy itself"
        raise _LostError(f"{response.status_code} {response.reason.decode('latin-1')} of {who}: {content[:80]!r}")
    if not instance:
        raise _LostError(f"{response.status_code} without an X-Instance: {content[:80]!r}")
    if headers.get("x-request") != name:
        raise _LostError(f"{instance} answered the request {headers.get('x-request')}")
    return instance


async def _ask_on(
    load: Load, kind: Kind, method: str, target: str, body: bytes = b"", *, keeps: bool, takes: float = 0.0
) -> None:
    browser = _Browser(load, kind, keeps=keeps)
    try:
        while not load.is_over:
            await browser.ask(method, target, body, takes + ANSWER_S)
            if load.pause:
                await load.rest(load.pause)
    finally:
        with trio.CancelScope(shield=True):
            await browser.close()


async def _keep_alive(load: Load) -> None:
    await _ask_on(load, Kind.KEEP_ALIVE, "GET", "/", keeps=True)


async def _fresh(load: Load) -> None:
    await _ask_on(load, Kind.FRESH, "GET", "/", keeps=False)


async def _slow(load: Load) -> None:
    await _ask_on(load, Kind.SLOW, "GET", f"/slow?s={load.slow:g}", keeps=False, takes=load.slow)


async def _upload(load: Load) -> None:
    await _ask_on(load, Kind.UPLOAD, "POST", "/upload", os.urandom(UPLOAD_BYTES), keeps=True)


# -- WebSockets (RFC 6455)


class _WebSocket:
    """One that is open. ``instance``: who answers it."""

    def __init__(self, stream: trio.SocketStream, instance: str, received: bytes) -> None:
        self.instance = instance
        self._stream = stream
        self._received = bytearray(received)

    async def send(self, opcode: int, payload: bytes) -> None:
        # One that has ended is told by what is received, which may say more.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(frame(opcode, payload, os.urandom(4)))

    async def message(self, within: float) -> bytes | None:
        """The next message, if one comes within so many seconds. Answers pings.

        Raises _ClosedError when the server closes it, _LostError when it ends.
        """
        deadline = trio.current_time() + within
        while True:
            found = None
            # Only this is given up: a frame that was taken is heeded, also when the time is over.
            with trio.move_on_at(deadline):
                found = await self._frame()
            if found is None:
                return None
            opcode, payload = found
            if opcode == PING:
                await self.send(PONG, payload)
            elif opcode == CLOSE:
                await self.send(CLOSE, payload)
                code = struct.unpack(">H", payload[:2])[0] if payload else None
                if code in _PROPER_CLOSES:
                    raise _ClosedError
                raise _LostError(f"{self.instance} closed it with {code}")
            elif opcode == TEXT:
                return payload

    async def close(self) -> None:
        """As a browser does that leaves the page."""
        with trio.move_on_after(_CLOSE_S), contextlib.suppress(_LostError):
            await self.send(CLOSE, struct.pack(">H", _NORMAL_CLOSE))
            while (await self._frame()).opcode != CLOSE:
                pass

    async def _frame(self) -> Frame:
        while (found := take_frame(self._received)) is None:
            try:
                data = await self._stream.receive_some(_RECEIVE)
            except trio.BrokenResourceError as error:
                raise _IdleEndError(f"it was reset ({error.__cause__}) without a close frame") from None
            if not data:
                raise _IdleEndError("it ended without a close frame")
            self._received += data
        return found


async def _websocket(load: Load) -> None:
    while not load.is_over:
        name = load.next(Kind.WEBSOCKET)
        try:
            with trio.fail_after(ANSWER_S):
                connection = await _connect(load)
        except (_LostError, trio.TooSlowError) as error:
            await _fail_websocket(load, f"{name}: {error}")
            continue
        try:
            await _hold(load, name, connection)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(connection.stream)


async def _hold(load: Load, name: str, connection: _Connection) -> None:
    """Opens a WebSocket and speaks on it until it ends, or all is over."""
    tally = load.tally(Kind.WEBSOCKET)
    try:
        with trio.fail_after(ANSWER_S):
            socket = await _handshake(load, name, connection)
    except _LostError as error:
        await _fail_websocket(load, f"{name}: {error}")
        return
    except trio.TooSlowError:
        await _fail_websocket(load, f"{name}: no answer to the handshake within {ANSWER_S:g} s")
        return
    tally.answered(socket.instance)
    try:
        while not load.is_over:
            await _exchange(load, socket, tally)
        await socket.close()
    except _ClosedError:
        tally.closed += 1
    except _IdleEndError as error:
        if load.is_drained(socket.instance):
            tally.closed += 1
        else:
            await _fail_websocket(load, f"{name}, of {socket.instance}: {error}")
    except _LostError as error:
        await _fail_websocket(load, f"{name}: {error}")


async def _exchange(load: Load, socket: _WebSocket, tally: _Tally) -> None:
    """Sends a message, has its answer, and listens until it is time for the next."""
    name, began = load.next(Kind.WEBSOCKET), time.monotonic()
    try:
        await socket.send(TEXT, name.encode())
        answer = await socket.message(ANSWER_S)
    except (_ClosedError, _IdleEndError):
        # The message was on its way when the other end closed: it was sent to nobody.
        tally.sent -= 1
        raise
    if answer is None:
        raise _LostError(f"{socket.instance} did not answer {name} within {ANSWER_S:g} s")
    if answer != name.encode():
        raise _LostError(f"{socket.instance} answered {name} with {answer[:80]!r}")
    tally.answered(socket.instance)
    tally.latencies.append(time.monotonic() - began)
    unasked = await socket.message(began + _MESSAGE_INTERVAL_S - time.monotonic())
    if unasked is not None:
        raise _LostError(f"{socket.instance} sent {unasked[:80]!r}, unasked")


async def _handshake(load: Load, name: str, connection: _Connection) -> _WebSocket:
    key = base64.b64encode(os.urandom(16)).decode()
    headers = [("Host", load.host), ("X-Request", name), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    headers += [("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
    answer, rest = await connection.upgrade(h11.Request(method="GET", target="/ws", headers=headers))
    instance = _instance(answer, b"", name)
    if dict(answer.headers).get(b"sec-websocket-accept") != accept_of(key).encode():
        raise _LostError(f"{instance} answered the handshake with another key's Sec-WebSocket-Accept")
    return _WebSocket(connection.stream, instance, rest)


async def _fail_websocket(load: Load, what: str) -> None:
    load.fail(Kind.WEBSOCKET, what)
    await load.rest(_AFTER_FAILURE_S)


_CLIENTS: Mapping[Kind, Callable[[Load], Awaitable[None]]] = {
    Kind.KEEP_ALIVE: _keep_alive,
    Kind.FRESH: _fresh,
    Kind.SLOW: _slow,
    Kind.UPLOAD: _upload,
    Kind.WEBSOCKET: _websocket,
}


# -- by hand


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 when nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.traffic", description="Load on a proxy.")
    parser.add_argument("--url", required=True, help="http://127.0.0.1:8080")
    parser.add_argument("--host", default="", help="what the requests ask for")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between the requests of a client")
    parser.add_argument("--takes", type=float, default=2.0, help="seconds that an answer to a slow client takes")
    for kind in Kind:
        name, number = kind.name.lower(), Clients().of(kind)
        parser.add_argument(f"--{kind}", dest=name, metavar="N", type=int, default=number, help=f"clients, {number}")
    given = parser.parse_args(arguments)
    if given.seconds is None and given.requests is None:
        parser.error("--seconds or --requests")
    clients = Clients(**{kind.name.lower(): getattr(given, kind.name.lower()) for kind in Kind})

    async def run() -> Result:
        limits = {"seconds": given.seconds, "requests": given.requests}
        async with traffic(given.url, given.host, clients, pause=given.pause, slow=given.takes, **limits) as load:
            pass
        return load.result

    result = trio.run(run)
    print(result)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
