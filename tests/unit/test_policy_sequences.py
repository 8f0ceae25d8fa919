"""The alert policy: what holds for any sequence of looks."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.policy import judge
from monitor.model import MISSING, NOT_SEEN_YET, AlertKind, Desired, Seen, Wanted
from protos.parts import Heal
from tests.support.examples import EXAMPLES
from tests.support.watched_component import (
    BY_HAND,
    CREATED,
    DIED,
    DRIFT,
    ENDED_WELL,
    FLAP,
    OOM,
    OTHER_IMAGE,
    PAUSED,
    RECOVERED,
    RULES,
    SICK,
    UNCLEAR,
    UNKNOWN,
    UP,
    Component,
    wanted,
)


class Look(NamedTuple):
    seen: Seen
    after: float
    busy: bool


SEEN = st.sampled_from(
    [UP, DIED, ENDED_WELL, UNCLEAR, OOM, BY_HAND, SICK, CREATED, PAUSED, UNKNOWN, OTHER_IMAGE, MISSING, NOT_SEEN_YET]
)
AFTER = st.one_of(st.sampled_from([0.0, 0.001, 9.999, 10.0, 599.0, 600.0, 900.0]), st.floats(0, 2000))
LOOKS = st.lists(st.builds(Look, SEEN, AFTER, st.booleans()), max_size=40)
WANTED = st.builds(
    wanted,
    st.sampled_from(["no", "always", "on-failure", "unless-stopped"]),
    st.sampled_from(Heal),
    st.sampled_from(Desired),
)
SILENCED = st.sampled_from(["", "", "", "silence 1"])


@given(WANTED, LOOKS, st.lists(SILENCED, min_size=40, max_size=40))
@settings(max_examples=4 * EXAMPLES)
def test_whatever_happens_alerts_are_closed_before_they_open_again(
    wanted: Wanted, looks: Sequence[Look], silenced: Sequence[str]
) -> None:
    component, now, opened = Component(wanted), 1000.0, set[AlertKind]()
    for look, silence in zip(looks, silenced, strict=False):
        now += look.after
        kept_quiet = component.memory.muted
        verdict = component.look(now, look.seen, busy=look.busy, silenced=silence)
        assert not (look.busy and (verdict.raised or verdict.heal))
        assert verdict.again_in is None or verdict.again_in > 0
        for raised in verdict.raised:
            if raised.kind is RECOVERED:
                assert opened
                opened.clear()
            else:
                # Again only for what a rule kept quiet, when the rule has ended.
                assert raised.kind not in opened or raised.kind in kept_quiet
                assert not (raised.kind is DRIFT and FLAP in opened)
                opened.add(raised.kind)
        assert component.memory.open == opened
        assert component.memory.muted <= component.memory.open
        again = judge(component.memory, wanted, look.seen, now, RULES, busy=look.busy, silenced=silence)
        assert again.raised == ()
        assert again.memory == component.memory


@given(WANTED, LOOKS)
@settings(max_examples=2 * EXAMPLES)
def test_who_looks_when_asked_to_misses_nothing_that_looking_all_the_time_finds(
    wanted: Wanted, looks: Sequence[Look]
) -> None:
    """``again_in`` is enough: looking more often changes neither what is told nor in which order."""
    lazy, eager, now = Component(wanted), Component(wanted), 1000.0
    for look in looks:
        end = now + look.after
        times, due = [now + look.after * tenth / 10 for tenth in range(10)], now
        while due < end or due == now:
            times.append(due)
            again_in = lazy.look(due, look.seen, busy=look.busy).again_in
            if again_in is None:
                break
            due += again_in
        for time in sorted(times):
            eager.look(time, look.seen, busy=look.busy)
        now = end
    assert lazy.raised == eager.raised
