"""An agent whose Exec and Run start real programs of this machine, with a pty or with pipes, as a node does."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import betterproto
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import Agent, Node

CHUNK = 64 * 1024
RUN = "k3f9a2"


class Held:
    """One session: what came of it."""

    def __init__(self, start: Any) -> None:
        self.start = start
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[str] = []
        self.received = 0
        self.largest = 0
        self.has_end = False
        # The caller went away before the program had ended.
        self.was_left = False
        self.process: subprocess.Popen[bytes] | None = None


class SessionAgent(Agent):
    """Runs the command of each session here; one that is prepared for ``ExecStart`` or ``RunStart`` is only told."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.sessions: list[Held] = []
        # Takes nothing but the start, as a node does whose program does not read.
        self.is_deaf = False
        # Resets the stream behind the last message, as a server may.
        self.resets = False
        # The message of how they end.
        self.ending = ""

    @property
    def last(self) -> Held:
        return self.sessions[-1]

    def _guarded(self, handler: Any) -> Any:
        guarded = super()._guarded(handler)

        async def serve(stream: Any) -> None:
            await guarded.func(stream)
            if self.resets and handler.cardinality.client_streaming and stream._stream.closable:
                await stream.send_trailing_metadata()
                stream._stream.reset_nowait()

        return guarded._replace(func=serve)

    async def exec(self, exec_request_iterator: AsyncIterator[v1.ExecRequest]) -> AsyncIterator[v1.ExecResponse]:
        async for each in self._session(exec_request_iterator, v1.ExecResponse):
            yield each

    async def run(self, run_request_iterator: AsyncIterator[v1.RunRequest]) -> AsyncIterator[v1.RunResponse]:
        async for each in self._session(run_request_iterator, v1.RunResponse):
            yield each

    async def _session(self, requests: AsyncIterator[Any], kind: type[Any]) -> AsyncIterator[Any]:
        start = (await anext(requests)).start
        held = Held(start)
        self.sessions.append(held)
        if prepared := self._answer(start):
            async for each in self._each(prepared):
                yield each
            return
        is_run = isinstance(start, v1.RunStart)
        command = start.command or ["/bin/sh"]
        name = Path(command[0]).name
        yield kind(started=v1.SessionStarted(name, f"{start.service}-{start.component}", RUN if is_run else ""))
        if is_run and start.detach:
            return
        program = Program(held, command)
        try:
            async for part, data in program.output(requests, deaf=self.is_deaf):
                yield kind(**{part: data})
            status = await program.status()
            yield kind(ended=v1.SessionEnded(status, self.ending))
        except (GeneratorExit, asyncio.CancelledError):
            held.was_left = True
            raise
        finally:
            program.close()


class Program:
    def __init__(self, held: Held, command: list[str]) -> None:
        self._held = held
        start = held.start
        environment = {"PATH": os.environ["PATH"], **start.env}
        # What the tests run in may ignore Ctrl-C, as a shell's background jobs do.
        command = ["env", "--default-signal=INT,QUIT", *command]
        self._has_terminal = "terminal" in start.to_dict()
        if self._has_terminal:
            ours, theirs = pty.openpty()
            self._resize(ours, start.terminal)
            self._stdin: int | None = ours
            self._outputs = {"stdout": os.dup(ours)}
            # setsid(1) makes the pty the terminal of its session, so that what is typed there can be a signal.
            command = ["setsid", "--ctty", *command]
            self._process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
            os.close(theirs)
        else:
            pipe = subprocess.PIPE
            stdin = pipe if start.has_input else subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, stdin=stdin, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
            assert self._process.stdout
            assert self._process.stderr
            self._stdin = os.dup(self._process.stdin.fileno()) if self._process.stdin else None
            if self._process.stdin:
                self._process.stdin.close()
            self._outputs = {
                "stdout": os.dup(self._process.stdout.fileno()),
                "stderr": os.dup(self._process.stderr.fileno()),
            }
            self._process.stdout.close()
            self._process.stderr.close()
        held.process = self._process
        self._tasks: list[asyncio.Task[None]] = []

    async def output(self, requests: AsyncIterator[Any], *, deaf: bool) -> AsyncIterator[tuple[str, bytes]]:
        chunks: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(1)

        async def read(part: str, descriptor: int) -> None:
            # EIO: nobody has the pty's other end any more.
            with contextlib.suppress(OSError):
                while data := await self._ready(descriptor, CHUNK):
                    await chunks.put((part, data))
            await chunks.put((part, b""))

        self._tasks = [asyncio.create_task(read(*each)) for each in self._outputs.items()]
        if not deaf:
            self._tasks.append(asyncio.create_task(self._take(requests)))
        open_ = set(self._outputs)
        while open_:
            part, data = await chunks.get()
            if data:
                yield part, data
            else:
                open_.remove(part)

    async def _ready(self, descriptor: int, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, size)

    async def _take(self, requests: AsyncIterator[Any]) -> None:
        held = self._held
        async for request in requests:
            part, value = betterproto.which_one_of(request, "part")
            if part == "stdin":
                held.received += len(value)
                held.largest = max(held.largest, len(value))
                await asyncio.to_thread(self._write, value)
            elif part == "end_of_input":
                assert not held.has_end
                held.has_end = True
                if self._stdin is not None and not self._has_terminal:
                    os.close(self._stdin)
                    self._stdin = None
            elif isinstance(value, v1.TerminalSize):
                held.sizes.append((value.rows, value.columns))
                assert self._stdin is not None
                self._resize(self._stdin, value)
            elif part == "signal":
                held.signals.append(value)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.Signals[value])
            else:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{part} comes too late")

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with contextlib.suppress(OSError):
            while left and self._stdin is not None:
                left = left[os.write(self._stdin, left) :]

    def _resize(self, descriptor: int, size: v1.TerminalSize) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))

    async def status(self) -> int:
        code = await asyncio.to_thread(self._process.wait)
        return 128 - code if code < 0 else code

    def close(self) -> None:
        for each in self._tasks:
            each.cancel()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for each in [*self._outputs.values(), *([self._stdin] if self._stdin is not None else [])]:
            os.close(each)


def running_programs(node: Node) -> SessionAgent:
    """Has the node run the programs of sessions."""
    agent = SessionAgent(node.agent.node)
    node.cut(for_good=True)
    node.agent = agent
    node.listen()
    return agent
