"""The simulated node: what is declared, our own operations, and what befalls it, on Trio's clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import trio

from monitor.model import Desired, Observed, Seen, Sighting, Wanted
from monitor.ports import Target
from protos.parts import Heal, Health

from .clocks import Draws
from .runtime import Container, FakeRuntime, Quality

PROBE = Health(cmd=("probe",), interval=timedelta(seconds=10), timeout=timedelta(seconds=2), retries=2)
# The same question, asked otherwise; and another question, which may have another answer.
PATIENT = msgspec.structs.replace(PROBE, interval=timedelta(seconds=15), retries=3)
OTHER = msgspec.structs.replace(PROBE, cmd=("other",))
PROBES = (None, PROBE, PATIENT, OTHER)
DISABLED = Health(disable=True)
# A person who waits longer than this for a oneshot cancels the deploy.
PATIENCE_S = 150.0
Key = tuple[str, str]


def is_oneshot(target: Target) -> bool:
    return target.health is DISABLED


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
        # How likely a oneshot ends well, how long it takes at most, and how likely podman tries again if it has failed.
        self.completes, self.longest_work_s, self.tries = 1.0, 100.0, 0.8
        self.settles: dict[Key, float] = {}
        self.runtime.on_start = self._begins
        self._nursery = nursery
        self._busy: dict[str, float] = {}
        self._changes, self._seen = 0, 0
        self._changed = trio.Event()
        self._versions = 1

    def declare(
        self,
        service: str,
        component: str,
        *,
        restart: str,
        heal: Heal,
        probed: bool = False,
        settle: float = 0.5,
        own_probe: Health | None = None,
        oneshot: bool = False,
    ) -> None:
        """``own_probe`` is its image's. A ``oneshot`` is not probed."""
        self.settles[service, component] = settle
        self.runtime.own_probes[service, component] = own_probe
        desired = Desired.COMPLETED if oneshot else Desired.RUNNING
        wanted = Wanted(service, component, desired, "app:v1", "h1", restart, heal)
        health = DISABLED if oneshot else PROBE if probed else None
        self.declared[service, component] = Target(wanted, f"{service}-{component}", health)

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
        target = self.declared.get((service, component))
        assert target is None or not is_oneshot(target), f"{service}/{component} runs to its end: nobody heals it"
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
            self._ends(container, code, out_of_memory=out_of_memory)

    def _ends(self, container: Container, code: int, *, out_of_memory: bool = False) -> None:
        self.runtime.end(container, code, out_of_memory=out_of_memory)
        restarts = container.restart == "always" or (container.restart == "on-failure" and code)
        # A oneshot's tries have an end.
        if restarts and (not container.completes or self.draws.of("tries").random() < self.tries):
            self._nursery.start_soon(self._restart, container)

    def _begins(self, container: Container) -> None:
        if container.completes:
            self._nursery.start_soon(self._work, container, container.started_at)

    async def _work(self, container: Container, run: datetime | None) -> None:
        """A oneshot does its work, and ends well or not; what is paused then goes on when it is unpaused."""
        draw = self.draws.of("work")
        longest = self.longest_work_s
        await trio.sleep(draw.choice([0.0, *(draw.uniform(0, longest * share) for share in (0.01, 0.2, 1.0))]))
        is_there = self.runtime.containers.get(container.id) is container
        if is_there and container.state is Observed.RUNNING and container.started_at == run:
            self._ends(container, 0 if draw.random() < self.completes else draw.choice([1, 137]))

    async def _restart(self, container: Container) -> None:
        await trio.sleep(self.draws.of("restart").uniform(0.05, 1.5))
        if self.runtime.containers.get(container.id) is container and container.state is Observed.EXITED:
            self.runtime.start(container)

    async def stopped_by_hand(self, key: Key) -> None:
        container = self.container(key)
        if container and container.runs:
            container.stopping = True
            self.runtime.happens(container)
            draw = self.draws.of("stop")
            await trio.sleep(draw.uniform(0, 1))
            if container.runs:
                self.runtime.end(container, draw.choice([0, 143]) if container.completes else 0)

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
            if not paused:
                self._begins(container)

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
            desired=Desired.COMPLETED if is_oneshot(target) else Desired.RUNNING,
        )
        self.runtime.own_probes[key] = draw.choice(PROBES)
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
        if new.completes:
            await self._completes(new)
        else:
            await trio.sleep(draw.uniform(0, 20))
            await trio.sleep(self.settles[key])
        # It did not stay up, or did not complete, or something else failed.
        works = new.has_completed if new.completes else new.runs
        if old and (not works or draw.random() < 0.2):
            self.runtime.remove(new)
            self.runtime.rename(old, target.container)
            if not old.completes:
                self.runtime.start(old)
        else:
            if old:
                self.runtime.remove(old)
            self.declared[key] = new_target

    async def _completes(self, container: Container) -> None:
        """Waits for the end of a oneshot, and of podman's tries."""
        with trio.move_on_after(PATIENCE_S):
            while not container.has_completed:
                was_over = not container.runs or container.id not in self.runtime.containers
                # Longer than podman takes to try again.
                await trio.sleep(2)
                if was_over and not container.runs:
                    return

    async def change_probe(self, key: Key, health: Health | None, *, asked: bool) -> None:
        """Changes a probe in place. One that is ``asked`` first, as in a deploy, and finds fault, changes nothing."""
        if key not in self.declared or is_oneshot(self.declared[key]) or not self._begin(key[0]):
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
            oneshot = is_oneshot(target)
            active = Desired.COMPLETED if oneshot and desired is Desired.RUNNING else desired
            wanted = msgspec.structs.replace(target.wanted, desired=active)
            self.declared[key] = msgspec.structs.replace(target, wanted=wanted)
            await trio.sleep(self.draws.of("desired").uniform(0, 1))
            found = self.container(key)
            if found and desired is Desired.STOPPED and found.runs:
                self.runtime.end(found, 143 if oneshot else 0)
            if found and desired is Desired.RUNNING and not found.runs and not (oneshot and found.has_completed):
                self.runtime.start(found)
                if oneshot:
                    await self._completes(found)
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
