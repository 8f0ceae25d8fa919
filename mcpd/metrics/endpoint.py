"""HTTP for Prometheus: `GET /metrics`, one request a connection, and nothing else.

What it says is for whoever reaches the address. It takes no more than a page of any peer's bytes, for seconds, from a
handful of peers at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NoReturn

import h11
import structlog
import trio

from mcpd.metrics.scrape import CONTENT_TYPE

log = structlog.get_logger()

PATH = b"/metrics"
# Request line and headers; Prometheus sends some 300 bytes.
MAX_REQUEST_BYTES = 8192
# From the connection to the end of the answer. Prometheus' own scrape_timeout is 10 s by default.
DEADLINE_S = 10.0
# Two Prometheus servers and a person are three. When more come, the oldest gives way: whoever holds a place does not
# keep the others out.
MAX_CONNECTIONS = 16
_BACKLOG = 16
_READ_BYTES = 4096
# The overlay network may come up after us (audit S2), and whoever has the port may go.
_BIND_RETRY_S = 1.0
# As long as a client may take to end its side after the answer, before what it still sends resets the connection.
_FAREWELL_S = 1.0

Text = Callable[[], Awaitable[bytes]]


class Endpoint:
    """Serves ``text`` at an address when run."""

    def __init__(self, address: tuple[str, int], text: Text) -> None:
        self._address = address
        self._text = text
        # Oldest first.
        self._open: dict[trio.CancelScope, None] = {}

    async def run(self) -> NoReturn:
        """Runs until cancelled. An address that is taken, or not there yet, is waited for; it ends nobody."""
        listeners = await self._bind()
        await trio.serve_listeners(self._serve, listeners)

    async def _bind(self) -> list[trio.SocketListener]:
        host, port = self._address
        told = ""
        while True:
            try:
                listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
            except OSError as error:
                why = error.strerror or str(error)
                if why != told:
                    log.warning(
                        "metrics are waiting for their address; everything else works", address=host, port=port, why=why
                    )
                told = why
                await trio.sleep(_BIND_RETRY_S)
            else:
                log.info("metrics at", address=host, port=port)
                return listeners

    async def _serve(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        with trio.move_on_after(DEADLINE_S) as scope:
            self._open[scope] = None
            try:
                async with stream:
                    await _converse(stream, self._text)
            except trio.BrokenResourceError:
                pass  # the client has gone
            finally:
                self._open.pop(scope, None)


async def _converse(stream: trio.SocketStream, text: Text) -> None:
    """One request, one answer, and the end."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
    try:
        request = await _request(stream, connection)
        if request is None:
            return
        status, body = await _answer(request, text)
        head_only = request.method == b"HEAD"
    except h11.RemoteProtocolError as error:
        status, body, head_only = HTTPStatus(error.error_status_hint), b"", False
    await stream.send_all(_response(connection, status, body, head_only=head_only))
    await _say_farewell(stream)


async def _request(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """None when the client says nothing. Raises RemoteProtocolError. A body is not waited for: nothing takes one."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None
        connection.receive_data(await stream.receive_some(_READ_BYTES))


async def _answer(request: h11.Request, text: Text) -> tuple[HTTPStatus, bytes]:
    if request.target.partition(b"?")[0] != PATH:
        return HTTPStatus.NOT_FOUND, b"there is nothing but /metrics here\n"
    if request.method not in (b"GET", b"HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n"
    try:
        return HTTPStatus.OK, await text()
    except Exception:  # a bug of ours in what only looks must not end the daemon
        log.exception("metrics could not be collected")
        return HTTPStatus.INTERNAL_SERVER_ERROR, b"mcpd failed because of a bug; its log has the details\n"


def _response(connection: h11.Connection, status: HTTPStatus, body: bytes, *, head_only: bool) -> bytes:
    headers = [
        ("Content-Type", CONTENT_TYPE if status is HTTPStatus.OK else "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    response = h11.Response(status_code=status, reason=status.phrase, headers=headers)
    sent = connection.send(response) or b""
    if not head_only:
        sent += connection.send(h11.Data(body)) or b""
    return sent + (connection.send(h11.EndOfMessage()) or b"")


async def _say_farewell(stream: trio.SocketStream) -> None:
    """Ends our side, and waits for the client's end: closing on what it still sends would take the answer back."""
    await stream.send_eof()
    with trio.move_on_after(_FAREWELL_S):
        while await stream.receive_some(_READ_BYTES):
            pass
