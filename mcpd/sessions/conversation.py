"""One program and the person it talks to: input, output, sizes and signals, both ways at once, within limits."""

from __future__ import annotations

import math
import signal
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec
import trio

from mcpd.errors import McpdError
from mcpd.runtime.attached import Attached, Chunk
from mcpd.runtime.programs import TerminalSize

# End of transmission: what Ctrl-D sends.
_EOT = b"\x04"
# 128 and a signal's number, as a shell has it.
_SIGNALLED = 128
# podman-exec(1): the program cannot be invoked; it is not found.
_NOT_STARTED = (126, 127)
# podman's words for that come in place of the program's output.
_RUNTIMES_WORDS = (b"Error: ", b"OCI ")
_MAX_HELD_BYTES = 16 * 1024
_HELD_S = 1.0


class Limits(NamedTuple):
    """For how long, in seconds. ``idle``: with nothing said by either."""

    idle: float
    total: float


class Data(NamedTuple):
    data: bytes


class EndOfInput(NamedTuple):
    pass


class Signal(NamedTuple):
    number: int


# What a client says: bytes of standard input, that there are no more, a new size of its terminal, a signal.
Said = Data | EndOfInput | TerminalSize | Signal


class Client(Protocol):
    """Whoever asked for the program."""

    async def said(self) -> list[Said]:
        """What has come since; nothing when there will be no more. Raises InvalidRequestError."""

    async def tell(self, chunks: list[Chunk]) -> None:
        """Sends output, and returns when there is room for more."""


class Running(NamedTuple):
    """A program that runs: its input and output, and what may be done to it. ``exit_code`` waits for its end."""

    attached: Attached
    resize: Callable[[TerminalSize], Awaitable[None]]
    signal: Callable[[int], Awaitable[None]]
    exit_code: Callable[[], Awaitable[int]]
    has_terminal: bool


class Ended(msgspec.Struct, frozen=True):
    """``status`` as a shell has it; ``message``: why, when it is not the program's own."""

    status: int
    message: str = ""


async def converse(program: Running, client: Client, limits: Limits) -> Ended | None:
    """Carries what both say until the program ends. None: a limit ended it, and it may still run.

    Raises InvalidRequestError, UnavailableError.
    """
    alive = trio.CancelScope()

    def moved() -> None:
        alive.deadline = trio.current_time() + limits.idle

    moved()
    status = 0
    held = _Held()
    with trio.move_on_after(limits.total), alive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carry_input, program, client, moved)
            while chunks := await _received(program.attached, client, held):
                moved()
                if told := held.after(chunks):
                    await client.tell(told)
                moved()
            status = await program.exit_code()
            nursery.cancel_scope.cancel()
        if status in _NOT_STARTED and held.words:
            return Ended(status, held.words)
        if told := held.all():
            await client.tell(told)
        if status < 0:  # podman's for what it has killed, and for what it knows no end of
            return Ended(_SIGNALLED + signal.SIGKILL, "podman has killed it, or does not know how it ended")
        return Ended(status)
    return None


async def talk(program: Running, client: Client, limits: Limits) -> Ended:
    """As `converse`; says which limit ended it, if one did."""
    began = trio.current_time()
    return await converse(program, client, limits) or why_ended(limits, began)


def why_ended(limits: Limits, began: float) -> Ended:
    """For a program that a limit ended; ``began`` by Trio's clock."""
    if trio.current_time() - began >= limits.total:
        words = f"it was ended after {_shown(limits.total)}, the longest that a session may take (max_duration)"
    else:
        words = f"it was ended, since nothing was said for {_shown(limits.idle)} (idle_timeout)"
    return Ended(_SIGNALLED + signal.SIGHUP, words)


def _shown(seconds: float) -> str:
    """In the notation of mcpd.toml."""
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or f"{seconds * 1000:.0f}ms"


async def _received(attached: Attached, client: Client, held: _Held) -> list[Chunk]:
    """What comes next. What was held back is told meanwhile: behind its own words podman ends, and this goes on."""
    with trio.move_on_after(_HELD_S if held.has_some else math.inf):
        return await attached.receive()
    await client.tell(held.all_now())
    return await attached.receive()


async def _carry_input(program: Running, client: Client, moved: Callable[[], None]) -> None:
    """Until the client has said all that it will."""
    is_open = True
    while heard := await client.said():
        moved()
        for each in heard:
            match each:
                case Data(data):
                    is_open = is_open and await program.attached.send(data)
                case TerminalSize():
                    await _anyhow(program.resize(each))
                case Signal(number):
                    await _anyhow(program.signal(number))
                case EndOfInput():
                    is_open = is_open and await _end_input(program)
        moved()
    if is_open:
        await _end_input(program)


async def _end_input(program: Running) -> bool:
    if program.has_terminal:
        await program.attached.send(_EOT)
    else:
        await program.attached.end_input()
    return False


async def _anyhow(done: Awaitable[None]) -> None:
    """A size or a signal for a program that has just ended comes too late, and that is all."""
    try:
        await done
    except McpdError:
        return


class _Held:
    """Keeps back what podman may have said in place of a program that it could not start."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._is_over = False

    def after(self, chunks: list[Chunk]) -> list[Chunk]:
        """What is to be told now that ``chunks`` have come."""
        if self._is_over:
            return chunks
        self._chunks += chunks
        if self._text().startswith(_RUNTIMES_WORDS[0]) and len(self._text()) < _MAX_HELD_BYTES:
            return []
        return self.all_now()

    @property
    def has_some(self) -> bool:
        return bool(self._chunks)

    def all_now(self) -> list[Chunk]:
        """What is held back, and from now on nothing is."""
        self._is_over = True
        return self.all()

    def all(self) -> list[Chunk]:
        told, self._chunks = self._chunks, []
        return told

    @property
    def words(self) -> str:
        """podman's words, made readable; empty when there are none."""
        text = self._text()
        if _RUNTIMES_WORDS[1] not in text:
            return ""
        first = text.decode(errors="replace").strip().splitlines()[0]
        first = first.removeprefix("Error: ").partition(": OCI runtime ")[0].partition(": OCI ")[0]
        return "podman could not start it: " + first.rpartition("unable to start container process: ")[2]

    def _text(self) -> bytes:
        return b"".join(data for _, data in self._chunks)
