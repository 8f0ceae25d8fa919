"""The reducer: one picture of a container, whatever order, doubling or gap the sources deliver it with."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import Ended, Fact, Gone, Known, Missed, Observation, Observed, Ours, Probed, Reprobed, Sighting
from monitor.reducer import observe
from tests.support.builders import IMAGE, NOW

CREATED, RUNNING, PAUSED, EXITED = Observed.CREATED, Observed.RUNNING, Observed.PAUSED, Observed.EXITED
HEALTHY, UNHEALTHY = Observed.HEALTHY, Observed.UNHEALTHY
REMOVED, UNKNOWN = Observed.REMOVED, Observed.UNKNOWN
FIRST, SECOND = NOW, NOW + timedelta(minutes=1)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sighting(order: int, state: Observed = RUNNING, run: datetime | None = FIRST, **changes: Any) -> Sighting:
    """What podman says when asked; an end is complete, with its time and code 1, unless a test says otherwise."""
    if state is EXITED and run:
        changes = {"finished_at": run + timedelta(seconds=30), "exit_code": 1, **changes}
    pid = 10 if state in (RUNNING, PAUSED) else 0
    seen = Sighting(order, "c1", "web-api", "web", "api", state, run, pid=pid, image=IMAGE, spec_hash="h1")
    return msgspec.structs.replace(seen, **changes)


def ended(run: datetime = FIRST, code: int | None = 1, by_hand: bool | None = False) -> Ended:
    return Ended("c1", run, run + timedelta(seconds=30), code, by_hand)


def probed(healthy: bool, seconds: float = 5, run: datetime = FIRST) -> Probed:
    """``order`` grows with time, as the poller's count does."""
    words = "" if healthy else "HTTP status 503"
    return Probed("c1", run, run + timedelta(seconds=seconds), healthy, words, order=1 + int(seconds))


def missed(order: int) -> Missed:
    return Missed(order, "c1", at(order))


def gone(order: int) -> Gone:
    return Gone(order, "c1", at(order))


class Outcome(NamedTuple):
    known: Known | None
    facts: list[Fact]

    @property
    def told(self) -> list[tuple[Observed, str]]:
        """The facts in the order in which they were told, each once, as the ledger keeps them."""
        return list(dict.fromkeys((each.state, each.message) for each in self.facts))

    @property
    def present(self) -> Known:
        assert self.known is not None
        return self.known


def play(*observations: Observation) -> Outcome:
    known: Known | None = None
    facts: list[Fact] = []
    for each in observations:
        known, news = observe(known, each)
        facts += news
    return Outcome(known, facts)


def state_after(*observations: Observation) -> Observed:
    return play(*observations).present.state


# Sightings


def test_the_first_sighting_tells_all_there_is_to_know() -> None:
    outcome = play(sighting(1, conmon_pid=9))
    assert outcome.known == Known(
        "c1",
        "web-api",
        "web",
        "api",
        RUNNING,
        FIRST,
        FIRST,
        1,
        pid=10,
        conmon_pid=9,
        image=IMAGE,
        spec_hash="h1",
    )
    assert outcome.told == [(RUNNING, "")]


def test_a_container_that_never_ran_tells_no_fact() -> None:
    outcome = play(sighting(1, CREATED, None))
    assert (outcome.present.state, outcome.facts) == (CREATED, [])


def test_a_container_that_is_found_dead_tells_that_it_ran_and_ended() -> None:
    outcome = play(sighting(1, EXITED, exit_code=137))
    assert outcome.told == [(RUNNING, ""), (EXITED, "exited 137 (SIGKILL)")]
    assert outcome.present.since == at(30)


def test_an_end_whose_code_podman_does_not_know_yet_is_told_when_it_does() -> None:
    half = sighting(2, EXITED, exit_code=None)
    assert play(sighting(1), half).told == [(RUNNING, "")]
    assert play(sighting(1), half, sighting(3, EXITED)).told == [(RUNNING, ""), (EXITED, "exited 1")]


@pytest.mark.parametrize("state", [RUNNING, PAUSED, EXITED])
def test_1_what_is_gone_does_not_come_back_by_an_older_answer(state: Observed) -> None:
    assert state_after(sighting(1), gone(3), sighting(2, state)) is REMOVED
    assert state_after(sighting(1), gone(3), sighting(2, state, SECOND)) is REMOVED


def test_1_an_older_answer_still_tells_its_facts_after_the_removal() -> None:
    assert (EXITED, "exited 1") in play(sighting(1), gone(3), sighting(2, EXITED)).told


def test_1_what_was_thought_gone_comes_back_by_a_newer_answer() -> None:
    assert state_after(sighting(1), gone(2), sighting(3)) is RUNNING


@pytest.mark.parametrize("order", [1, 9])
def test_2_an_older_run_tells_facts_and_changes_nothing(order: int) -> None:
    before = play(sighting(2, RUNNING, SECOND))
    after = play(sighting(2, RUNNING, SECOND), sighting(order, EXITED, FIRST))
    assert after.known == before.known
    assert after.told == [(RUNNING, ""), (EXITED, "exited 1")]


def test_2_a_sighting_from_before_the_first_start_changes_nothing() -> None:
    assert state_after(sighting(2), sighting(1, CREATED, None)) is RUNNING


def test_3_of_one_run_the_later_question_counts() -> None:
    assert state_after(sighting(3, PAUSED), sighting(2)) is PAUSED
    assert state_after(sighting(2), sighting(3, PAUSED)) is PAUSED


def test_3_an_end_beats_everything_else_of_its_run() -> None:
    """Two questions may be under way at once, and the earlier be answered later: with the end, which is final."""
    assert state_after(sighting(3), sighting(2, EXITED)) is EXITED
    assert state_after(sighting(2, EXITED), sighting(3)) is EXITED


@pytest.mark.parametrize("state", [RUNNING, PAUSED])
def test_4_the_kernels_end_beats_a_podman_that_does_not_know_it_yet(state: Observed) -> None:
    outcome = play(sighting(1), ended(), sighting(2, state))
    assert (outcome.present.state, outcome.present.exit_code, outcome.present.pid) == (EXITED, 1, 0)


def test_4_a_podman_that_does_not_know_of_the_end_may_know_that_it_is_by_hand() -> None:
    assert play(sighting(1), ended(), sighting(2, by_hand=True)).present.by_hand
    assert play(sighting(1), ended(by_hand=True), sighting(2)).present.by_hand


def test_4_a_renamed_container_has_its_new_name_even_when_it_ended() -> None:
    assert play(sighting(1), ended(), sighting(2, name="web-api.last")).present.name == "web-api.last"


def test_5_a_newer_run_is_news() -> None:
    outcome = play(sighting(1), ended(code=3), sighting(2, RUNNING, SECOND))
    assert (outcome.present.state, outcome.present.started_at) == (RUNNING, SECOND)
    assert (outcome.present.exit_code, outcome.present.by_hand) == (None, False)
    assert outcome.told == [(RUNNING, ""), (EXITED, "exited 3")]
    assert len({each.key for each in outcome.facts}) == 3


def test_5_podman_knows_nothing_of_our_probes() -> None:
    assert state_after(sighting(1), probed(True), sighting(2)) is HEALTHY
    sick = play(sighting(1), probed(False), sighting(2)).present
    assert (sick.state, sick.words, sick.since) == (UNHEALTHY, "HTTP status 503", at(5))


def test_5_a_probe_of_an_earlier_run_says_nothing_of_the_next() -> None:
    again = play(sighting(1), probed(False), sighting(2, RUNNING, SECOND)).present
    assert (again.state, again.words) == (RUNNING, "")


@pytest.mark.parametrize(("healthy", "state"), [(True, HEALTHY), (False, UNHEALTHY)])
def test_5_a_pause_does_not_make_a_probes_verdict_forgotten(healthy: bool, state: Observed) -> None:
    """The poller tells changes only: what it told before the pause is not told again after it."""
    assert state_after(sighting(1), probed(healthy), sighting(2, PAUSED), sighting(3)) is state


def test_5_since_is_when_it_went_into_its_state() -> None:
    assert play(sighting(1), sighting(2)).present.since == FIRST
    assert play(sighting(1), sighting(2, EXITED)).present.since == at(30)


def test_5_the_code_of_the_exit_file_outlives_a_podman_that_has_none() -> None:
    assert play(sighting(1), ended(code=137), sighting(2, EXITED, exit_code=None)).present.exit_code == 137


def test_5_an_end_stays_by_hand_when_podman_forgets_it() -> None:
    assert play(sighting(1, by_hand=True), ended(), sighting(2, EXITED)).present.by_hand
    assert play(sighting(1, by_hand=True), sighting(2, EXITED)).present.by_hand


# What the kernel says


def test_1_the_end_of_another_run_changes_nothing() -> None:
    outcome = play(sighting(1, RUNNING, SECOND), ended(FIRST, code=7))
    assert (outcome.present.state, outcome.present.exit_code) == (RUNNING, None)
    assert (EXITED, "exited 7") in outcome.told


def test_1_the_exit_file_completes_an_end_that_podman_told_without_a_code() -> None:
    assert play(sighting(1), sighting(2, EXITED, exit_code=None), ended(code=137)).present.exit_code == 137


def test_1_an_end_that_is_known_stays_as_it_is() -> None:
    assert play(sighting(1), sighting(2, EXITED, exit_code=3), ended(code=None)).present.exit_code == 3


def test_1_an_end_after_the_removal_does_not_undo_it() -> None:
    assert state_after(sighting(1), gone(2), ended()) is REMOVED


def test_2_the_end_of_the_present_run_is_told_with_its_code() -> None:
    outcome = play(sighting(1), probed(True), ended(code=137))
    present = outcome.present
    assert (present.state, present.exit_code, present.pid, present.words) == (EXITED, 137, 0, "")
    assert present.since == at(30)
    assert outcome.told == [(RUNNING, ""), (HEALTHY, ""), (EXITED, "exited 137 (SIGKILL)")]


def test_who_ended_it_is_open_until_podman_has_answered() -> None:
    assert play(sighting(1), ended(by_hand=None)).present.by_hand is None
    assert play(sighting(1), ended(by_hand=None), ended(by_hand=True)).present.by_hand is True
    assert play(sighting(1), ended(by_hand=None), sighting(2)).present.by_hand is False
    assert play(sighting(1), sighting(2, by_hand=True), ended(by_hand=None)).present.by_hand is True


def test_2_an_end_without_a_code_waits_for_podman_to_tell_it() -> None:
    assert play(sighting(1), ended(code=None)).told == [(RUNNING, "")]
    later = play(sighting(1), ended(code=None), sighting(2, EXITED, exit_code=2))
    assert (later.told, later.present.exit_code) == ([(RUNNING, ""), (EXITED, "exited 2")], 2)


def test_the_kernel_and_podman_tell_one_end_as_one_fact() -> None:
    by_kernel = {each.key for each in play(sighting(1), ended()).facts}
    by_podman = {each.key for each in play(sighting(1, EXITED)).facts}
    assert by_kernel == by_podman


# What probes say


def test_a_probe_changes_the_state_of_its_run() -> None:
    assert state_after(sighting(1), probed(True)) is HEALTHY
    sick = play(sighting(1), probed(True), probed(False, 9)).present
    assert (sick.state, sick.words, sick.since) == (UNHEALTHY, "HTTP status 503", at(9))


def test_every_time_that_a_run_gets_ill_is_a_fact_of_its_own() -> None:
    facts = play(sighting(1), probed(False, 1), probed(True, 2), probed(False, 3)).facts
    assert [each.state for each in facts] == [RUNNING, UNHEALTHY, HEALTHY, UNHEALTHY]
    assert len({each.key for each in facts}) == 4


def test_a_verdict_that_is_known_is_no_news() -> None:
    assert play(sighting(1), probed(True, 1), probed(True, 2)).told == [(RUNNING, ""), (HEALTHY, "")]


def said(healthy: bool, order: int, probe: str, *, is_first: bool = False) -> Probed:
    return Probed("c1", FIRST, at(order), healthy, "" if healthy else "ill", order, probe, is_first)


def test_the_first_word_of_who_begins_to_ask_may_be_known_already() -> None:
    """A poller that begins anew for a reason of its own tells nothing twice; that it is another word is news."""
    assert play(sighting(1), said(True, 1, "p"), said(True, 2, "p", is_first=True)).facts[1:] == [
        *play(sighting(1), said(True, 1, "p")).facts[1:]
    ]
    assert state_after(sighting(1), said(True, 1, "p"), said(False, 2, "p", is_first=True)) is UNHEALTHY


@pytest.mark.parametrize(("was_well", "state"), [(True, HEALTHY), (False, UNHEALTHY)])
def test_a_verdict_goes_with_its_probe(was_well: bool, state: Observed) -> None:
    before = play(sighting(1), said(was_well, 1, "p")).present
    assert before.state is state
    changed, facts = observe(before, Reprobed("c1", at(9), "q"))
    assert changed
    assert (changed.state, changed.words, changed.since) == (RUNNING, "", at(9))
    assert [(each.state, each.at, each.message) for each in facts] == [(RUNNING, at(9), "its probe was changed")]
    removed = observe(before, Reprobed("c1", at(9), ""))
    assert [each.message for each in removed.facts] == ["it no longer has a probe"]


def test_a_new_probe_speaks_of_the_same_run() -> None:
    changed = Reprobed("c1", at(9), "q")
    assert state_after(sighting(1), said(True, 1, "p"), changed, said(False, 2, "q", is_first=True)) is UNHEALTHY
    assert state_after(sighting(1), said(False, 1, "p"), changed, said(True, 2, "q", is_first=True)) is HEALTHY


@pytest.mark.parametrize("probe", ["p", ""])
def test_a_probe_that_is_the_same_keeps_its_verdict(probe: str) -> None:
    """So does that of an mcpd which did not keep whose it was: an upgrade closes no alert."""
    known = play(sighting(1), said(False, 1, probe)).present
    assert observe(known, Reprobed("c1", at(9), "p")) == (known, ())


def test_a_changed_probe_says_nothing_of_what_ended_or_is_paused() -> None:
    for state in (EXITED, PAUSED):
        known = play(sighting(1), said(False, 1, "p"), sighting(2, state)).present
        changed, facts = observe(known, Reprobed("c1", at(9), "q"))
        assert changed
        assert (changed.state, facts) == (state, ())
    assert state_after(
        sighting(1), said(False, 1, "p"), sighting(2, PAUSED), Reprobed("c1", at(9), "q"), sighting(3)
    ) is (RUNNING)


# Pauses


def test_a_pause_and_its_end_are_facts_with_the_time_at_which_they_were_seen() -> None:
    paused = play(sighting(1), probed(True), sighting(2, PAUSED, at=at(20)))
    assert (paused.present.since, paused.told[-1]) == (at(20), (PAUSED, "paused"))
    again = [sighting(1), probed(True), sighting(2, PAUSED, at=at(20)), sighting(3, at=at(30)), sighting(4, at=at(31))]
    assert play(*again).told[-2:] == [(PAUSED, "paused"), (HEALTHY, "unpaused")]
    assert play(*again).present.since == at(30)
    twice = play(*again, sighting(5, PAUSED, at=at(40)), sighting(6, PAUSED, at=at(41)))
    assert [each.state for each in twice.facts if each.message == "paused"] == [PAUSED, PAUSED]


def test_what_is_found_paused_tells_so_and_what_ends_in_a_pause_is_not_told_to_go_on() -> None:
    assert play(sighting(1, PAUSED, at=at(9))).told == [(RUNNING, ""), (PAUSED, "paused")]
    ends = play(sighting(1, PAUSED, at=at(9)), sighting(2, EXITED, at=at(40)))
    assert ends.told == [(RUNNING, ""), (PAUSED, "paused"), (EXITED, "exited 1")]


def test_a_pause_that_nobody_saw_for_a_while_is_told_to_be_over() -> None:
    seen = play(sighting(1, PAUSED, at=at(9)), missed(2), sighting(3, at=at(40)))
    assert seen.told[-1] == (RUNNING, "unpaused")
    assert play(sighting(1, PAUSED, at=at(9)), missed(2), sighting(3, PAUSED, at=at(40))).told[-1] == (PAUSED, "paused")
    assert len(play(sighting(1, PAUSED, at=at(9)), missed(2), sighting(3, PAUSED, at=at(40))).facts) == 2


# Who ended it, and what was told before


def test_what_mcpd_ended_itself_nobody_stopped_by_hand() -> None:
    stopped = play(sighting(1), sighting(2, by_hand=True), sighting(3, EXITED), Ours("c1", FIRST)).present.seen()
    assert (stopped.by_hand, stopped.by_us) == (False, True)
    again = play(
        sighting(1), Ours("c1", FIRST), sighting(2, RUNNING, SECOND), sighting(3, RUNNING, SECOND, by_hand=True)
    )
    assert (again.present.seen().by_hand, again.present.seen().by_us) == (True, False)


def test_the_start_of_a_run_is_told_with_its_first_sighting_and_not_again() -> None:
    """The ledger forgets what is old: a container that has run for longer would be told to start anew."""
    known = play(sighting(1)).present
    assert observe(known, sighting(2)).facts == ()
    over = play(sighting(1), sighting(2, EXITED)).present
    assert observe(over, sighting(3, EXITED)).facts == ()
    assert [each.state for each in observe(known, ended()).facts] == [EXITED]


@pytest.mark.parametrize("end", [ended(), sighting(2, EXITED), gone(2)])
def test_a_probe_does_not_bring_back_what_ended(end: Observation) -> None:
    before, after = play(sighting(1), end).known, play(sighting(1), end, probed(True)).known
    assert before is not None
    assert after is not None
    assert after.state is before.state


def test_a_probe_of_an_earlier_run_is_not_heard() -> None:
    assert state_after(sighting(1, RUNNING, SECOND), probed(False)) is RUNNING


# What is not there


def test_1_an_absence_from_before_the_last_sighting_is_not_believed() -> None:
    assert state_after(sighting(2), missed(1)) is RUNNING
    assert state_after(sighting(2), gone(1)) is RUNNING


def test_2_one_list_without_it_is_not_enough() -> None:
    outcome = play(sighting(1), missed(2))
    assert (outcome.present.state, outcome.told) == (UNKNOWN, [(RUNNING, "")])


def test_2_one_list_told_twice_is_still_one_list() -> None:
    assert state_after(sighting(1), missed(2), missed(2)) is UNKNOWN


def test_3_a_second_list_agrees() -> None:
    outcome = play(sighting(1), missed(2), missed(3))
    assert outcome.present.state is REMOVED
    assert (outcome.present.pid, outcome.told) == (0, [(RUNNING, ""), (REMOVED, "")])


def test_3_podmans_own_word_is_enough() -> None:
    assert play(sighting(1), gone(2)).told == [(RUNNING, ""), (REMOVED, "")]


def test_a_sighting_between_two_lists_starts_the_count_again() -> None:
    assert state_after(sighting(1), missed(2), sighting(3), missed(4)) is UNKNOWN


@pytest.mark.parametrize("observation", [ended(), probed(True), missed(1), gone(1)])
def test_nothing_is_known_of_a_container_that_nobody_has_described(observation: Observation) -> None:
    assert play(observation) == Outcome(None, [])


# Any order


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
@settings(max_examples=400)
def test_the_last_state_is_the_same_in_any_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=False))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=400)
def test_the_last_state_is_the_truth_however_much_was_missed_before_it(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=True))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=400)
def test_the_last_state_is_the_truth_whenever_probes_are_heard(data: st.DataObject) -> None:
    history = data.draw(histories(probes=True))
    shuffled = data.draw(deliveries(history, cut=True))
    assert truth_of(play(*shuffled).known) == truth_of(play(*history.observations).known)


@given(st.data())
@settings(max_examples=400)
def test_the_facts_are_the_same_in_any_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    shuffled = data.draw(deliveries(history, cut=False))
    assert keyed(play(*shuffled).facts) == keyed(play(*history.observations).facts)


@given(st.data())
@settings(max_examples=400)
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
