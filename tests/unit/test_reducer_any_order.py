"""The reducer: one picture of a container, whatever order, doubling or gap the sources deliver it with."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import Ended, Fact, Known, Missed, Observation, Observed, Probed, Sighting
from tests.support.builders import NOW
from tests.support.examples import EXAMPLES
from tests.support.observations import (
    CREATED,
    EXITED,
    HEALTHY,
    PAUSED,
    REMOVED,
    RUNNING,
    UNHEALTHY,
    ended,
    gone,
    missed,
    play,
    probed,
    sighting,
)


class History(NamedTuple):
    """What sources observe of a container, in the order of its life; the last observation is the newest truth."""

    observations: tuple[Observation, ...]
    state: Observed
    started_at: datetime | None
    exit_code: int | None
    by_hand: bool


class Life:
    """Draws a container's life, and keeps what sources observe of it meanwhile."""

    def __init__(self, draw: st.DrawFn, *, probes: bool) -> None:
        self._draw = draw
        self._probes = probes
        self._order = 0
        self.observations: list[Observation] = []
        self.state, self.started_at, self.exit_code, self.by_hand = CREATED, None, None, False

    def look(self, state: Observed, **changes: Any) -> None:
        self._order += self._draw(st.integers(1, 3))
        self.observations.append(sighting(self._order, state, self.started_at, **changes))

    def start(self, run: datetime) -> None:
        self.state, self.started_at, self.exit_code, self.by_hand = RUNNING, run, None, False
        self.look(RUNNING)

    def run(self) -> None:
        """A while of it running: probes change their minds, or people pause it and go on."""
        for step in range(self._draw(st.integers(0, 3))):
            if self._probes:
                self.state = self._draw(st.sampled_from([HEALTHY, UNHEALTHY]))
                self.observations.append(probed(self.state is HEALTHY, step + 1, self.started_at or NOW))
                if self._draw(st.booleans()):
                    self.look(RUNNING)
            else:
                self.state = self._draw(st.sampled_from([RUNNING, PAUSED]))
                self.look(self.state)

    def end(self, run: datetime) -> None:
        """It ends by itself or by hand; the kernel, or podman, or both tell so, at once or later."""
        code = self._draw(st.integers(0, 255))
        self.state, self.exit_code, self.by_hand = EXITED, code, self._draw(st.booleans())
        if self.by_hand:
            self.look(RUNNING, by_hand=True)
        told = self._draw(st.lists(st.sampled_from(["kernel", "no code", "late", "half"]), unique=True))
        if "kernel" in told:  # with the code at once, and with who did it when podman has said that
            if "no code" not in told:
                self.observations.append(ended(run, code, by_hand=None))
            self.observations.append(ended(run, None if "no code" in told else code, self.by_hand))
        if {"kernel", "late"} <= {*told}:  # podman learns of it some hundred milliseconds after the kernel
            self.look(RUNNING, by_hand=self.by_hand)
        if "half" in told:
            self.look(EXITED, exit_code=None)
        if told != ["kernel"] or self._draw(st.booleans()):
            self.look(EXITED, exit_code=code)

    def remove(self) -> None:
        if self.started_at and self._draw(st.booleans()):  # podman says "removing" meanwhile, which is an end
            self.look(EXITED, exit_code=137 if self.exit_code is None else self.exit_code)
        if not self._probes and self._draw(st.booleans()):
            self.observations += [missed(self._order + 1), missed(self._order + 2)]
        else:
            self.observations.append(gone(self._order + 1))
        self.state = REMOVED


@st.composite
def histories(draw: st.DrawFn, *, probes: bool = False) -> History:
    """A container that is created, runs a few times, and may be removed.

    Of every run there is a sighting before anything else can be told of it: sources follow what is known. With
    ``probes`` there are neither pauses nor lists without it, since what a probe tells then is not told again.
    """
    life = Life(draw, probes=probes)
    if born := draw(st.booleans()):
        life.look(CREATED)
    for number in range(draw(st.integers(0 if born else 1, 3))):
        life.start(NOW + timedelta(minutes=number))
        life.run()
        if not draw(st.booleans()):
            break
        life.end(NOW + timedelta(minutes=number))
    if draw(st.booleans()):
        life.remove()
    return History(tuple(life.observations), life.state, life.started_at, life.exit_code, life.by_hand)


def run_of(observation: Observation) -> datetime | None:
    return observation.started_at if isinstance(observation, Sighting | Ended | Probed) else None


def as_sources_deliver(observations: Iterable[Observation]) -> list[Observation]:
    """The same, with what cannot happen mended.

    A run is watched and probed once it is known. One task lists, and one probes a run, so that each is in order; and
    what lists lack is looked for until they agree.
    """
    given = list(observations)
    lists = iter(sorted((each for each in given if isinstance(each, Missed)), key=lambda each: each.order))
    probes = iter(sorted((each for each in given if isinstance(each, Probed)), key=lambda each: each.at))
    given = [
        next(lists) if isinstance(each, Missed) else next(probes) if isinstance(each, Probed) else each
        for each in given
    ]
    delivered: list[Observation] = []
    waiting: list[Observation] = []
    runs: set[datetime | None] = set()
    for each in given:
        if isinstance(each, Sighting):
            runs.add(each.started_at)
            delivered.append(each)
            delivered += [other for other in waiting if run_of(other) in runs or run_of(other) is None]
            waiting = [other for other in waiting if not (run_of(other) in runs or run_of(other) is None)]
        elif not runs or (isinstance(each, Ended | Probed) and each.started_at not in runs):
            waiting.append(each)
        else:
            delivered.append(each)
    last = max((each.order for each in given if isinstance(each, Missed)), default=None)
    return delivered if last is None else [*delivered, missed(last + 1), missed(last + 2)]


@st.composite
def deliveries(draw: st.DrawFn, history: History, *, cut: bool) -> list[Observation]:
    """Shuffled and doubled; ``cut``: without some, though never without the newest truth or what makes a run known."""
    kept: Sequence[Observation] = history.observations
    if cut:
        last_probes = [each for each in kept if isinstance(each, Probed)][-1:]
        needed = {id(kept[-1]), *map(id, last_probes)} | {id(each) for each in kept if isinstance(each, Missed)}
        needed |= {id(next(each for each in kept if isinstance(each, Sighting)))}
        needed |= {id(each) for each in kept if isinstance(each, Sighting) and run_of(each) == history.started_at}
        kept = [each for each in kept if id(each) in needed or draw(st.booleans())]
    doubled = [each for each in kept for _ in range(draw(st.sampled_from([1, 1, 2])))]
    return as_sources_deliver(draw(st.permutations(doubled)))


def keyed(facts: Iterable[Fact]) -> set[tuple[str, Observed, str]]:
    return {(each.key, each.state, each.message) for each in facts}


def truth_of(known: Known | None) -> tuple[Any, ...]:
    """Of what is removed only that: what it was before is of no use to anybody."""
    assert known is not None
    return (REMOVED,) if known.state is REMOVED else (known.state, known.started_at, known.exit_code)


def truth(history: History) -> tuple[Any, ...]:
    return (REMOVED,) if history.state is REMOVED else (history.state, history.started_at, history.exit_code)


@given(histories())
def test_in_order_the_last_state_is_the_truth(history: History) -> None:
    outcome = play(*history.observations)
    if not any(isinstance(each, Ended) and each.exit_code is None for each in history.observations[-1:]):
        assert truth_of(outcome.known) == truth(history)


@given(st.data())
@settings(max_examples=4 * EXAMPLES)
def test_the_last_state_is_the_same_in_any_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=False))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=4 * EXAMPLES)
def test_the_last_state_is_the_truth_however_much_was_missed_before_it(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=True))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=4 * EXAMPLES)
def test_the_last_state_is_the_truth_whenever_probes_are_heard(data: st.DataObject) -> None:
    history = data.draw(histories(probes=True))
    shuffled = data.draw(deliveries(history, cut=True))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=4 * EXAMPLES)
def test_the_facts_are_the_same_in_any_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=False))
    assert keyed(play(*shuffled).facts) == keyed(play(*history.observations).facts)


@given(st.data())
@settings(max_examples=4 * EXAMPLES)
def test_that_somebody_stopped_it_is_known_in_any_order(data: st.DataObject) -> None:
    """Who stopped it decides on healing: a component that a person stopped is not started again."""
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=False))
    known = play(*shuffled).present
    if known.state is EXITED:
        assert known.by_hand is history.by_hand


@given(st.data())
def test_a_key_names_one_fact(data: st.DataObject) -> None:
    """The ledger keeps the first fact of a key: whichever it is, it says the same."""
    history = data.draw(histories(probes=True))
    shuffled = data.draw(deliveries(history, cut=False))
    facts = keyed(play(*shuffled).facts)
    assert len({key for key, _, _ in facts}) == len(facts)


@given(st.data())
def test_what_is_older_never_changes_what_is_newer(data: st.DataObject) -> None:
    """After the newest truth everything else may come late: nothing of it is believed again."""
    history = data.draw(histories())
    late = data.draw(st.permutations(history.observations))
    outcome = play(*history.observations)
    assert truth_of(play(*history.observations, *late).known) == truth_of(outcome.known)
