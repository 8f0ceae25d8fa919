"""The reducer: what probes say, and pauses."""

import msgspec
import pytest

from monitor.model import Fact, Observed, Probed, Reprobed
from monitor.reducer import observe
from protos.parts import Health
from tests.support.observations import (
    EXITED,
    FIRST,
    HEALTHY,
    PAUSED,
    RUNNING,
    UNHEALTHY,
    at,
    ended,
    missed,
    play,
    probed,
    sighting,
    state_after,
)

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


def test_what_a_probe_says_is_a_fact_of_its_run_and_its_time() -> None:
    start, key = FIRST.isoformat(), f"c1/{FIRST.isoformat()}/unhealthy/{at(5).isoformat()}"
    ill = play(sighting(1), probed(False, 5))
    assert ill.facts[1:] == [Fact(key, "web", "api", "c1", UNHEALTHY, at(5), "HTTP status 503")]
    changed = observe(ill.present, Reprobed("c1", at(9), "q"))
    assert changed.facts == ()  # nobody kept of which probe it was
    known = play(sighting(1), said(False, 5, "p")).present
    (fact,) = observe(known, Reprobed("c1", at(9), "q")).facts
    assert fact.key == f"c1/{start}/running/{at(9).isoformat()}"


def test_what_a_healthy_container_answers_is_no_reason_to_be_shown() -> None:
    well = msgspec.structs.replace(said(True, 1, "p"), words="HTTP status 200")
    assert play(sighting(1), well).present.words == ""


def test_of_two_answers_the_one_to_the_later_question_counts_whenever_it_comes() -> None:
    assert state_after(sighting(1), said(True, 5, "p"), said(False, 3, "p")) is HEALTHY
    assert state_after(sighting(1), said(True, 5, "p"), said(False, 5, "p")) is HEALTHY
    assert state_after(sighting(1), said(True, 5, "p"), sighting(2), said(False, 3, "p")) is HEALTHY


@pytest.mark.parametrize("healthy", [True, False])
def test_what_an_earlier_mcpd_knew_of_its_health_is_no_news_to_this_one(healthy: bool) -> None:
    """Questions are counted anew then."""
    before = msgspec.structs.replace(play(sighting(1), said(healthy, 7, "p")).present, probed_order=0)
    known, facts = observe(before, said(healthy, 1, "p"))
    assert facts == ()
    assert known == msgspec.structs.replace(before, probed_order=1)


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
    assert (changed.probed, changed.probe) == (None, "")
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
    assert paused.facts[-1].key == f"c1/{FIRST.isoformat()}/paused/{at(20).isoformat()}"
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


# The health check of its image


CHECK, OTHER = Health(cmd=("check",)), Health(cmd=("other",))


def test_a_health_check_is_that_of_the_newest_question_whatever_came_first() -> None:
    old, new = sighting(1, own_probe=CHECK), sighting(2, own_probe=OTHER)
    assert play(old, new).present.own_probe == play(new, old).present.own_probe == OTHER
    assert play(new, sighting(3, EXITED, own_probe=None)).present.own_probe is None


def test_a_health_check_stays_whatever_else_is_observed_of_the_container() -> None:
    seen = play(sighting(1, own_probe=CHECK), probed(True), missed(2), ended()).present
    assert (seen.state, seen.own_probe) == (EXITED, CHECK)


def test_who_did_not_ask_for_it_takes_nothing_away() -> None:
    assert play(sighting(1, own_probe=CHECK), sighting(2, PAUSED)).present.own_probe == CHECK
