"""A month of a node's jobs, by its seed: the real keeper and the real registry's SQL over a podman that is pretended.

mcpd is killed at any effect, stopped for days, kept from podman and from its disk; clocks are set; runs are slow and
fail; operations hold services and stop what runs; people ask for runs.
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

import msgspec
import structlog
import trio
from trio.testing import MockClock

from mcpd.changes.config_files import ConfigFiles
from mcpd.changes.jobs import keeper, records, runs
from mcpd.changes.jobs.due import next_due
from mcpd.changes.jobs.ending import ending
from mcpd.changes.jobs.keeper import Jobs
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import BusyError, McpdError, RefusedError, UnavailableError, UnwritableError
from mcpd.model import OURSELVES, Caller, Container, Role, Target
from mcpd.registry import jobs as rows
from mcpd.registry.job_ledger import JobLedger, Key
from mcpd.registry.journal import Journal
from mcpd.registry.monitoring import MonitorLedger
from mcpd.routing.router import Router
from mcpd.runtime.api import PodmanError
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.podman import Podman
from monitor import pidfd
from monitor.model import Alert, Observed, Sighting
from protos.fingerprint import spec_hash
from protos.spec import Component, Service

from .history import InlineRegistry, Spinning, schedule_by

T = TypeVar("T")

MONTH_S = 30 * 86_400.0
# Clocks are looked at less often than in truth: it is most of what happens while nothing does.
LOOK_S = 7200.0
# Longer than mcpd needs to begin what is due, and than it waits to try again.
_MOMENT_S = 150.0
# Until mcpd has found out that its disk is not full any more, and has written what waited for that.
_WRITTEN_S = LOOK_S + _MOMENT_S
# A history takes some hundred thousand steps of tasks.
_MAX_STEPS = 5_000_000
# Both have a night in which Berlin's clocks change.
STARTS = (datetime(2027, 3, 10, tzinfo=UTC), datetime(2027, 10, 10, tzinfo=UTC))
SCHEDULES = ("30 2 * * *", "0 */6 * * *", "15 2,3,14 * * *", "*/40 * * * *", "7 4 * * mon,thu", "0 3 1,15 * *")
# Some of them in every history.
_WEIGHTS = (6, 4, 4, 1, 3, 2)
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe")
OPERATOR = Caller("kyle", Role.ADMIN)
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class KilledError(BaseException):
    """What a daemon that was killed does next: nothing."""


@dataclass
class Began:
    """A run of a container, as it truly was: by the wall clock, and (``since``, ``ended``) by Trio's."""

    key: Key
    started_at: datetime
    since: float
    code: int
    ended: float | None = None
    finished_at: datetime | None = None


@dataclass
class Made:
    """A job's container."""

    key: Key
    number: int
    runs: list[Began] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)

    @property
    def going(self) -> Began | None:
        return self.runs[-1] if self.runs and self.runs[-1].ended is None else None


class Disk(InlineRegistry):
    """``gate`` is called before and after each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Callable[[], None] = lambda: None
        # How many fill it up.
        self.full = 0

    async def transact(
        self, transaction: Callable[[sqlite3.Connection], T], *, changes_services: bool = False, durable: bool = True
    ) -> T:
        self.gate()
        if self.full:
            await trio.lowlevel.checkpoint()
            raise UnwritableError("the disk is full")
        if changes_services:
            self._known = None
        result = await super().transact(transaction, changes_services=changes_services, durable=durable)
        self.gate()
        return result

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        await trio.lowlevel.checkpoint()
        return question(self._writer)


class World:
    """One node for a month.

    ``forgets``: mcpd ends as well while its disk is full, with what is only in memory. ``hasty``: somebody asks for a
    run as soon as mcpd has begun.
    """

    def __init__(
        self,
        seed: int,
        *,
        calm: bool = False,
        steps_far: bool = False,
        fills_up: bool = False,
        forgets: bool = False,
        hasty: bool = False,
    ) -> None:
        self.draw = random.Random(seed)
        self.calm, self.steps_far, self.fills_up, self.forgets = calm, steps_far, fills_up or forgets, forgets
        self.hasty = hasty
        self.start = self.draw.choice(STARTS)
        self.offset = 0.0
        self.registry = Disk()
        self.components: dict[Key, Component] = {}
        self.made: dict[Key, Made] = {}
        self.told: list[Alert] = []
        self.is_down = False
        self.is_killed = False
        self.fuse: int | None = None
        self.jobs: Jobs | None = None
        self.operations: Operations | None = None
        # By Trio's clock: when what happens may be only in memory, and when mcpd ended.
        self.unwritten: list[tuple[float, float]] = []
        self.ends: list[float] = []
        self.refused = 0
        self.starts = 0
        self.log: list[Any] = []
        # The most that the wall clock was ahead of Trio's.
        self.ahead = 0.0
        self._nursery: trio.Nursery | None = None
        self._life: trio.CancelScope | None = None
        self._ended = trio.Event()

    # -- time

    def now(self) -> datetime:
        return self.start + timedelta(seconds=trio.current_time() - self.began + self.offset)

    @contextmanager
    def worn(self) -> Iterator[None]:
        world = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
                return world.now()

        with (
            mock.patch.object(keeper, "datetime", Clock),
            mock.patch.object(runs, "datetime", Clock),
            mock.patch.object(records, "datetime", Clock),
        ):
            yield

    # -- podman

    def effect(self) -> None:
        """Called before and after every effect of the daemon."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0 and self._life:
                self.is_killed = True
                self._life.cancel()
        if self.is_killed:
            raise KilledError

    async def _answers(self) -> None:
        self.effect()
        await trio.sleep(0.001)
        if self.is_down:
            raise UnavailableError("podman does not answer")

    async def containers(self, *, service: str = "", names: Collection[str] = ()) -> tuple[Container, ...]:
        await self._answers()
        return tuple(
            Container(
                id=f"c{made.number}",
                name="-".join(key),
                image="job:v1",
                image_id="",
                state=Observed.RUNNING if made.going else Observed.EXITED,
                pid=0,
                exit_code=None,
                started_at=None,
                finished_at=None,
                ports=(),
                labels={"mcp.service": key[0], "mcp.component": key[1]},
            )
            for key, made in self.made.items()
            if key[0] == service
        )

    async def inspect(self, name: str) -> Inspected:
        await self._answers()
        made = self._named(name)
        last = made.runs[-1] if made.runs else None
        ended = [each for each in made.runs if each.ended is not None]
        state = {
            "Status": "running" if made.going else "exited" if last else "created",
            "Pid": 1000 + made.number if made.going else 0,
            "ExitCode": ended[-1].code if ended and not made.going else 0,
            "StartedAt": last.started_at if last else _NEVER,
            "FinishedAt": ended[-1].finished_at if ended else _NEVER,
        }
        plain = {"Id": f"c{made.number}", "Name": "-".join(made.key), "ImageName": "job:v1"}
        return msgspec.convert({**plain, "State": state, "Config": {}}, type=Inspected)

    async def start_container(self, name: str) -> None:
        await self._answers()
        made = self._named(name)
        assert made.going is None, f"{made.key} was started while it runs"
        if not self.calm and self.draw.random() < 0.03:
            raise PodmanError("the runtime refuses", 500)
        code = self.draw.choice((0, 0, 0, 0, 1, 137))
        # No two happen at one microsecond of a clock, also when it has been set back.
        self.starts += 1
        started_at = self.now() + timedelta(microseconds=self.starts)
        made.runs.append(Began(made.key, started_at, trio.current_time(), code))
        made.over = trio.Event()
        assert self._nursery is not None
        self._nursery.start_soon(self._live, made, made.runs[-1])
        self.effect()
        if not self.calm and self.draw.random() < 0.02:
            raise UnavailableError("podman started it, and did not say so")

    async def _live(self, made: Made, run: Began) -> None:
        lasts = self.draw.choice((0.5, 20, 20, 600, 3000) if self.calm else (0.5, 20, 600, 9000, 100_000))
        with trio.move_on_after(lasts):
            await made.over.wait()
        self.end(made, run)

    def end(self, made: Made, run: Began) -> None:
        if run.ended is None:
            self.starts += 1
            run.ended, run.finished_at = trio.current_time(), self.now() + timedelta(microseconds=self.starts)
            made.over.set()

    async def stop(self, name: str, _: timedelta) -> None:
        await self._answers()
        made = self._named(name)
        if run := made.going:
            run.code = 143
            self.end(made, run)
        self.effect()

    async def logs(self, *_: object) -> list[tuple[int, bytes]]:
        await self._answers()
        return [(1, b"2027-01-01T00:00:00Z it is broken")]

    async def until_exit(self, pid: int) -> None:
        made = next(each for each in self.made.values() if 1000 + each.number == pid)
        if made.going:
            await made.over.wait()
        await trio.lowlevel.checkpoint()

    def _named(self, name: str) -> Made:
        return next(each for each in self.made.values() if name == f"c{each.number}")

    # -- the daemon

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        """mcpd, until this is left or it is killed."""
        assert self._nursery is not None
        self.is_killed, self.fuse = False, None
        self.registry.gate = self.effect
        self._ended, ready = trio.Event(), trio.Event()
        self._nursery.start_soon(self._serve, ready)
        await ready.wait()
        yield
        self.is_killed = True
        if self._life:
            self._life.cancel()
        await self._ended.wait()
        self.registry.gate = lambda: None
        self.is_killed = False

    async def _serve(self, ready: trio.Event) -> None:
        send, receive = trio.open_memory_channel[Sighting](1000)
        try:
            with trio.CancelScope() as self._life:
                async with trio.open_nursery() as work, receive:
                    podman = cast(Podman, Pretended(self))
                    journal = Journal(self.registry)
                    node = Node(
                        *("rift", podman, self.registry, journal, send),
                        ConfigFiles(Path("/nowhere")),
                        cast(Router, None),
                    )
                    self.operations = Operations(work, journal)
                    ledger = MonitorLedger(self.registry, "rift")
                    self.jobs = Jobs(node, self.operations, JobLedger(self.registry, ledger, "rift"), self.told.append)
                    self.node = node
                    work.start_soon(self.jobs.run)
                    ready.set()
                    await trio.sleep_forever()
        except BaseException:
            if not self.is_killed:
                raise
        finally:
            ready.set()
            self.jobs = self.operations = None
            self.ends.append(trio.current_time())
            self._ended.set()

    # -- the month

    async def live(self) -> None:
        self.began = trio.current_time()
        async with trio.open_nursery() as self._nursery:
            await self._declare()
            while trio.current_time() < self.began + MONTH_S:
                async with self.daemon():
                    await self._happen()
                    if self.fills_up and not self.forgets:
                        await trio.sleep(_WRITTEN_S)
                if not self.calm:
                    await trio.sleep(self.draw.choice((0, 1, 20, 4000, 90_000)))
            while self.registry.full:  # noqa: ASYNC110 (nothing else is awake)
                await trio.sleep(LOOK_S)
            await self._rest()
            self._nursery.cancel_scope.cancel()

    async def _declare(self) -> None:
        for number, name in enumerate(self.draw.sample(("a", "b", "c"), self.draw.choice((1, 2)))):
            (schedule,) = self.draw.choices(SCHEDULES, _WEIGHTS)
            zone = self.draw.choice(ZONES)
            key = (self.draw.choice(("web", "shop")), name)
            self.components[key] = Component(name, "job:v1", schedule=schedule, timezone=zone)
            self.made[key] = Made(key, number)
        for service in {key[0] for key in self.components}:
            parts = tuple(each for key, each in self.components.items() if key[0] == service)
            hashes = {each.name: spec_hash(each) for each in parts}
            await self.registry.put_service(Service(service, "rift", parts), hashes, self.start)
        # The schedule counts from when mcpd has seen it first.
        async with self.daemon():
            await trio.sleep(1)
        accounts = rows.read_accounts(self.registry._writer)
        assert len(accounts) == len(self.components)

    async def _happen(self) -> None:
        """Until mcpd is to end, or has been killed."""
        if self.hasty:
            await self._ask()
        while trio.current_time() < self.began + MONTH_S and not self._ended.is_set():
            with trio.move_on_after(self.draw.expovariate(1 / 60_000)):
                await self._ended.wait()
            if self.calm or self._ended.is_set():
                continue
            befalls = [self._ask, self._hold, self._stop_a_run, self._lose_podman, self._set_clock, self._fill_disk]
            what = self.draw.choice([*befalls, None, None])
            if what is None:
                if self.fills_up and not self.forgets:
                    continue
                if self.draw.random() < 0.7:
                    self.fuse = self.draw.randrange(25)
                    with trio.move_on_after(self.draw.choice((100, 90_000))):
                        await self._ended.wait()
                return
            await what()

    async def _ask(self) -> None:
        jobs, key = self.jobs, self.draw.choice(list(self.components))
        if jobs is None:
            return
        goes_on = self.made[key].going is not None
        try:
            await jobs.run_now(Target(*key), OPERATOR)
        except (RefusedError, BusyError):
            self.refused += goes_on
        except (McpdError, KilledError):
            return

    async def _hold(self) -> None:
        """An operation holds a service for a while."""
        lasts = self.draw.choice((1, 300, 20_000))

        async def body(_: Operation) -> None:
            await trio.sleep(lasts)

        await self._operate("deploy", body)

    async def _stop_a_run(self) -> None:
        """A restart, say: it ends what runs, and begins nothing."""
        key = self.draw.choice(list(self.components))

        async def body(operation: Operation) -> None:
            async with ending(self.node, operation, key[1]):
                await self.node.podman.stop(f"c{self.made[key].number}", timedelta(0))

        await self._operate("stop", body, key[0])

    async def _operate(self, kind: str, body: Callable[[Operation], Any], service: str = "") -> None:
        if self.operations is None:
            return
        target = Target(service or self.draw.choice(list(self.components))[0])
        try:
            await self.operations.start(kind, target, OURSELVES, body, anyhow=True)
        except (McpdError, KilledError):
            return

    async def _lose_podman(self) -> None:
        self.is_down = True
        await trio.sleep(self.draw.choice((1, 300, 5_000)))
        self.is_down = False

    async def _set_clock(self) -> None:
        most = 40 * 3600 if self.steps_far else 2.9 * 3600
        step = self.draw.uniform(-most, most)
        # All in all it is not set back by more than cron(8) waits for.
        if not self.steps_far and step < 0:
            step = max(step, -2.9 * 3600 - min(0.0, self.offset - self.ahead))
        self.offset += step
        # Sometimes it is found out at once.
        if self.operations and self.draw.random() < 0.5:
            self.operations.intent_changed()
        self.ahead = max(self.ahead, self.offset)

    async def _fill_disk(self) -> None:
        assert self._nursery is not None
        lasts = self.draw.choice((10, 20_000, 200_000))
        if self.forgets:
            self._nursery.start_soon(self._be_full, lasts)
        elif self.fills_up:
            await self._be_full(lasts)

    async def _be_full(self, lasts: float) -> None:
        now = trio.current_time()
        since, until = self.unwritten.pop() if self.unwritten and now <= self.unwritten[-1][1] else (now, now)
        self.unwritten.append((since, max(until, now + lasts + _WRITTEN_S)))
        self.registry.full += 1
        await trio.sleep(lasts)
        self.registry.full -= 1

    async def _rest(self) -> None:
        """Until every clock is beyond what it was, every run has ended, and mcpd has seen all of it."""
        self.calm = True
        async with self.daemon():
            await trio.sleep(self.ahead - self.offset + 2 * LOOK_S)
            while True:
                if going := [each for each in self.made.values() if each.going]:
                    await going[0].over.wait()
                    await trio.sleep(_MOMENT_S)
                elif self._is_due_about_now():
                    await trio.sleep(LOOK_S)
                else:
                    break
            self.ended_at = self.now()

    def _is_due_about_now(self) -> bool:
        """Whether a run may be about to begin."""
        before = self.now() - timedelta(seconds=_MOMENT_S)
        found = [next_due(each.schedule or "", each.timezone or "", before) for each in self.components.values()]
        return min(found) <= self.now()


class Pretended:
    """What of `Podman` is asked by whoever runs jobs."""

    def __init__(self, world: World) -> None:
        self.containers = world.containers
        self.inspect = world.inspect
        self.start = world.start_container
        self.stop = world.stop
        self.logs = world.logs


@contextmanager
def played(seed: int, **how: bool) -> Iterator[World]:
    """A month, the same every time, and what is known of it afterwards."""
    world = World(seed, **how)
    spinning = Spinning(_MAX_STEPS)
    done: list[bool] = []

    async def live() -> None:
        with spinning.scope:
            await world.live()
            done.append(True)

    with (
        structlog.testing.capture_logs() as world.log,
        world.worn(),
        mock.patch.object(keeper, "_LOOK_S", LOOK_S),
        mock.patch.object(rows, "KEPT_RUNS", 10**9),
        mock.patch.object(pidfd, "wait_exit", world.until_exit),
    ):
        schedule_by(seed)
        trio.run(live, clock=MockClock(autojump_threshold=0), instruments=[spinning])
    assert done, f"it spins: {_MAX_STEPS} steps of tasks"
    with closing(world.registry):
        yield world


def kept(world: World) -> dict[Key, list[rows.Run]]:
    """Every run of every job, oldest first."""
    found: dict[Key, list[rows.Run]] = defaultdict(list)
    for key in world.components:
        found[key] = rows.read_runs(world.registry._writer, *key, 10**9)[::-1]
    return found
