"""What is left of sessions when a client, podman or mcpd goes away at a bad moment: it ends, and nothing else does."""

# ruff: noqa: ARG001 - that the clock is asked for is what makes the test run on it

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from mcpd.changes.node import Node
from mcpd.config import settings
from mcpd.errors import UnavailableError
from mcpd.model import LABEL_DETACHED, LABEL_RUN, LABEL_RUN_OF, Container, Target
from mcpd.registry import sessions as table
from mcpd.registry.store import Registry
from mcpd.rpc import sessions as rpc
from mcpd.runtime import api_types
from mcpd.runtime.api import Api, NoSuchError
from mcpd.runtime.attached import STDOUT
from mcpd.runtime.programs import Program, Programs, TerminalSize
from mcpd.sessions.conversation import Ended
from mcpd.sessions.exec import Execution, Executions
from mcpd.sessions.places import Places
from mcpd.sessions.run_spec import Asked
from mcpd.sessions.runs import Runs
from monitor.model import Observed
from protos.mcp import v1 as wire
from tests.support.builders import container, recorded
from tests.unit.test_sessions import LIMITS, Person, frame, played, shell

SESSION = "5e5510" * 10
CONTAINER = "c0ffee" * 10
# Of a test that waits for real processes.
WITHIN_S = 20.0


# -- what both sides say


async def test_a_program_that_begins_like_podmans_words_and_goes_on_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    person = Person()
    async with shell() as it:

        async def play() -> None:
            await it.end.send_all(frame(STDOUT, b"Error: not so bad\n> "))
            await trio.sleep(LIMITS.idle / 2)
            assert person.heard(STDOUT) == b"Error: not so bad\n> "
            await it.end.send_all(frame(STDOUT, b"Error: "))
            await it.end.aclose()

        assert await played(person, it, play) == Ended(0)
    assert person.heard(STDOUT) == b"Error: not so bad\n> Error: "


async def test_a_client_that_takes_nothing_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async def send(_: Any) -> None:
        await trio.sleep_forever()

    client = rpc._Client(cast(Any, SimpleNamespace(is_over=False)), send, wire.ExecResponse)
    for told in (client.ended(Ended(0)), client.started("sh", "web-api")):
        with trio.fail_after(LIMITS.total), pytest.raises(UnavailableError, match="has taken nothing"):
            await told


async def test_what_podman_has_killed_since_its_time_was_up_has_a_status_that_can_be_sent() -> None:
    async with shell(status=-1) as it:
        ended = await played(Person(), it, it.end.aclose)
    assert ended
    assert ended.status == 137
    assert "podman has killed it" in ended.message
    assert bytes(wire.SessionEnded(ended.status, ended.message))


# -- exec


class Sessions:
    """The programs of a podman that takes its time: ``did`` is what it was asked for, in order."""

    def __init__(self, *, hangs: str = "", fails: str = "") -> None:
        self.did: list[str] = []
        self._hangs = hangs
        self._fails = fails

    async def prepare(self, container: str, program: Program) -> str:
        return SESSION

    async def start(self, session: str, size: TerminalSize | None) -> Any:
        self.did.append("starting")
        await trio.sleep(1)
        self.did.append("started")

        async def aclose() -> None:
            self.did.append("closed")

        return SimpleNamespace(aclose=aclose)

    async def hang_up(self, session: str) -> None:
        self.did.append(f"hang up {session[:4]}")
        if session == self._fails:
            raise UnavailableError("podman does not answer")
        if session == self._hangs:
            await trio.sleep_forever()


def a_node(registry: Registry, **podman: Any) -> Node:
    events: list[str] = []

    async def tell(_service: str, _component: str, _kind: str, message: str, _caller: str) -> None:
        events.append(message)

    made = SimpleNamespace(name="rift", registry=registry, podman=SimpleNamespace(**podman), tell=tell, events=events)
    return cast(Node, made)


async def test_what_is_being_started_is_waited_for_and_then_ended(
    registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    sessions = Sessions()
    node = a_node(registry, programs=sessions)
    execution = Execution(node, Places(settings.Sessions()), container(), Program(("sleep", "9")), set())
    with trio.move_on_after(0.5):
        async with execution.running():
            await trio.sleep_forever()
    assert sessions.did == ["starting", "started", "closed", "hang up 5e55"]


async def test_one_that_cannot_be_ended_keeps_no_other_from_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpd.sessions.exec._END_S", 0.05)
    sessions = Sessions(hangs="b" * 60, fails="a" * 60)
    for number, each in enumerate("abc"):
        await table.add(registry, each * 60, CONTAINER, datetime(2027, 1, 1, 0, number, tzinfo=UTC))
    executions = Executions(a_node(registry, programs=sessions), Places(settings.Sessions()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executions.keep)
        with trio.fail_after(WITHIN_S):
            while len(await table.all_of_them(registry)) > 2:  # noqa: ASYNC110 (it tells nobody)
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert sessions.did == [f"hang up {each * 4}" for each in "abc"]


# -- which process


def programs(answer: api_types.Session) -> Programs:
    class Asked:
        async def ask(self, *_: Any) -> api_types.Session:
            return answer

    return Programs(cast(Api, Asked()))


# Started as conmon starts a program: by a parent that has the session among its arguments, in a session of its own.
_CONMON = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


@contextmanager
def conmon(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A stand-in for conmon, and the number of its program."""
    command = [sys.executable, "-c", _CONMON, "-c", CONTAINER, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        number = int(parent.stdout.readline())
        try:
            yield parent, number
        finally:
            subprocess.run(["kill", "-9", str(number)], check=False, stderr=subprocess.DEVNULL)
            parent.kill()


async def ends(parent: subprocess.Popen[bytes]) -> bool:
    with trio.move_on_after(WITHIN_S):
        while parent.poll() is None:  # noqa: ASYNC110 (it tells nobody)
            await trio.sleep(0.02)
    return parent.poll() is not None


async def test_a_number_that_is_another_process_by_now_is_left_alone() -> None:
    with conmon("-u", "another") as (parent, number):
        stale = programs(api_types.Session(0, CONTAINER, running=True, pid=number))
        await stale.hang_up(SESSION)
        await stale.signal(SESSION, 9)
        assert parent.poll() is None
        # The same with the right one.
        await stale.hang_up("another")
        assert await ends(parent)


async def test_what_podman_has_lost_sight_of_is_found_and_ended() -> None:
    with conmon("-u", SESSION) as (parent, _):
        await programs(api_types.Session(125, CONTAINER)).hang_up(SESSION)
        assert await ends(parent)


# -- run


class Containers:
    """A podman with runs, by name. While it is ``down``, it does not answer."""

    def __init__(self, *made: Container) -> None:
        self.timeouts: list[int] = []
        self.over = api_types.InspectedState("exited", finished_at=datetime.now(UTC))
        self.found = {each.name: each for each in made}
        self.down = False
        self.slow = 0.0

    def _answers(self) -> None:
        if self.down:
            raise UnavailableError("podman does not answer")

    async def runs(self, service: str = "") -> tuple[Container, ...]:
        self._answers()
        return tuple(self.found.values())

    async def create(self, spec: Mapping[str, Any]) -> str:
        """Whoever asked for it may go: it is made all the same."""
        self._answers()
        made = trio.Event()
        self.timeouts.append(spec["timeout"])

        async def make() -> None:
            await trio.sleep(self.slow)
            self.found[spec["name"]] = a_run(spec["name"], spec["labels"])
            made.set()

        trio.lowlevel.spawn_system_task(make)
        await made.wait()
        return "new"

    async def start(self, name: str) -> None:
        self._answers()

    async def stop(self, name: str, timeout: timedelta) -> None:
        self._answers()
        self._named(name)

    async def remove(self, name: str) -> None:
        self._answers()
        del self.found[self._named(name).name]

    async def rename(self, name: str, to: str) -> None:
        self._answers()
        self.found[to] = self.found.pop(self._named(name).name)

    async def inspect(self, name: str) -> api_types.Inspected:
        self._answers()
        found = next((key for key, each in self.found.items() if name in (each.id, key)), "")
        if not found:
            raise NoSuchError("no such container", 404)
        return api_types.Inspected(name, found, "x", self.over, api_types.InspectedConfig(timeout=5))

    def _named(self, name: str) -> Container:
        for each in self.found.values():
            if name in (each.id, each.name):
                return each
        raise NoSuchError("no such container", 404)


def a_run(name: str, labels: Mapping[str, str] = {}) -> Container:
    known = {LABEL_RUN: "abc234", LABEL_RUN_OF: "web/api", **labels}
    return container(name=name, id=f"id of {name}", labels=known, state=Observed.RUNNING)


@asynccontextmanager
async def one_offs(
    registry: Registry, podman: Containers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Runs, Node]]:
    names = ("runs", "create", "start", "stop", "remove", "rename", "inspect")
    node = a_node(registry, **{name: getattr(podman, name) for name in names})
    made = Runs(node, Places(settings.Sessions()))

    async def attach(*_: Any) -> Any:
        async def aclose() -> None:
            return

        return SimpleNamespace(aclose=aclose)

    async def program(*_: Any) -> str:
        return "sh"

    monkeypatch.setattr(made, "_attach", attach)
    monkeypatch.setattr(made, "_program", program)
    monkeypatch.setattr("mcpd.sessions.runs.provide", attach)
    monkeypatch.setattr("mcpd.sessions.runs.surroundings", attach)
    monkeypatch.setattr("mcpd.sessions.runs.container_spec", lambda *_: {"name": _[0], "networks": {}})
    monkeypatch.setattr(made, "_have_image", attach)
    yield made, node


WATCHED = Asked(Target("web", "api"), Program(("sh",)))
DETACHED = WATCHED._replace(detach=True)


async def is_so(condition: Any) -> None:
    with trio.fail_after(600):
        while not condition():  # noqa: ASYNC110 (it tells nobody)
            await trio.sleep(0.5)


async def test_what_somebody_watches_is_not_taken_for_left_over_when_podman_came_late(
    registry: Registry, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = Containers(a_run("web-api.run-zzz999"))
    podman.down = True
    async with one_offs(registry, podman, monkeypatch) as (runs, _), trio.open_nursery() as nursery:
        nursery.start_soon(runs.keep)
        await trio.sleep(1)
        podman.down = False
        async with runs.running(recorded(), WATCHED, "kyle") as run:
            await is_so(lambda: "web-api.run-zzz999" not in podman.found)
            assert list(podman.found) == [run.started.container]
        assert not podman.found
        nursery.cancel_scope.cancel()


async def test_a_run_that_could_not_be_removed_is_removed_later(
    registry: Registry, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = Containers()
    async with one_offs(registry, podman, monkeypatch) as (runs, _), trio.open_nursery() as nursery:
        nursery.start_soon(runs.keep)
        await trio.sleep(1)
        async with runs.running(recorded(), WATCHED, "kyle"):
            podman.down = True
        await trio.sleep(100)
        assert podman.found
        podman.down = False
        await is_so(lambda: not podman.found)
        nursery.cancel_scope.cancel()


async def test_a_client_that_goes_while_the_container_is_made_leaves_none(
    registry: Registry, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = Containers()
    podman.slow = 5.0
    async with one_offs(registry, podman, monkeypatch) as (runs, _):
        with trio.move_on_after(1):
            async with runs.running(recorded(), WATCHED, "kyle"):
                await trio.sleep_forever()
        await trio.sleep(60)
    assert not podman.found


async def test_a_detached_run_is_watched_whatever_podman_answers_just_then(
    registry: Registry, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = Containers()
    async with one_offs(registry, podman, monkeypatch) as (runs, node), trio.open_nursery() as nursery:
        nursery.start_soon(runs.keep)
        await trio.sleep(1)
        async with runs.running(recorded(container="x.run-y"), DETACHED, "kyle") as run:
            podman.down = True
        assert LABEL_DETACHED in podman.found[run.started.container].labels
        await trio.sleep(60)
        podman.down = False
        # Its name says that it was told: of the component's, nothing changes.
        await is_so(lambda: f"x.run-y.ended-{run.started.run}" in podman.found)
        nursery.cancel_scope.cancel()
    assert len([each for each in node.events if "ended" in each]) == 1  # type: ignore[attr-defined]


async def test_mcpd_ends_what_somebody_watches_before_podman_does(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = Containers()
    async with one_offs(registry, podman, monkeypatch) as (runs, _):
        for asked in (WATCHED, DETACHED):
            async with runs.running(recorded(), asked, "kyle"):
                pass
    total = settings.Sessions().max_duration.total_seconds()
    watched, detached = podman.timeouts
    assert (watched > total, detached) == (True, total)


@pytest.mark.parametrize(
    ("state", "words", "stays"),
    [
        (api_types.InspectedState("exited", exit_code=-1), "timed out: it ran for 5 s", True),
        (api_types.InspectedState("created", started_at=datetime(2027, 1, 1, tzinfo=UTC)), "nobody knows how", False),
        (api_types.InspectedState("created"), "", False),
    ],
)
async def test_how_a_detached_run_ended_is_told(
    state: api_types.InspectedState,
    words: str,
    stays: bool,
    registry: Registry,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    podman = Containers(a_run("web-api.run-abc234", {LABEL_DETACHED: "true"}))
    podman.over = state
    async with one_offs(registry, podman, monkeypatch) as (runs, node), trio.open_nursery() as nursery:
        nursery.start_soon(runs.keep)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert bool(podman.found) is stays
    assert words in "".join(node.events)  # type: ignore[attr-defined]
    assert len(node.events) == bool(words)  # type: ignore[attr-defined]
