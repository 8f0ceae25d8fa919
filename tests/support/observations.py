"""What sources observe of one container, and what the reducer makes of it."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from monitor.model import Ended, Fact, Gone, Known, Missed, Observation, Observed, Probed, Sighting
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
