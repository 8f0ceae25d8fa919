"""Reading and writing a program's own stdin and stdout beside an event loop, whatever they are.

The descriptors stay as they are: they belong to the shell and to other programs too, and O_NONBLOCK would be theirs
(open(2): it is of the open file description). So what may block is done in a thread, a chunk at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# What a message of a session has of input at most, as its contract says.
CHUNK_BYTES = 64 * 1024
_HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Worker:
    """A thread that does one thing after the other, and that nobody waits for when the program ends."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises. One that is cancelled goes on, and nobody learns its result."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error = None, None
            try:
                result = function()
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, result, error)

        self._work.put(work)
        return await done

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the thread after what it does now, and ``last``."""
        if last:
            self._work.put(last)
        self._work.put(None)

    def _run(self) -> None:
        while work := self._work.get():
            work()


class Input:
    """What can be read from a descriptor, and is read only when it is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._worker = Worker("stdin")

    async def read(self) -> bytes:
        """At most `CHUNK_BYTES`; none at the end. Raises OSError."""
        return await self._worker.do(self._read)

    def close(self) -> None:
        """From now on nothing is taken: what is typed is for whoever reads next."""
        os.eventfd_write(self._stop, 1)
        self._worker.close(lambda: os.close(self._stop))

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._stop in ready:
                return b""
            try:
                return os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                # Somebody else left it without blocking, and another one was faster.
                if ready[self._descriptor] & _HANGUP:
                    return b""


class Output:
    """Where a session's output goes, in the order in which it came."""

    def __init__(self) -> None:
        self._worker = Worker("stdout")

    async def write(self, descriptor: int, data: bytes) -> None:
        """Returns when all of it is written. Raises OSError."""
        await self._worker.do(lambda: _write(descriptor, data))

    def close(self) -> None:
        self._worker.close()


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
