"""The reducer: one picture of a container from what podman, the kernel and the lists say of it."""

import msgspec
import pytest

from monitor.model import Fact, Known, Observation, Observed, Ours
from monitor.reducer import observe
from tests.support.builders import IMAGE
from tests.support.observations import (
    CREATED,
    EXITED,
    FIRST,
    HEALTHY,
    PAUSED,
    REMOVED,
    RUNNING,
    SECOND,
    UNHEALTHY,
    UNKNOWN,
    Outcome,
    at,
    ended,
    gone,
    missed,
    play,
    probed,
    sighting,
    state_after,
)

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


def test_2_a_run_that_began_earlier_is_the_newer_one_when_podman_was_asked_after_it_had_told_of_the_other() -> None:
    """Somebody has set the clock back between the two; question 3 was the last one when the first was answered."""
    later = play(sighting(2, run=SECOND, answered=3), sighting(4, run=FIRST))
    assert later.present.started_at == FIRST


def test_2_a_run_that_began_earlier_is_the_older_one_when_the_questions_overlapped() -> None:
    assert play(sighting(2, run=SECOND, answered=3), sighting(3, run=FIRST)).present.started_at == SECOND


@pytest.mark.parametrize("absent", [missed(2), gone(2)])
def test_what_an_operation_saw_is_news_to_an_mcpd_that_has_asked_nothing_yet(absent: Observation) -> None:
    """Neither what an earlier mcpd knew nor what an operation saw has the number of a question."""
    before = msgspec.structs.replace(play(sighting(1), absent).present, order=0)
    after = observe(before, sighting(0, name="web-api.last")).known
    assert after
    assert (after.state, after.name) == (RUNNING, "web-api.last")


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


def test_5_a_container_that_was_started_again_is_in_its_state_since_then_and_not_since_it_was_asked_for() -> None:
    """podman keeps the time of the end before."""
    assert play(sighting(1, RUNNING, SECOND, finished_at=at(30), at=at(90))).present.since == SECOND


def test_5_what_podman_does_not_say_the_time_of_is_so_since_the_start() -> None:
    assert play(sighting(1, EXITED, finished_at=None)).present.since == FIRST
    assert play(sighting(1, PAUSED)).present.since == FIRST


def test_5_the_code_of_the_exit_file_outlives_a_podman_that_has_none() -> None:
    assert play(sighting(1), ended(code=137), sighting(2, EXITED, exit_code=None)).present.exit_code == 137


def test_5_an_end_stays_by_hand_when_podman_forgets_it() -> None:
    assert play(sighting(1, by_hand=True), ended(), sighting(2, EXITED)).present.by_hand
    assert play(sighting(1, by_hand=True), sighting(2, EXITED)).present.by_hand


def test_what_is_first_seen_running_was_not_paused_before() -> None:
    assert play(sighting(1, at=at(9))).told == [(RUNNING, "")]


def test_a_renamed_container_keeps_its_new_name_when_an_older_answer_comes() -> None:
    assert play(sighting(3, name="web-api.last"), sighting(2)).present.name == "web-api.last"
    over = play(sighting(3, name="web-api.last"), sighting(2, EXITED)).present
    assert (over.state, over.name, over.order) == (EXITED, "web-api.last", 3)


def test_that_it_was_out_of_memory_stays_known_when_podman_forgets_it() -> None:
    killed = play(sighting(1), sighting(2, EXITED, exit_code=137, out_of_memory=True))
    assert killed.told[-1] == (EXITED, "exited 137 (out of memory)")
    assert killed.present.seen().out_of_memory
    again = play(
        sighting(1), sighting(2, EXITED, exit_code=137, out_of_memory=True), sighting(3, EXITED, exit_code=137)
    )
    assert again.present.seen().out_of_memory
    assert not play(sighting(1), sighting(2, EXITED, exit_code=137)).present.seen().out_of_memory


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


def test_a_fact_says_what_happened_to_whose_container_and_when() -> None:
    """Its key is kept, and known again by every later mcpd."""
    started = Fact(f"c1/{FIRST.isoformat()}/running", "web", "api", "c1", RUNNING, FIRST)
    exited = Fact(f"c1/{FIRST.isoformat()}/exited", "web", "api", "c1", EXITED, at(30), "exited 7")
    assert play(sighting(1)).facts == [started]
    # The kernel tells of a run that nobody had seen before the next.
    assert play(sighting(1, RUNNING, SECOND), ended(FIRST, code=7)).facts[1:] == [started, exited]
    assert play(sighting(1, EXITED, exit_code=7)).facts == [started, exited]
    assert play(sighting(1), gone(2)).facts == [started, Fact("c1//removed", "web", "api", "c1", REMOVED, at(2))]


# Who ended it, and what was told before


@pytest.mark.parametrize("by_hand", [True, False])
def test_who_ended_it_stays_known_whatever_the_kernel_says_later(by_hand: bool) -> None:
    over = [sighting(1), sighting(2, EXITED, by_hand=by_hand)]
    assert play(*over, ended(by_hand=None)).present.by_hand is by_hand
    assert play(*over, ended(by_hand=False)).present.by_hand is by_hand


def test_that_mcpd_ended_an_earlier_run_says_nothing_of_this_one() -> None:
    assert not play(sighting(1, RUNNING, SECOND), Ours("c1", FIRST)).present.by_us


def test_what_mcpd_ended_itself_nobody_stopped_by_hand() -> None:
    stopped = play(sighting(1), sighting(2, by_hand=True), sighting(3, EXITED), Ours("c1", FIRST)).present.seen()
    assert (stopped.by_hand, stopped.by_us) == (False, True)
    assert play(sighting(1), Ours("c1", FIRST), sighting(2)).present.by_us
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


def test_1_an_older_answer_that_it_is_gone_is_a_fact_and_an_older_list_without_it_is_none() -> None:
    assert play(sighting(2), gone(1)).told == [(RUNNING, ""), (REMOVED, "")]
    assert play(sighting(2), missed(1)).told == [(RUNNING, "")]


def test_it_is_missing_since_the_list_that_did_not_have_it() -> None:
    assert play(sighting(1), missed(2)).present.since == at(2)
    assert play(sighting(1), missed(2), missed(3)).present.since == at(3)
    assert play(sighting(1), gone(4)).present.since == at(4)


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
