"""Programs that an operator runs in containers: what both sides say, in which order, and within which limits."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

from mcpd.config import settings
from mcpd.errors import ExhaustedError, InvalidRequestError, RefusedError, UnavailableError
from mcpd.model import Target
from mcpd.rpc import sessions as rpc
from mcpd.runtime.api import PodmanError
from mcpd.runtime.attached import STDERR, STDOUT, Attached, Chunk
from mcpd.runtime.programs import Program, TerminalSize
from mcpd.sessions import run_spec
from mcpd.sessions.conversation import (
    Data,
    Ended,
    EndOfInput,
    Limits,
    Running,
    Said,
    Signal,
    converse,
    why_ended,
)
from mcpd.sessions.places import Places
from mcpd.sessions.program_name import check_program
from protos.mcp import v1 as wire
from protos.parts import Route
from tests.support.builders import component

LIMITS = Limits(idle=60.0, total=600.0)
NOT_FOUND = (
    b'Error: runc: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH:'
    b" OCI runtime attempted to invoke a command that was not found\n"
)


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class Person:
    """Says what it is given, one thing after the other, and keeps what it is told."""

    def __init__(self, *says: Said | float) -> None:
        """Between two things, seconds of silence."""
        self._says = list(says)
        self.told: list[Chunk] = []

    async def said(self) -> list[Said]:
        while self._says:
            match self._says.pop(0):
                case float(seconds):
                    await trio.sleep(seconds)
                case said:
                    return [said]
        await trio.sleep_forever()
        return []

    async def tell(self, chunks: list[Chunk]) -> None:
        self.told += chunks

    def heard(self, stream: int) -> bytes:
        return b"".join(data for each, data in self.told if each == stream)


class Shell:
    """A program behind podman's connection, as a test plays it: ``end`` is the other end of it."""

    def __init__(self, running: Running, end: trio.SocketStream) -> None:
        self.running = running
        self.end = end
        self.done: list[Any] = []


@asynccontextmanager
async def shell(*, has_terminal: bool = False, status: int = 0) -> AsyncIterator[Shell]:
    ours, theirs = trio.socket.socketpair()
    done: list[Any] = []

    async def resize(size: TerminalSize) -> None:
        done.append(size)

    async def send(number: int) -> None:
        done.append(number)

    async def exit_code() -> int:
        return status

    attached = Attached(trio.SocketStream(ours), b"", has_terminal=has_terminal)
    made = Shell(Running(attached, resize, send, exit_code, has_terminal), trio.SocketStream(theirs))
    made.done = done
    async with made.end:
        yield made
        await attached.aclose()


async def played(person: Person, it: Shell, play: Callable[[], Any], limits: Limits = LIMITS) -> Ended | None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        return await converse(it.running, person, limits)
    raise AssertionError("it returns above")


async def test_output_comes_by_its_stream_and_the_status_is_the_programs() -> None:
    person = Person()
    async with shell(status=7) as it:

        async def play() -> None:
            whole = frame(STDOUT, b"out\n") + frame(STDERR, b"err\n")
            await it.end.send_all(whole[:5])  # a header may come in parts
            await it.end.send_all(whole[5:])
            await it.end.send_eof()

        assert await played(person, it, play) == Ended(7)
    assert (person.heard(STDOUT), person.heard(STDERR)) == (b"out\n", b"err\n")


async def test_input_sizes_and_signals_reach_the_program_in_their_order() -> None:
    person = Person(Data(b"a"), TerminalSize(10, 20), Data(b"b"), Signal(signal.SIGINT), EndOfInput(), Data(b"lost"))
    async with shell() as it:
        got = bytearray()

        async def play() -> None:
            while data := await it.end.receive_some():
                got.extend(data)
            await trio.testing.wait_all_tasks_blocked()
            await it.end.aclose()

        await played(person, it, play)
    assert got == b"ab"
    assert it.done == [TerminalSize(10, 20), signal.SIGINT]


async def test_at_a_terminal_the_end_of_input_is_what_ctrl_d_sends() -> None:
    async with shell(has_terminal=True) as it:

        async def play() -> None:
            assert await it.end.receive_some() == b"\x04"
            await it.end.send_all(b"bye")
            await it.end.aclose()

        person = Person(EndOfInput())
        await played(person, it, play)
    assert person.heard(STDOUT) == b"bye"


async def test_a_program_that_reads_no_more_is_still_heard_out() -> None:
    person = Person(*(Data(b"x" * 65536) for _ in range(40)))
    async with shell(status=3) as it:

        async def play() -> None:
            await it.end.send_all(frame(STDOUT, b"enough"))
            await it.end.aclose()

        assert await played(person, it, play) == Ended(3)


@pytest.mark.parametrize("has_terminal", [False, True])
async def test_what_podman_says_in_place_of_a_program_is_a_message_and_no_output(has_terminal: bool) -> None:
    person = Person()
    async with shell(has_terminal=has_terminal, status=127) as it:

        async def play() -> None:
            said = NOT_FOUND if has_terminal else frame(STDERR, NOT_FOUND) + frame(STDERR, b"Error: read unixpacket\n")
            await it.end.send_all(said)
            await it.end.aclose()

        ended = await played(person, it, play)
    assert ended == Ended(127, 'podman could not start it: exec: "nosuch": executable file not found in $PATH')
    assert person.told == []


@pytest.mark.parametrize("status", [0, 127])
async def test_a_program_may_print_what_looks_like_podmans_words(status: int) -> None:
    person = Person()
    async with shell(status=status) as it:

        async def play() -> None:
            await it.end.send_all(frame(STDERR, b"Error: no such thing\n"))
            await it.end.send_all(frame(STDOUT, b"more"))
            await it.end.aclose()

        assert await played(person, it, play) == Ended(status)
    assert (person.heard(STDERR), person.heard(STDOUT)) == (b"Error: no such thing\n", b"more")


async def test_silence_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    began = autojump_clock.current_time()
    async with shell() as it:
        assert await converse(it.running, Person(), LIMITS) is None
    assert autojump_clock.current_time() - began == pytest.approx(LIMITS.idle)
    assert "idle_timeout" in why_ended(LIMITS, began).message
    assert "1m" in why_ended(LIMITS, began).message


async def test_who_says_something_now_and_then_is_not_silent(autojump_clock: trio.testing.MockClock) -> None:
    said: list[Said | float] = [each for _ in range(8) for each in (50.0, Data(b"."))]
    began = autojump_clock.current_time()
    async with shell() as it:
        assert await converse(it.running, Person(*said), LIMITS) is None
    assert autojump_clock.current_time() - began == pytest.approx(8 * 50 + LIMITS.idle)


async def test_the_longest_time_ends_what_is_never_silent(autojump_clock: trio.testing.MockClock) -> None:
    said: list[Said | float] = [each for _ in range(100) for each in (10.0, Data(b"."))]
    began = autojump_clock.current_time()
    async with shell() as it:
        assert await converse(it.running, Person(*said), LIMITS) is None
    assert autojump_clock.current_time() - began == pytest.approx(LIMITS.total)
    assert "max_duration" in why_ended(LIMITS, began).message
    assert "10m" in why_ended(LIMITS, began).message


# -- how many


def test_there_are_so_many_places_and_no_more() -> None:
    places = Places(settings.Sessions(max=2))
    with places.taken("exec"), places.taken("run"):
        assert places.open == {"exec": 1, "run": 1}
        with pytest.raises(ExhaustedError, match="2 sessions"), places.taken("exec"):
            pass
    with places.taken("exec"):
        pass
    assert places.open.total() == 0
    assert places.begun == {"exec": 2, "run": 1}


def test_detached_runs_are_as_few() -> None:
    places = Places(settings.Sessions(max=2))
    places.check_detached(1)
    with pytest.raises(ExhaustedError, match="2 detached runs"):
        places.check_detached(2)


def test_a_node_may_allow_none() -> None:
    with pytest.raises(RefusedError, match="max = 0"), Places(settings.Sessions(max=0)).taken("exec"):
        pass


# -- what a run is made from


def test_a_run_has_nothing_that_only_one_container_can_have() -> None:
    spec = component(
        "api",
        ports=("8080:80",),
        routes=(Route("a.example", 80),),
        restart="always",
        hostname="api",
        env={"A": "1", "B": "2"},
        cmd=("serve",),
        entrypoint=("/app",),
        stop_timeout=timedelta(seconds=3),
    )
    made = run_spec.of_a_run(spec, run_spec.Asked(Target("web", "api"), Program(("migrate",), env={"B": "3"})))
    assert (made.ports, made.routes, made.restart, made.hostname) == ((), (), "no", None)
    assert made.health
    assert made.health.disable
    assert (made.entrypoint, made.cmd) == (("/app",), ("migrate",))
    assert made.env == {"A": "1", "B": "3"}
    assert made.stop_timeout == spec.stop_timeout


@pytest.mark.parametrize(
    ("asked", "runs_what"),
    [
        ({}, (("/app",), ("serve",))),
        ({"command": ("x",)}, (("/app",), ("x",))),
        ({"entrypoint": "/bin/sh"}, (("/bin/sh",), ())),
        ({"entrypoint": "/bin/sh", "command": ("-c", "x")}, (("/bin/sh",), ("-c", "x"))),
    ],
)
def test_which_program_a_run_starts(asked: dict[str, Any], runs_what: tuple[tuple[str, ...], ...]) -> None:
    program = Program(asked.get("command", ()))
    spec = component("api", cmd=("serve",), entrypoint=("/app",))
    made = run_spec.of_a_run(spec, run_spec.Asked(Target("web"), program, asked.get("entrypoint")))
    assert (made.entrypoint, made.cmd) == runs_what


# -- at the edge


class Requests:
    """What a client sends, in batches."""

    def __init__(self, *batches: list[Any]) -> None:
        self._batches = list(batches)
        self.target = ""
        self.is_over = False

    async def batch(self) -> list[Any]:
        return self._batches.pop(0) if self._batches else []

    def concerns(self, request: Any, program: str = "") -> None:
        self.target = f"{request} {program}".strip()


async def nowhere(_: Any) -> None:
    """What is sent is not looked at."""


@pytest.mark.parametrize("first", [[], [wire.ExecRequest(stdin=b"x")], [wire.ExecRequest()]])
async def test_a_session_begins_with_what_to_run(first: list[Any]) -> None:
    client = rpc._Client(Requests(first), nowhere, wire.ExecResponse)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="begins with what to run"):
        await client.start()


async def test_a_client_that_says_nothing_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    class Silent(Requests):
        async def batch(self) -> list[Any]:
            await trio.sleep_forever()
            return []

    began = autojump_clock.current_time()
    with pytest.raises(UnavailableError):
        await rpc._Client(Silent(), nowhere, wire.ExecResponse).start()  # type: ignore[arg-type]
    assert autojump_clock.current_time() > began


async def test_what_came_with_the_start_is_not_lost() -> None:
    start = wire.ExecRequest(start=wire.ExecStart("web"))
    requests = Requests([start, wire.ExecRequest(stdin=b"a")], [wire.ExecRequest(end_of_input=wire.EndOfInput())])
    client = rpc._Client(requests, nowhere, wire.ExecResponse)  # type: ignore[arg-type]
    await client.start()
    assert [await client.said(), await client.said(), await client.said()] == [[Data(b"a")], [EndOfInput()], []]


@pytest.mark.parametrize(
    "message",
    [
        wire.ExecRequest(start=wire.ExecStart("web")),
        wire.ExecRequest(),
        wire.ExecRequest(signal="SIGNOTHING"),
        wire.ExecRequest(signal="0"),
        wire.ExecRequest(size=wire.TerminalSize(70000, 1)),
    ],
)
async def test_what_makes_no_sense_is_refused(message: wire.ExecRequest) -> None:
    client = rpc._Client(Requests([message]), nowhere, wire.ExecResponse)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        await client.said()


@pytest.mark.parametrize(
    "start",
    [
        wire.ExecStart("web", command=[""]),
        wire.ExecStart("web", command=["a\0b"]),
        wire.ExecStart("web", env={"A=B": "x"}),
        wire.ExecStart("web", env={"A": "x\0"}),
        wire.ExecStart("web", user="a\0"),
        wire.ExecStart("web", command=["x"] * 5000),
        wire.ExecStart("web", terminal=wire.TerminalSize(1, 99999)),
    ],
)
def test_what_no_program_can_be_given_is_refused(start: wire.ExecStart) -> None:
    with pytest.raises(InvalidRequestError) as told:
        rpc._program(start, start.command)
    assert "x\0" not in str(told.value)


@pytest.mark.parametrize("start", [wire.ExecStart(""), wire.ExecStart("../a"), wire.ExecStart("web", "a b")])
def test_a_target_is_names(start: wire.ExecStart) -> None:
    with pytest.raises(InvalidRequestError):
        rpc._target(start)


def test_arguments_and_environment_are_in_no_representation() -> None:
    program = Program(("psql", "--password=planted"), env={"A": "planted"})
    assert "planted" not in f"{program!r} {program}"


@pytest.mark.parametrize("program", ["psql", "/a=b/c", "./x=y", ""])
def test_what_a_program_may_be_called(program: str) -> None:
    check_program(program)


def test_a_variable_in_a_programs_place_is_refused_without_its_value() -> None:
    with pytest.raises(InvalidRequestError, match="-e PGPASSWORD=VALUE") as told:
        check_program("PGPASSWORD=planted")
    assert "planted" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "is_typed", "status", "told"),
    [
        ('exec: "nope": executable file not found in $PATH', True, 127, ""),
        ('exec: "nope": executable file not found in $PATH', False, 127, "no such program: check `entrypoint`"),
        ('exec: "/bin/nope": stat /bin/nope: no such file or directory', True, 127, ""),
        ('exec: "/www": permission denied', True, 126, ""),
        ("executable file `nope` not found in $PATH", True, 127, ""),
        (f'workdir "/nope" does not exist on container {"0a" * 32}', True, 0, "has no folder /nope"),
        ("unable to find user nobody9: no matching entries in passwd file", True, 0, "no such user"),
    ],
)
def test_a_run_that_podman_does_not_start_has_a_shells_status(
    words: str, is_typed: bool, status: int, told: str
) -> None:
    start = "preparing container 0a0a for attach: " if not status else "runc: unable to start container process: "
    error = PodmanError(f"{start}{words}: OCI runtime attempted", 500)
    found = run_spec.unstarted(component(), error, is_typed=is_typed)
    assert found.status == status
    assert words.partition(" on container ")[0] in str(found)
    assert "0a0a" not in str(found)
    assert told in str(found)
    assert ("check" in str(found)) == bool(told)
