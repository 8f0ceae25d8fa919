"""Strangers' calls are told of at once, and then once a minute; they never fill the log, the table or memory."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mcpd.registry.audit import AuditEntry
from mcpd.rpc.anonymous_calls import MINUTE_S, MOST_KINDS, OTHERS, AnonymousCalls
from tests.support.builders import NOW
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> AnonymousCalls:
    return AnonymousCalls(clock)


def call(method: str = "Check", status: str = "OK", ms: int = 1) -> AuditEntry:
    return AuditEntry(NOW, method, "", "", "10.0.0.1:4711", "", status, timedelta(milliseconds=ms))


def test_the_first_of_a_kind_is_told_of_at_once_and_the_others_at_the_end_of_the_minute(
    tally: AnonymousCalls, clock: Clock
) -> None:
    assert tally.is_first(call(), "10.0.0.1")
    assert not tally.is_first(call(ms=2), "10.0.0.1")
    assert not tally.is_first(call(ms=4), "10.0.0.1")
    clock.now = MINUTE_S - 1
    assert tally.due() == []
    clock.now = MINUTE_S
    (told,) = tally.due()
    assert (told.method, told.status, told.peer, told.calls) == ("Check", "OK", "10.0.0.1", 2)
    assert told.target == "2 more such calls within a minute"
    assert told.duration == timedelta(milliseconds=3)


def test_refused_logins_another_status_another_rpc_and_another_peer_are_other_kinds(tally: AnonymousCalls) -> None:
    assert tally.is_first(call(), "10.0.0.1")
    assert tally.is_first(call(status="UNAUTHENTICATED"), "10.0.0.1")
    assert tally.is_first(call("Watch"), "10.0.0.1")
    assert tally.is_first(call(), "10.0.0.2")


def test_what_goes_on_is_told_of_once_a_minute_and_what_has_ended_is_forgotten(
    tally: AnonymousCalls, clock: Clock
) -> None:
    assert tally.is_first(call(), "10.0.0.1")
    for minute in range(1, 4):
        assert not tally.is_first(call(), "10.0.0.1")
        clock.now = minute * MINUTE_S
        assert [each.calls for each in tally.due()] == [1]
    clock.now += MINUTE_S
    assert tally.due() == []
    assert tally.is_first(call(), "10.0.0.1")


def test_at_the_end_all_is_told_of(tally: AnonymousCalls) -> None:
    tally.is_first(call(), "10.0.0.1")
    tally.is_first(call(), "10.0.0.1")
    assert len(tally.due(all_of_them=True)) == 1
    assert tally.due(all_of_them=True) == []


def test_whoever_has_many_addresses_is_counted_as_one(tally: AnonymousCalls) -> None:
    told = sum(tally.is_first(call(), f"2001:db8::{number:x}") for number in range(MOST_KINDS * 4))
    assert told == MOST_KINDS + 1
    (others,) = tally.due(all_of_them=True)
    assert (others.peer, others.calls) == (OTHERS, MOST_KINDS * 3 - 1)
