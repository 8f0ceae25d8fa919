"""What a session still has to send: input in its order, and before it signals and the terminal's size."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from protos.mcp import v1

Request = v1.ExecRequest | v1.RunRequest


class Outbox(AsyncIterator[Request]):
    """Its first message is the start. Holds one chunk of input at most: who puts another waits."""

    def __init__(self, start: v1.ExecStart | v1.RunStart) -> None:
        self._kind: type[v1.ExecRequest] | type[v1.RunRequest]
        self._start: Request | None
        if isinstance(start, v1.RunStart):
            self._kind, self._start = v1.RunRequest, v1.RunRequest(start=start)
        else:
            self._kind, self._start = v1.ExecRequest, v1.ExecRequest(start=start)
        self._signals: deque[str] = deque()
        self._size: v1.TerminalSize | None = None
        self._input: Request | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def signal(self, name: str) -> None:
        """One that waits to be sent is not sent twice."""
        if name not in self._signals:
            self._signals.append(name)
        self._news.set()

    def resize(self, rows: int, columns: int) -> None:
        """Of several sizes that wait to be sent the last one counts."""
        self._size = v1.TerminalSize(rows, columns)
        self._news.set()

    def has_unsent(self, signal: str) -> bool:
        return signal in self._signals

    async def put(self, data: bytes) -> None:
        """Input; returns when there is room for more."""
        await self._put(self._kind(stdin=data))

    async def end(self) -> None:
        """The end of the input."""
        await self._put(self._kind(end_of_input=v1.EndOfInput()))

    async def _put(self, request: Request) -> None:
        await self._room.wait()
        self._room.clear()
        self._input = request
        self._news.set()

    async def __anext__(self) -> Request:
        while True:
            if (found := self._next()) is not None:
                return found
            self._news.clear()
            await self._news.wait()

    def _next(self) -> Request | None:
        if self._start is not None:
            found, self._start = self._start, None
            return found
        if self._signals:
            return self._kind(signal=self._signals.popleft())
        if self._size is not None:
            found, self._size = self._kind(size=self._size), None
            return found
        if self._input is not None:
            found, self._input = self._input, None
            self._room.set()
            return found
        return None
