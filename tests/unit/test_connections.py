"""Which connections are taken, which are closed, and how often that is told."""

from __future__ import annotations

from typing import Any, cast

import pytest
import structlog

from mcpd.rpc import connections
from mcpd.rpc.connections import IDLE_S, MAX_PER_PEER, PREFACE_S, Connection, Connections, Seen, overdue
from tests.support.clock import Clock

BUSY = Seen(1000.0, True, 1000.0)


class Double:
    """As much of a connection as the table looks at."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.closed = 0

    def seen(self, now: float) -> Seen:
        return self._seen

    def farewell(self) -> None:
        self.closed += 1


def add(table: Connections, peer: str, seen: Seen = BUSY) -> Double:
    made = Double(seen)
    table.add(cast(Connection, made), peer)
    return made


@pytest.mark.parametrize(
    ("seen", "now", "is_overdue"),
    [
        (Seen(0, False, 0), PREFACE_S - 0.1, False),
        (Seen(0, False, 0), PREFACE_S, True),
        (Seen(0, True, 0), PREFACE_S, False),
        (Seen(0, True, 0), IDLE_S, True),
        (Seen(0, True, IDLE_S), IDLE_S + 1, False),
    ],
)
def test_a_connection_is_closed_when_it_is_silent_or_idle_for_too_long(
    seen: Seen, now: float, is_overdue: bool
) -> None:
    assert bool(overdue(seen, now)) is is_overdue


async def test_a_sweep_closes_what_is_overdue_and_nothing_else() -> None:
    clock = Clock(1000.0)
    table = Connections(clock)
    idle, busy = add(table, "a", Seen(0, True, 1000.0 - IDLE_S)), add(table, "a")
    await table.sweep()
    assert (idle.closed, busy.closed) == (1, 0)


def test_a_peer_that_has_its_share_is_refused_and_others_are_not() -> None:
    table = Connections(Clock(1000.0))
    held = [add(table, "a") for _ in range(MAX_PER_PEER)]
    assert str(MAX_PER_PEER) in table.refusal("a")
    assert table.refusal("b") == ""
    table.remove(cast(Connection, held[0]))
    table.remove(cast(Connection, held[0]))
    assert table.refusal("a") == ""
    add(table, "a")
    assert table.refusal("a")


def test_there_is_a_limit_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    table = Connections(Clock(1000.0))
    for peer in "abc":
        add(table, peer)
    assert "3 connections" in table.refusal("d")


def test_a_refusal_is_logged_once_per_peer_and_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_TOLD", 2)
    clock = Clock(1000.0)
    table = Connections(clock)

    def told(*peers: str) -> list[Any]:
        with structlog.testing.capture_logs() as lines:
            for peer in peers:
                table.tell(peer, "why")
        return [line["peer"] for line in lines]

    assert told("a", "a", "b", "a") == ["a", "b"]
    clock.now += 59
    assert told("a", "b") == []
    clock.now += 2
    assert told("a", "a") == ["a"]
    # The table is bounded: the one that was told longest ago gives way.
    assert told("c", "b") == ["c", "b"]
