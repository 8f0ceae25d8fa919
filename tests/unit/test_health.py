"""The health poller on Trio's clock: when it speaks, what counts, and that its words are in one order for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from monitor import probes
from monitor.model import Observation, Observed, Probed, Sighting
from monitor.ports import OutsideError, Ran
from monitor.sources.health import HealthPoller, Patient
from monitor.sources.inspector import Inspector
from protos.parts import Health
from tests.support.idle_node import StillRuntime

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
WELL, ILL = Ran(0, ""), Ran(1, "no database")


HEALTH = Health(cmd=("ask",), interval=timedelta(seconds=10), retries=3)


class Bed(StillRuntime):
    """One container; what its probe answers at a time is ``answers``' to say."""

    def __init__(self, clock: MockClock, answers: Callable[[float], Ran]) -> None:
        self.seen: Sighting = Sighting(0, "c1", "web", "web", "web", Observed.RUNNING, STARTED)
        self.clock = clock
        self.answers = answers
        self.is_down = False

    async def look(self, container: str) -> Sighting | None:
        if self.is_down:
            raise OutsideError("podman does not answer")
        return await super().look(container)

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        await trio.lowlevel.checkpoint()
        return self.answers(self.clock.current_time())


class Ward:
    """A poller, and what it has said until now."""

    def __init__(self, bed: Bed, nursery: trio.Nursery) -> None:
        self._send, self._receive = trio.open_memory_channel[Observation](1000)
        self._nursery = nursery
        self._bed = bed
        self._poller = HealthPoller(bed, Inspector(bed, self._send), self._send)

    def poll(self, health: Health = HEALTH) -> trio.CancelScope:
        scope = trio.CancelScope()
        started = self._bed.seen.started_at
        assert started

        async def one() -> None:
            with scope:
                await self._poller.poll(Patient.of("c1", started, health))

        self._nursery.start_soon(one)
        return scope

    def said(self) -> list[Probed]:
        found: list[Probed] = []
        while True:
            try:
                each = self._receive.receive_nowait()
            except trio.WouldBlock:
                return found
            if isinstance(each, Probed):
                found.append(each)


async def test_it_says_healthy_at_once_and_unhealthy_after_so_many_failures(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ward = Ward(Bed(autojump_clock, lambda now: WELL if now < 35 else ILL), nursery)
    ward.poll()
    await trio.sleep(55)  # at 40 and 50 it failed
    assert [each.healthy for each in ward.said()] == [True]
    await trio.sleep(10)
    (word,) = ward.said()
    assert (word.healthy, word.words) == (False, "ask exited 1: no database")


class Counting(Bed):
    """Counts when its probe is asked."""

    def __init__(self, clock: MockClock, answers: Callable[[float], Ran]) -> None:
        super().__init__(clock, answers)
        self.asked: list[float] = []

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        self.asked.append(round(self.clock.current_time(), 3))
        return await super().run_inside(container, argv)


@pytest.mark.parametrize(
    ("well_from", "asked"),
    [
        # Until its first success, and then as ever.
        (5, [0, 2, 4, 6, 16, 26, 36, 46]),
        # Or until the start period is over.
        (1000, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 30, 40, 50]),
    ],
)
async def test_it_asks_more_often_while_a_container_starts(
    nursery: trio.Nursery, autojump_clock: MockClock, well_from: float, asked: list[float]
) -> None:
    bed = Counting(autojump_clock, lambda now: WELL if now >= well_from else ILL)
    eager = msgspec.structs.replace(
        HEALTH, start_period=timedelta(seconds=20), start_interval=timedelta(seconds=2), interval=timedelta(seconds=10)
    )
    bed.seen = msgspec.structs.replace(bed.seen, started_at=datetime.now(UTC))
    Ward(bed, nursery).poll(eager)
    await trio.sleep(51)
    assert bed.asked == asked


async def test_a_start_interval_without_a_start_period_is_none(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    bed = Counting(autojump_clock, lambda _: ILL)
    Ward(bed, nursery).poll(msgspec.structs.replace(HEALTH, start_interval=timedelta(seconds=2)))
    await trio.sleep(25)
    assert bed.asked == [0, 10, 20]


async def test_a_probe_that_is_changed_goes_on_in_the_order_of_the_last(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ward = Ward(Bed(autojump_clock, lambda _: WELL), nursery)
    ward.poll().cancel()
    scope = ward.poll()
    await trio.sleep(1)
    scope.cancel()
    (first,) = ward.said()
    ward.poll(msgspec.structs.replace(HEALTH, cmd=("other",)))
    await trio.sleep(1)
    (second,) = ward.said()
    assert second.order > first.order
    assert first.probe == probes.identity(HEALTH) != second.probe
    assert (first.is_first, second.is_first) == (True, True)


async def test_only_its_first_word_may_be_no_news(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ward = Ward(Bed(autojump_clock, lambda now: WELL if now < 5 or now > 45 else ILL), nursery)
    ward.poll()
    await trio.sleep(100)
    assert [(each.healthy, each.is_first) for each in ward.said()] == [(True, True), (False, False), (True, False)]


async def test_what_is_paused_is_neither_ill_nor_well(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Nothing answers in it; or the kernel does, which takes connections for whoever listens."""
    bed = Bed(autojump_clock, lambda now: WELL if now < 5 or 200 < now < 300 else ILL)
    ward = Ward(bed, nursery)
    ward.poll()
    await trio.sleep(1)
    bed.seen = msgspec.structs.replace(bed.seen, state=Observed.PAUSED)
    await trio.sleep(499)
    assert [each.healthy for each in ward.said()] == [True]
    # What was heard meanwhile does not count either.
    bed.seen = msgspec.structs.replace(bed.seen, state=Observed.RUNNING)
    await trio.sleep(15)
    assert ward.said() == []
    await trio.sleep(10)
    assert [each.healthy for each in ward.said()] == [False]


async def test_a_podman_that_does_not_answer_takes_nothing_back_from_a_probe(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    bed = Bed(autojump_clock, lambda _: ILL)
    bed.is_down = True
    ward = Ward(bed, nursery)
    ward.poll()
    await trio.sleep(100)
    assert [each.healthy for each in ward.said()] == [False]


def test_a_probe_is_the_same_however_patiently_it_is_asked() -> None:
    def named(**changes: Any) -> str:
        return probes.identity(msgspec.structs.replace(HEALTH, **changes))

    assert named(retries=9, interval=timedelta(1), timeout=timedelta(1), start_period=timedelta(1)) == named()
    assert len({named(), named(cmd=("other",)), named(cmd=(), http="http://a/"), named(cmd=(), tcp="a:1"), ""}) == 5
    assert probes.identity(None) == ""
