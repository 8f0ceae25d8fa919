"""Failed attempts are counted by peer, forgotten after a while, and never fill memory."""

from __future__ import annotations

import pytest

from mcpd.rpc import failures_by_peer
from mcpd.rpc.failures_by_peer import MAX_FAILURES, WINDOW_S, FailuresByPeer
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> FailuresByPeer:
    return FailuresByPeer(clock)


def fail(table: FailuresByPeer, peer: str, times: int) -> None:
    for _ in range(times):
        table.failed(peer)


def test_a_peer_may_fail_so_often_and_then_waits_for_the_end_of_the_window(table: FailuresByPeer, clock: Clock) -> None:
    fail(table, "10.0.0.1", MAX_FAILURES - 1)
    assert table.wait("10.0.0.1") == 0
    clock.now = 10.0
    table.failed("10.0.0.1")
    assert table.wait("10.0.0.1") == WINDOW_S - 10.0
    clock.now = WINDOW_S
    assert table.wait("10.0.0.1") == 0


def test_another_peer_is_not_held_up(table: FailuresByPeer) -> None:
    fail(table, "10.0.0.1", MAX_FAILURES)
    assert table.wait("10.0.0.2") == 0


def test_the_table_is_bounded_and_the_oldest_gives_way(table: FailuresByPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures_by_peer, "_MAX_PEERS", 2)
    for peer in ("a", "b", "c"):
        fail(table, peer, MAX_FAILURES + 5)
    assert table.wait("a") == 0
    assert table.wait("b") > 0
    assert table.wait("c") > 0
