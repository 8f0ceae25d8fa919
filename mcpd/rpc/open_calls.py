"""The calls of one connection, from the first byte of their headers: each is answered, released and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from grpclib import Status
from grpclib.const import Handler
from grpclib.protocol import AbstractHandler
from grpclib.server import _abort, request_handler

from mcpd.errors import UnavailableError
from mcpd.rpc.call import SHOWN_CHARS, UNKNOWN, Call, Headers
from mcpd.rpc.streams import CallStream

if TYPE_CHECKING:
    from grpclib.encoding.base import CodecBase
    from grpclib.events import _DispatchServerEvents


class Calls(AbstractHandler):
    """The calls of one connection. ``ended`` is called once for each, also for one that was reset before it began.

    The connection is in ``busy`` while it has calls.
    """

    def __init__(
        self,
        mapping: Mapping[str, Handler],
        codec: CodecBase,
        dispatch: _DispatchServerEvents,
        ended: Callable[[Call], None],
        busy: set[Calls],
    ) -> None:
        self._mapping = mapping
        self._codec = codec
        self._dispatch = dispatch
        self._ended = ended
        self._busy = busy
        self._accepted: dict[CallStream, tuple[Headers, Callable[[], Any]]] = {}
        self._tasks: dict[CallStream, asyncio.Task[None]] = {}

    def accept(self, stream: Any, headers: Headers, release_stream: Callable[[], Any]) -> None:
        stream.call = self._noted(headers, stream)
        self._accepted[stream] = (headers, release_stream)

    def begin(self) -> None:
        """Starts what was accepted and is not reset yet, when all that came with it has been looked at."""
        for stream, (headers, release_stream) in self._accepted.items():
            task = asyncio.get_running_loop().create_task(self._serve(stream, headers))
            self._tasks[stream] = task
            self._busy.add(self)
            stream.call.begin(task)
            # A task that is cancelled before its first step runs no `finally`.
            task.add_done_callback(partial(self._done, stream, release_stream))
        self._accepted.clear()

    def _noted(self, headers: Headers, stream: CallStream) -> Call:
        found = dict(headers)
        path, verb = found.get(":path", ""), found.get(":method", "")
        address = stream.connection.get_peer().addr()
        peer = f"{address[0]}:{address[1]}" if address else ""
        if path in self._mapping:
            return Call(path, peer, self._ended)
        call = Call(UNKNOWN, peer, self._ended)
        call.target = (path if verb == "POST" else f"{verb} {path}")[:SHOWN_CHARS]
        return call

    async def _serve(self, stream: CallStream, headers: Headers) -> None:
        await request_handler(
            self._mapping,  # type: ignore[arg-type]  # looked into only
            *(stream, headers, self._codec, None, self._dispatch),
            release_stream=lambda: None,
        )
        if not stream.call.is_answered and stream.closable:
            # grpclib says nothing to whoever sends metadata that cannot be decoded, or no method or path.
            await _abort(stream, 200, Status.INVALID_ARGUMENT, "the headers of the call cannot be read")

    def _done(self, stream: CallStream, release_stream: Callable[[], Any], task: asyncio.Task[None]) -> None:
        del self._tasks[stream]
        if not self._tasks:
            self._busy.discard(self)
        release_stream()
        stream.call.end()

    def end_stalled(self, now: float) -> None:
        """Cuts off the calls whose client stands still."""
        for stream in list(self._tasks):
            if why := stream.stalled(now):
                stream.call.cut(UnavailableError(why))

    def cancel(self, stream: Any) -> None:
        stream.call.is_reset = True
        if task := self._tasks.get(stream):
            task.cancel()
        elif stream in self._accepted:
            _, release_stream = self._accepted.pop(stream)
            release_stream()
            stream.call.end()

    def close(self) -> None:
        for stream in list(self._accepted):
            self.cancel(stream)
        for task in self._tasks.values():
            task.cancel()

    async def wait_closed(self) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
