"""The RPCs that run programs: Exec, Run and StopRun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import betterproto
import trio

from mcpd.errors import InvalidRequestError, UnavailableError
from mcpd.model import Caller, Target
from mcpd.rpc.messages import Message, Requests, Send, send_within
from mcpd.rpc.methods import Conversation, Method
from mcpd.rpc.streams import STALL_S
from mcpd.runtime.attached import STDERR, Chunk
from mcpd.runtime.programs import Program, TerminalSize
from mcpd.sessions.conversation import Data, Ended, EndOfInput, Said, Signal
from mcpd.sessions.exec import Executions
from mcpd.sessions.program_name import check_program
from mcpd.sessions.run_spec import Asked, UnstartedError
from mcpd.sessions.runs import Runs
from protos import grammar, podman_notation
from protos.mcp import v1 as wire
from protos.naming import is_name

# A client that begins says at once what it wants.
_START_S = 60.0
# Of messages: what it costs to hold one is bounded by `streams.MAX_MESSAGE_BYTES`.
_MOST_WORDS = 4096
# As the kernel has it (struct winsize, ioctl_tty(2)).
_MOST_ROWS = 65535


class SessionMethods:
    def __init__(self, executions: Executions, one_offs: Runs) -> None:
        self._executions = executions
        self._runs = one_offs

    @property
    def methods(self) -> dict[str, Method]:
        return {"StopRun": self.stop_run}

    @property
    def conversations(self) -> dict[str, Conversation]:
        return {"Exec": self.exec, "Run": self.run}

    async def exec(self, requests: Requests, caller: Caller, send: Send) -> None:
        client = _Client(requests, send, wire.ExecResponse)
        start: wire.ExecStart = await client.start()
        target = _target(start)
        requests.concerns(target, "")
        check_program(*start.command[:1])
        requests.concerns(target, start.command[0] if start.command else "")
        execution = await self._executions.find(target, _program(start, start.command))
        requests.concerns(target, execution.started.program)
        async with execution.running() as running:
            await client.started(execution.started.program, execution.started.container)
            # Told at once: what is left to do concerns nobody else.
            await client.ended(await execution.talk(running, client))

    async def run(self, requests: Requests, caller: Caller, send: Send) -> None:
        client = _Client(requests, send, wire.RunResponse)
        start: wire.RunStart = await client.start()
        target = _target(start)
        requests.concerns(target, "")
        component = await self._executions.component(target)
        asked = Asked(target, _program(start, start.command), start.entrypoint, start.detach)
        try:
            async with self._runs.running(component, asked, caller.name) as run:
                requests.concerns(target, run.started.program)
                await client.started(run.started.program, run.started.container, run.started.run)
                ended = None if asked.detach else await run.talk(client)
        except UnstartedError as error:
            if asked.detach or not error.status:
                raise
            ended = Ended(error.status, str(error))
        if ended:
            await client.ended(ended)

    async def stop_run(self, request: wire.StopRunRequest, caller: Caller) -> wire.StopRunResponse:
        if not request.run:
            raise InvalidRequestError("which run is missing; `mcpctl top` shows them")
        component = await self._executions.component(Target(request.service, request.component))
        await self._runs.stop(Target(component.service, component.spec.name), request.run, caller.name)
        return wire.StopRunResponse()


class _Client:
    """A `mcpd.sessions.conversation.Client` at the other end of a call."""

    def __init__(self, requests: Requests, send: Send, answer: Callable[..., Message]) -> None:
        self._requests = requests
        self._send = send
        self._answer = answer
        self._pending: list[Any] = []

    async def start(self) -> Any:
        """The first message. Raises InvalidRequestError, UnavailableError."""
        with trio.move_on_after(_START_S):
            messages = await self._requests.batch()
            if not messages or betterproto.which_one_of(messages[0], "part")[0] != "start":
                raise InvalidRequestError("a session begins with what to run: service, component and command")
            self._pending = messages[1:]
            return messages[0].start
        raise UnavailableError("the client has not said what to run")

    async def started(self, program: str, container: str, run: str = "") -> None:
        await self._send_soon(self._answer(started=wire.SessionStarted(program, container, run)))

    async def ended(self, ended: Ended) -> None:
        self._requests.is_over = True
        await self._send_soon(self._answer(ended=wire.SessionEnded(ended.status, ended.message)))

    async def _send_soon(self, answer: Message) -> None:
        """Outside of the limits of what both say: a client that takes nothing must not hold its place for that.

        Raises UnavailableError.
        """
        await send_within(STALL_S, self._send, answer)

    async def tell(self, chunks: list[Chunk]) -> None:
        await self._send(
            [self._answer(stderr=data) if stream == STDERR else self._answer(stdout=data) for stream, data in chunks]
        )

    async def said(self) -> list[Said]:
        messages, self._pending = self._pending or await self._requests.batch(), []
        return [_said(each) for each in messages]


def _said(message: Any) -> Said:
    kind, _ = betterproto.which_one_of(message, "part")
    match kind:
        case "stdin":
            return Data(message.stdin)
        case "end_of_input":
            return EndOfInput()
        case "size":
            return _size(message.size)
        case "signal":
            try:
                return Signal(podman_notation.signal(message.signal))
            except ValueError as error:
                raise InvalidRequestError(f"signal: {error}") from None
    raise InvalidRequestError("what to run is followed by input, sizes and signals")


def _target(start: wire.ExecStart | wire.RunStart) -> Target:
    """Raises InvalidRequestError."""
    for name, value in (("service", start.service), ("component", start.component)):
        if value and not is_name(value):
            raise InvalidRequestError(f"{name}: {grammar.quoted(value)} is not a name")
    if not start.service:
        raise InvalidRequestError("service: is missing")
    return Target(start.service, start.component)


def _program(start: wire.ExecStart | wire.RunStart, command: list[str]) -> Program:
    """Raises InvalidRequestError."""
    if len(command) > _MOST_WORDS or len(start.env) > _MOST_WORDS:
        raise InvalidRequestError(f"command and env have at most {_MOST_WORDS} words each")
    if command and not command[0]:
        raise InvalidRequestError("command: the program has an empty name")
    for key, words in (
        ("command", command),
        ("env", [*start.env, *start.env.values()]),
        ("user", [start.user]),
        ("workdir", [start.workdir]),
    ):
        if any("\0" in each for each in words):
            raise InvalidRequestError(f"{key}: has a NUL byte, which no program can be given")
    _check_names(start.env)
    return Program(
        tuple(command),
        _size(start.terminal) if start.terminal is not None else None,
        start.has_input,
        dict(start.env),
        start.user,
        start.workdir,
    )


def _check_names(env: Mapping[str, str]) -> None:
    for name in env:
        try:
            grammar.env_name(name)
        except ValueError as error:
            raise InvalidRequestError(f"env: {error}") from None


def _size(size: wire.TerminalSize) -> TerminalSize:
    """Raises InvalidRequestError. A terminal that does not know its size has 0 of each."""
    if size.rows > _MOST_ROWS or size.columns > _MOST_ROWS:
        raise InvalidRequestError(f"size: a terminal has at most {_MOST_ROWS} rows and columns")
    return TerminalSize(size.rows or 24, size.columns or 80)
