"""A program on a node with our stdin, stdout and stderr, and our terminal if it has one: exec and run."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import ssl
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import betterproto
import msgspec
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl.errors import CliError, UnreachableError
from mcpctl.nodes.descriptors import Input, Output
from mcpctl.nodes.outbox import Outbox, Request
from mcpctl.ui import raw_terminal
from mcpctl.ui.raw_terminal import Drawn, RawTerminal
from protos.mcp import v1

STDIN, STDOUT, STDERR = 0, 1, 2

# Who presses Ctrl-C again so soon, and has heard nothing from the program, wants an end of it.
_AGAIN_S = 2.0
# A signal waits behind input that the program does not read. It may never do so, and our end ends it, too.
_UNSENT_S = 5.0
# Signals that are the program's where it has no terminal, from which it would have them.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SIGNALLED = 128
_LOST = (ProtocolError, StreamTerminatedError, ssl.SSLError, OSError)

Response = v1.ExecResponse | v1.RunResponse
Call = Callable[[AsyncIterator[Request]], AsyncGenerator[Response, None]]


class Local(msgspec.Struct, frozen=True):
    """What of ours the program has. ``has_stdout`` and ``has_stderr``: they were open when we began."""

    has_terminal: bool
    has_input: bool
    # Whether our stdin is a terminal, which is made raw when the program has one.
    is_raw: bool
    has_stdout: bool = True
    has_stderr: bool = True


class Ended(msgspec.Struct, frozen=True):
    """``status``: its exit status as a shell has it. ``message``: why it ended, if not by itself."""

    status: int
    message: str
    started: v1.SessionStarted


class LocalError(CliError):
    """Our own input or output failed."""


class SignalledError(CliError):
    """A signal ended us, not the program; the node ends it."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.status = _SIGNALLED + number


class Session:
    """One call of exec or run. Raises as `run` does."""

    def __init__(self, node: str, start: v1.ExecStart | v1.RunStart, local: Local) -> None:
        self._node = node
        self._start = start
        self._local = local
        self._outbox = Outbox(start)
        self._output = Output()
        self._drawn = Drawn()
        self._started: v1.SessionStarted | None = None
        self._terminal: RawTerminal | None = None
        self._input: Input | None = None
        self._pump: asyncio.Task[None] | None = None
        self._handled: list[int] = []
        # Answers so far; and when which signal came, after how many of them.
        self._heard = 0
        self._last_signal = (0.0, 0, -1)

    async def run(self, call: Call) -> Ended:
        """Returns how the program ended; of one that goes on without us, that it has started.

        Raises grpclib's errors until it has started, UnreachableError for a connection that is lost afterwards,
        LocalError, SignalledError, and BrokenPipeError when nobody reads our output.
        """
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        conversation = asyncio.create_task(self._converse(call))
        is_orderly = False
        try:
            first: set[asyncio.Future[Any]] = {conversation, self._over}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not conversation.done():
                self._over.result()
            ended = conversation.result()
            is_orderly = ended.status < _SIGNALLED and not ended.message
            return ended
        finally:
            # Leaving the call resets it, by which the node learns that we go.
            conversation.cancel()
            await asyncio.wait([conversation])
            await self._leave(is_orderly=is_orderly)
            if self._over.done():
                self._over.exception()

    async def _converse(self, call: Call) -> Ended:
        try:
            async with aclosing(call(self._outbox)) as responses:
                async for response in responses:
                    self._heard += 1
                    part, value = betterproto.which_one_of(response, "part")
                    if isinstance(value, v1.SessionEnded):
                        return Ended(value.exit_status, value.message, self._started or v1.SessionStarted())
                    await self._take(part, value)
        except (*_LOST, GRPCError) as error:
            if self._started is None or isinstance(error, (BrokenPipeError, GRPCError)):
                raise
            raise UnreachableError(self._lost(error)) from None
        if self._started is not None and isinstance(self._start, v1.RunStart) and self._start.detach:
            return Ended(0, "", self._started)
        raise CliError(f"node {self._node}: the answer ended without the program's exit status")

    async def _take(self, part: str, value: object) -> None:
        if isinstance(value, v1.SessionStarted):
            self._begin(value)
        elif isinstance(value, bytes):
            await self._print(STDERR if part == "stderr" else STDOUT, value)

    def _begin(self, started: v1.SessionStarted) -> None:
        self._started = started
        if isinstance(self._start, v1.RunStart) and self._start.detach:
            return
        loop = asyncio.get_running_loop()
        for each in _FORWARDED:
            self._handle(each, self._stopped_by if self._local.has_terminal else self._forward, each)
        if self._local.has_terminal:
            self._handle(signal.SIGWINCH, self._resized)
            # It may have changed since the call began.
            self._resized()
            if self._local.is_raw:
                self._handle(signal.SIGCONT, self._continued)
                try:
                    self._terminal = RawTerminal(STDIN)
                except termios.error as error:
                    raise LocalError(f"the terminal cannot be used: {error.args[-1]}") from None
        if self._local.has_input:
            self._input = Input(STDIN)
            self._pump = loop.create_task(self._send_input(self._input))

    async def _leave(self, *, is_orderly: bool) -> None:
        if self._pump:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self._input:
            self._input.close()
        loop = asyncio.get_running_loop()
        if self._terminal:
            self._terminal.restore()
            if not is_orderly:
                # Not through the thread: it may stand still with the terminal.
                with contextlib.suppress(OSError):
                    os.write(STDOUT, self._drawn.undone())
        self._output.close()
        for each in self._handled:
            loop.remove_signal_handler(each)

    # -- signals

    def _handle(self, number: signal.Signals, function: Callable[..., None], *values: object) -> None:
        asyncio.get_running_loop().add_signal_handler(number, function, *values)
        self._handled.append(number)

    def _stopped_by(self, number: signal.Signals) -> None:
        self._stop(SignalledError(number, f"ended by {number.name}; node {self._node} ends {self._program}"))

    def _forward(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        at, last, heard = self._last_signal
        if last == number and now - at < _AGAIN_S and heard == self._heard:
            self._stopped_by(number)
            return
        self._last_signal = (now, number, self._heard)
        self._outbox.signal(number.name)
        loop.call_later(_UNSENT_S, self._check_sent, number)

    def _check_sent(self, number: signal.Signals) -> None:
        if self._outbox.has_unsent(number.name):
            self._stopped_by(number)

    def _resized(self) -> None:
        self._outbox.resize(*raw_terminal.size((STDOUT, STDIN, STDERR)))

    def _continued(self) -> None:
        if self._terminal:
            self._terminal.again()
            self._resized()

    def _stop(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    # -- input and output

    async def _send_input(self, source: Input) -> None:
        try:
            while data := await source.read():
                await self._outbox.put(data)
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that hung up is an end
                self._stop(LocalError(f"stdin cannot be read: {error.strerror}"))
                return
        await self._outbox.end()

    async def _print(self, descriptor: int, data: bytes) -> None:
        if not (self._local.has_stdout if descriptor == STDOUT else self._local.has_stderr):
            return
        if self._terminal:
            self._drawn.feed(data)
        try:
            await self._output.write(descriptor, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            name = "stdout" if descriptor == STDOUT else "stderr"
            raise LocalError(f"{name} cannot be written: {error.strerror}") from None

    # -- words

    @property
    def _program(self) -> str:
        started = self._started
        return f"{started.program} in {started.container}" if started else "the program"

    def _lost(self, error: Exception) -> str:
        return (
            f"the connection to node {self._node} was lost while {self._program} was running ({error}); "
            "the node ends it as soon as it notices"
        )
