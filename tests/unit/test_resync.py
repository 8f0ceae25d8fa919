"""When the resync lists: now and then, soon after a poke, and again and again until what it announced must be over."""

from collections.abc import Sequence

import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock

from monitor.model import Known, Observation, Observed, Sighting
from monitor.ports import OutsideError
from monitor.sources.inspector import Inspector
from monitor.sources.resync import Resync, _differs
from protos.parts import Health
from tests.support.builders import NOW
from tests.support.idle_node import StillRuntime


class Lists(StillRuntime):
    """A podman without containers; ``at`` are the times of its lists, in seconds."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.at: list[float] = []
        self.down = False

    async def listed(self) -> Sequence[Sighting]:
        self.at.append(round(self._clock.current_time(), 3))
        if self.down:
            raise OutsideError("podman does not answer")
        return ()


async def resyncing(podman: Lists, nursery: trio.Nursery) -> Resync:
    send, _ = trio.open_memory_channel[Observation](10)
    resync = Resync(Inspector(podman, send), send, dict, lambda *_: None, 60.0)
    await nursery.start(resync.run)
    return resync


@pytest.mark.parametrize(
    ("state", "own_probe", "differs"),
    [
        (Observed.RUNNING, UNSET, True),
        (Observed.RUNNING, None, False),
        (Observed.RUNNING, Health(cmd=("ask",)), False),
        # It has no probe before it runs again, and then it is looked at anyway.
        (Observed.EXITED, UNSET, False),
    ],
)
async def test_what_has_not_been_asked_for_its_health_check_is_looked_at(
    state: Observed, own_probe: Health | None, differs: bool
) -> None:
    known = Known("c1", "web", "web", "web", state, NOW, NOW, 1, own_probe=own_probe)
    seen = Sighting(0, "c1", "web", "web", "web", state, NOW)
    assert _differs(known, seen) is differs


async def test_it_lists_every_interval_when_nothing_happens(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    podman = Lists(autojump_clock)
    await resyncing(podman, nursery)
    await trio.sleep(200)
    assert podman.at == [0, 60, 120, 180]


async def test_after_a_poke_it_lists_soon_and_then_ever_less_often(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    podman = Lists(autojump_clock)
    resync = await resyncing(podman, nursery)
    await trio.sleep(10)
    resync.poke()
    await trio.sleep(240)
    assert podman.at == [0, 11, 12, 14, 18, 26, 42, 74, 134, 194]


async def test_a_poke_just_before_a_list_gets_one_of_its_own(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    podman = Lists(autojump_clock)
    resync = await resyncing(podman, nursery)
    await trio.sleep(10)
    resync.poke()
    await trio.sleep(0.9)
    resync.poke()
    await trio.sleep(1.5)
    assert podman.at == [0, 11, 12]


async def test_many_pokes_cost_one_list_a_second(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    podman = Lists(autojump_clock)
    resync = await resyncing(podman, nursery)
    for _ in range(100):
        await trio.sleep(0.05)
        resync.poke()
    assert len(podman.at) <= 6


async def test_a_podman_that_does_not_answer_is_asked_every_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    podman = Lists(autojump_clock)
    podman.down = True
    await resyncing(podman, nursery)
    await trio.sleep(10.5)
    assert podman.at == list(range(11))


class Many(Lists):
    """A podman with 24 containers; it takes a second to say more of one, unless it does not answer."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__(clock)
        self.looked_at: list[float] = []
        self.fails = False

    async def listed(self) -> Sequence[Sighting]:
        names = [f"c{number}" for number in range(24)]
        return [Sighting(0, each, each, "web", each, Observed.RUNNING, NOW) for each in names]

    async def look(self, container: str) -> Sighting | None:
        self.looked_at.append(self._clock.current_time())
        await trio.sleep(1)
        if self.fails:
            raise OutsideError("podman does not answer")
        return None


async def test_several_containers_are_looked_at_side_by_side_but_not_all(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    podman = Many(autojump_clock)
    send, _ = trio.open_memory_channel[Observation](100)
    await nursery.start(Resync(Inspector(podman, send), send, dict, lambda *_: None, 60.0).run)
    assert podman.looked_at == [0] * 8 + [1] * 8 + [2] * 8


async def test_a_podman_that_does_not_answer_is_not_asked_about_the_rest(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    podman = Many(autojump_clock)
    podman.fails = True
    told: list[tuple[bool, str]] = []
    send, _ = trio.open_memory_channel[Observation](100)
    resync = Resync(Inspector(podman, send), send, dict, lambda ok, words: told.append((ok, words)), 60.0)
    await nursery.start(resync.run)
    assert len(podman.looked_at) == 8
    assert told == [(False, "podman does not answer")]
