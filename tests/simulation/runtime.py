"""The fake runtime: containers, and a podman whose answers and events are as bad as seeds want them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec
import trio
from msgspec import UNSET

from monitor.model import Desired, Observed, Sighting
from monitor.ports import Happening, OutsideError, Ran, Target
from protos.parts import Health

from .clocks import Draws, wall


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
    # The health check that it has from its image.
    own_probe: Health | None = None
    # It is to run to its end.
    completes: bool = False

    @property
    def runs(self) -> bool:
        return self.state in (Observed.RUNNING, Observed.PAUSED)

    @property
    def has_completed(self) -> bool:
        return self.state is Observed.EXITED and self.exit_code == 0

    def truth(self, health: Health | None) -> Observed:
        """Its state, with what its probe would say: the declared one, or its own."""
        asked = health or self.own_probe
        if self.state is not Observed.RUNNING or not asked or asked.disable:
            return self.state
        return Observed.UNHEALTHY if asked.cmd[0] in self.ill else Observed.HEALTHY

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
            own_probe=self.own_probe,
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
        # What images have, by service and component; and who is told of every start.
        self.own_probes: dict[tuple[str, str], Health | None] = {}
        self.on_start: Callable[[Container], None] = lambda _: None
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
            own_probe=self.own_probes.get((wanted.service, wanted.component)),
            completes=wanted.desired is Desired.COMPLETED,
        )
        self.containers[made.id] = made
        self.happens(made)
        return made

    def start(self, container: Container) -> None:
        container.state, container.started_at = Observed.RUNNING, wall(trio.current_time())
        container.exit_code, container.out_of_memory, container.stopping = None, False, False
        self.happens(container)
        self.on_start(container)

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
        return [
            msgspec.structs.replace(each, started_at=_whole(each.started_at), exit_code=None, own_probe=UNSET)
            for each in found
        ]

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

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

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


def _whole(when: datetime | None) -> datetime | None:
    return when.replace(microsecond=0) if when else None
