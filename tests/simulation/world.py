"""The fake runtime: containers, podman and our own operations, as seeds want them, on Trio's clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import trio

from monitor import watch
from monitor.alerts import dispatch
from monitor.model import Desired, Observed, Seen, Sighting, Wanted
from monitor.ports import Happening, OutsideError, Ran, Target
from monitor.sources import health, inspector, resync
from protos.spec import Heal, Health

START = datetime(2024, 1, 1, tzinfo=UTC)
PROBE = Health(cmd=("probe",), interval=timedelta(seconds=10), timeout=timedelta(seconds=2), retries=2)
# The same question, asked otherwise; and another question, which may have another answer.
PATIENT = msgspec.structs.replace(PROBE, interval=timedelta(seconds=15), retries=3)
OTHER = msgspec.structs.replace(PROBE, cmd=("other",))
PROBES = (None, PROBE, PATIENT, OTHER)
Key = tuple[str, str]


class Draws:
    """Random numbers by purpose: each purpose has its own sequence, so that one does not shift another's."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()

    def of(self, purpose: str) -> random.Random:
        self._counts[purpose] += 1
        return random.Random(f"{self._seed}/{purpose}/{self._counts[purpose]}")


class WallClock:
    """The wall clock: as true as the monotonic one, unless it is stepped."""

    def __init__(self, offset: Callable[[float], float] = lambda _: 0.0) -> None:
        self._offset = offset

    @contextmanager
    def worn(self) -> Any:
        """While it lasts, the monitor's modules tell the time by this clock."""
        clock = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
                return wall(trio.current_time() + clock._offset(trio.current_time()))

        modules: list[ModuleType] = [watch, dispatch, inspector, health, resync]
        for each in modules:
            each.datetime = Clock  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for each in modules:
                each.datetime = datetime  # type: ignore[attr-defined]


def wall(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Container:
    """A container as it truly is."""

    id: str
    name: str
    service: str
    component: str
    image: str
    spec_hash: str
    restart: str
    state: Observed = Observed.CREATED
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    stopping: bool = False
    # The probes that say that it is not well.
    ill: frozenset[str] = frozenset()

    @property
    def runs(self) -> bool:
        return self.state in (Observed.RUNNING, Observed.PAUSED)

    def truth(self, health: Health | None) -> Observed:
        """Its state, with what this probe would say."""
        if self.state is not Observed.RUNNING or not health:
            return self.state
        return Observed.UNHEALTHY if health.cmd[0] in self.ill else Observed.HEALTHY

    def sighting(self) -> Sighting:
        """Without a pid: there is no process to watch, so that deaths are seen by events and by listing only."""
        over = self.state is Observed.EXITED
        return Sighting(
            order=0,
            container=self.id,
            name=self.name,
            service=self.service,
            component=self.component,
            state=self.state,
            started_at=self.started_at,
            finished_at=self.finished_at if over else None,
            exit_code=self.exit_code if over else None,
            out_of_memory=self.out_of_memory,
            by_hand=self.stopping,
            image=self.image,
            spec_hash=self.spec_hash,
        )


class Quality(NamedTuple):
    """How badly podman's stream behaves, as shares of its events; and how long anything takes, in seconds."""

    lost: float = 0.1
    doubled: float = 0.1
    reordered: float = 0.3
    late: float = 0.5
    slow: float = 0.1


class FakeRuntime:
    """Satisfies `monitor.ports.Runtime` over simulated containers. Exit watching has no part in it: see `sighting`."""

    def __init__(self, draws: Draws, quality: Quality) -> None:
        self.containers: dict[str, Container] = {}
        self.down = False
        self._draws = draws
        self._quality = quality
        self._log: list[Happening] = []
        self._streams: list[_Stream] = []
        self._made = 0

    # -- what happens to containers

    def create(self, target: Target, name: str = "") -> Container:
        self._made += 1
        self._free(name or target.container)
        wanted = target.wanted
        made = Container(
            f"c{self._made}",
            name or target.container,
            wanted.service,
            wanted.component,
            wanted.image,
            wanted.spec_hash,
            wanted.restart,
        )
        self.containers[made.id] = made
        self.happens(made)
        return made

    def start(self, container: Container) -> None:
        container.state, container.started_at = Observed.RUNNING, wall(trio.current_time())
        container.exit_code, container.out_of_memory, container.stopping = None, False, False
        self.happens(container)

    def end(self, container: Container, code: int, *, out_of_memory: bool = False) -> None:
        container.state, container.exit_code = Observed.EXITED, code
        container.finished_at, container.out_of_memory, container.stopping = (
            wall(trio.current_time()),
            out_of_memory,
            False,
        )
        self.happens(container)

    def remove(self, container: Container) -> None:
        self.containers.pop(container.id, None)
        self.happens(container)

    def rename(self, container: Container, name: str) -> None:
        self._free(name)
        container.name = name
        self.happens(container)

    def pause(self, container: Container, *, paused: bool) -> None:
        container.state = Observed.PAUSED if paused else Observed.RUNNING
        self.happens(container)

    def named(self, name: str) -> Container | None:
        return next((each for each in self.containers.values() if each.name == name), None)

    def _free(self, name: str) -> None:
        """A name is one container's only: who holds it is removed first."""
        if holder := self.named(name):
            self.remove(holder)

    def happens(self, container: Container) -> None:
        happening = Happening(container.id, wall(trio.current_time()))
        self._log.append(happening)
        for stream in self._streams:
            stream.put(happening)

    def break_streams(self) -> None:
        for stream in self._streams:
            stream.broken = True
            stream.something.set()

    # -- what the monitor asks

    async def listed(self) -> Sequence[Sighting]:
        await self._answering("list")
        found = [each.sighting() for each in self.containers.values()]
        await self._answering("listed")
        return [msgspec.structs.replace(each, started_at=_whole(each.started_at), exit_code=None) for each in found]

    async def look(self, container: str) -> Sighting | None:
        await self._answering(f"look {container}")
        found = self.containers.get(container)
        seen = found.sighting() if found else None
        await self._answering(f"looked {container}")
        return seen

    async def events(self, since: datetime | None) -> AsyncGenerator[Happening, None]:
        await self._answering("events")
        stream = _Stream(self._draws, self._quality)
        self._streams.append(stream)
        try:
            for each in self._log:
                if since is not None and each.at >= since:
                    stream.put(each)
            while True:
                while stream.waiting and not stream.broken:
                    await trio.sleep(self._draws.of("event").uniform(0, self._quality.late))
                    if stream.waiting:
                        yield stream.waiting.pop(0)
                if stream.broken:
                    if self._draws.of("break").random() < 0.5:
                        return
                    raise OutsideError("podman closed the event stream")
                stream.something = trio.Event()
                await stream.something.wait()
        finally:
            self._streams.remove(stream)

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        await self._answering(f"probe {container}")
        found = self.containers.get(container)
        if found is None or not found.runs:
            raise OutsideError(f"no running container {container}")
        well = argv[0] not in found.ill and found.state is Observed.RUNNING
        return Ran(0, "") if well else Ran(1, "no answer")

    async def _answering(self, purpose: str) -> None:
        await trio.sleep(self._draws.of(purpose).uniform(0, self._quality.slow))
        if self.down:
            raise OutsideError("podman does not answer")


class _Stream:
    """One listener's events: lost, doubled and put out of order as they come in."""

    def __init__(self, draws: Draws, quality: Quality) -> None:
        self.waiting: list[Happening] = []
        self.something = trio.Event()
        self.broken = False
        self._draws = draws
        self._quality = quality

    def put(self, happening: Happening) -> None:
        draw = self._draws.of("stream")
        if draw.random() < self._quality.lost:
            return
        for _ in range(2 if draw.random() < self._quality.doubled else 1):
            place = draw.randint(0, len(self.waiting)) if draw.random() < self._quality.reordered else None
            self.waiting.insert(len(self.waiting) if place is None else place, happening)
        self.something.set()


class Span(NamedTuple):
    """From when to when one of our operations was at work on a service."""

    service: str
    begin: float
    end: float


class Node:
    """The node: what is declared, what is done about it, and what befalls it. Satisfies `monitor.ports.Intent`."""

    def __init__(self, seed: int, nursery: trio.Nursery, quality: Quality) -> None:
        self.draws = Draws(seed)
        self.runtime = FakeRuntime(self.draws, quality)
        self.declared: dict[Key, Target] = {}
        self.undeclared: dict[Key, Target] = {}
        self.operations: list[Span] = []
        # When what was ill was restarted; and how likely that makes it well.
        self.restarts: list[tuple[Key, float]] = []
        self.cures = 0.8
        self.settles: dict[Key, float] = {}
        self._nursery = nursery
        self._busy: dict[str, float] = {}
        self._changes, self._seen = 0, 0
        self._changed = trio.Event()
        self._versions = 1

    def declare(
        self, service: str, component: str, *, restart: str, heal: Heal, probed: bool, settle: float = 0.5
    ) -> None:
        self.settles[service, component] = settle
        wanted = Wanted(service, component, Desired.RUNNING, "app:v1", "h1", restart, heal)
        self.declared[service, component] = Target(wanted, f"{service}-{component}", PROBE if probed else None)

    # -- what the monitor asks

    async def targets(self) -> Sequence[Target]:
        await trio.lowlevel.checkpoint()
        return list(self.declared.values())

    def is_busy(self, service: str) -> bool:
        return service in self._busy

    async def changed(self) -> None:
        while self._seen == self._changes:
            await self._changed.wait()
        self._seen = self._changes
        await trio.lowlevel.checkpoint()

    async def started(self) -> Sighting:
        await trio.sleep_forever()
        raise AssertionError

    async def heal(self, service: str, component: str, *, ill: str = "") -> bool:
        """As mcpd does it: an operation, beside which the service is not busy; nothing when another is at work."""
        if ill:
            return await self._restart_ill((service, component), ill)
        if service in self._busy:
            return False
        self.notify()
        await trio.sleep(self.draws.of("heal").uniform(0.1, 0.5))
        target = self.declared.get((service, component))
        found = self.runtime.named(target.container) if target else None
        fails = self.runtime.down or self.draws.of("heal fails").random() < 0.2
        if found and not fails and found.state in (Observed.EXITED, Observed.CREATED) and service not in self._busy:
            self.runtime.start(found)
        self.notify()
        return True

    async def _restart_ill(self, key: Key, ill: str) -> bool:
        """An operation like any other: it stops what is ill, and may fail to start it again."""
        if not self._begin(key[0]):
            return False
        draw = self.draws.of("restart what is ill")
        await trio.sleep(draw.uniform(0.1, 0.5))
        found = self.container(key)
        is_ill = found is not None and found.id == ill and found.state is Observed.RUNNING and not self.runtime.down
        if found and is_ill:
            self.restarts.append((key, trio.current_time()))
            found.stopping = True
            self.runtime.happens(found)
            await trio.sleep(draw.uniform(0, 1))
            if found.runs:
                self.runtime.end(found, 143)
            if draw.random() < self.cures:
                found.ill = frozenset()
            if draw.random() < 0.8 and found.id in self.runtime.containers:
                self.runtime.start(found)
        self._end(key[0])
        return is_ill

    def notify(self) -> None:
        self._changes += 1
        self._changed.set()
        self._changed = trio.Event()

    # -- what befalls it

    def container(self, key: Key) -> Container | None:
        target = self.declared.get(key)
        return self.runtime.named(target.container) if target else None

    def dies(self, key: Key, code: int, *, out_of_memory: bool = False) -> None:
        """It ends by itself, and podman restarts it when that is its policy."""
        container = self.container(key)
        if container and container.runs:
            self.runtime.end(container, code, out_of_memory=out_of_memory)
            if container.restart == "always" or (container.restart == "on-failure" and code):
                self._nursery.start_soon(self._restart, container)

    async def _restart(self, container: Container) -> None:
        await trio.sleep(self.draws.of("restart").uniform(0.05, 1.5))
        if self.runtime.containers.get(container.id) is container and container.state is Observed.EXITED:
            self.runtime.start(container)

    async def stopped_by_hand(self, key: Key) -> None:
        container = self.container(key)
        if container and container.runs:
            container.stopping = True
            self.runtime.happens(container)
            await trio.sleep(self.draws.of("stop").uniform(0, 1))
            if container.runs:
                self.runtime.end(container, 0)

    def started_by_hand(self, key: Key) -> None:
        container = self.container(key)
        if container and not container.runs:
            self.runtime.start(container)

    def removed_by_hand(self, key: Key) -> None:
        if container := self.container(key):
            self.runtime.remove(container)

    def recreated_by_hand(self, key: Key) -> None:
        self.removed_by_hand(key)
        if target := self.declared.get(key):
            self.runtime.start(self.runtime.create(target))

    def paused(self, key: Key, *, paused: bool) -> None:
        container = self.container(key)
        if container and container.state is (Observed.RUNNING if paused else Observed.PAUSED):
            self.runtime.pause(container, paused=paused)

    def falls_ill(self, key: Key) -> None:
        if container := self.container(key):
            names = self.draws.of("illness").choice([("probe",), ("other",), ("probe", "other")])
            container.ill = container.ill | frozenset(names)

    def gets_well(self, key: Key) -> None:
        if container := self.container(key):
            container.ill = frozenset()

    async def outage(self, seconds: float) -> None:
        self.runtime.down = True
        self.runtime.break_streams()
        await trio.sleep(seconds)
        self.runtime.down = False

    # -- our own operations

    async def deploy(self, service: str) -> None:
        """Replaces the containers of a service by ones of a new version; at times it fails, and puts the old back."""
        if not self._begin(service):
            return
        for key in self._keys(service):
            await self._replace(key)
        self._end(service)

    async def _replace(self, key: Key) -> None:
        draw = self.draws.of("deploy")
        target, old = self.declared[key], self.container(key)
        self._versions += 1
        wanted = msgspec.structs.replace(
            target.wanted,
            image=f"app:v{self._versions}",
            spec_hash=f"h{self._versions}",
            desired=Desired.RUNNING,
        )
        new_target = msgspec.structs.replace(target, wanted=wanted)
        new = self.runtime.create(new_target, f"{target.container}.next")
        await trio.sleep(draw.uniform(0, 2))
        if old:
            if old.runs:
                self.runtime.end(old, 0)
            await trio.sleep(draw.uniform(0, 0.5))
            self.runtime.rename(old, f"{target.container}.last")
        self.runtime.rename(new, target.container)
        self.runtime.start(new)
        await trio.sleep(draw.uniform(0, 20))
        await trio.sleep(self.settles[key])
        # It did not stay up, or something else failed.
        if old and (not new.runs or draw.random() < 0.2):
            self.runtime.remove(new)
            self.runtime.rename(old, target.container)
            self.runtime.start(old)
        else:
            if old:
                self.runtime.remove(old)
            self.declared[key] = new_target

    async def change_probe(self, key: Key, health: Health | None, *, asked: bool) -> None:
        """Changes a probe in place. One that is ``asked`` first, as in a deploy, and finds fault, changes nothing."""
        if key not in self.declared or not self._begin(key[0]):
            return
        await trio.sleep(self.draws.of("change probe").uniform(0, 2))
        container = self.container(key)
        is_ill = container is not None and container.truth(health) is Observed.UNHEALTHY
        if not (asked and is_ill):
            self.declared[key] = msgspec.structs.replace(self.declared[key], health=health)
        self._end(key[0])

    async def set_desired(self, service: str, desired: Desired) -> None:
        if not self._begin(service):
            return
        for key in self._keys(service):
            target = self.declared[key]
            wanted = msgspec.structs.replace(target.wanted, desired=desired)
            self.declared[key] = msgspec.structs.replace(target, wanted=wanted)
            await trio.sleep(self.draws.of("desired").uniform(0, 1))
            found = self.container(key)
            if found and desired is Desired.STOPPED and found.runs:
                self.runtime.end(found, 0)
            if found and desired is Desired.RUNNING and not found.runs:
                self.runtime.start(found)
        self._end(service)

    async def undeploy(self, service: str) -> None:
        if not self._begin(service):
            return
        for key in self._keys(service):
            await trio.sleep(self.draws.of("undeploy").uniform(0, 1))
            if found := self.container(key):
                self.runtime.remove(found)
            self.undeclared[key] = self.declared.pop(key)
        self._end(service)

    async def deploy_again(self, service: str) -> None:
        keys = [key for key in self.undeclared if key[0] == service]
        if not keys or not self._begin(service):
            return
        for key in keys:
            self.declared[key] = self.undeclared.pop(key)
            await trio.sleep(self.draws.of("undeploy").uniform(0, 1))
            self.runtime.start(self.runtime.create(self.declared[key]))
        self._end(service)

    def _keys(self, service: str) -> Iterable[Key]:
        return [key for key in self.declared if key[0] == service]

    def _begin(self, service: str) -> bool:
        if service in self._busy:
            return False
        self._busy[service] = trio.current_time()
        self.notify()
        return True

    def _end(self, service: str) -> None:
        self.operations.append(Span(service, self._busy.pop(service), trio.current_time()))
        self.notify()

    # -- the truth

    def truth(self, key: Key) -> Observed:
        container = self.container(key)
        return container.truth(self.declared[key].health) if container else Observed.REMOVED

    def seen(self, key: Key) -> Seen:
        """What a monitor that knows everything would see."""
        container = self.container(key)
        if container is None:
            return Seen(Observed.REMOVED)
        return Seen(self.truth(key), container.image, container.spec_hash, container.exit_code)


def _whole(when: datetime | None) -> datetime | None:
    return when.replace(microsecond=0) if when else None
