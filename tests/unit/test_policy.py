"""What deserves an alert, and when: grace, flaps, recoveries, what suppresses, and what heals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.policy import Memory, Raised, Rules, Verdict, judge
from monitor.model import MISSING, NOT_SEEN_YET, AlertKind, Desired, Observed, Seen, Wanted
from protos.spec import Heal
from tests.support.builders import IMAGE

DRIFT, FLAP, RECOVERED = AlertKind.DRIFT, AlertKind.FLAP, AlertKind.RECOVERED
RULES = Rules(drift_grace=10, flap_threshold=3, flap_window=600, cooldown=900)

UP = Seen(Observed.RUNNING, IMAGE, "h1")
DIED = Seen(Observed.EXITED, IMAGE, "h1", exit_code=137)
ENDED_WELL = Seen(Observed.EXITED, IMAGE, "h1", exit_code=0)
OOM = Seen(Observed.EXITED, IMAGE, "h1", exit_code=137, out_of_memory=True)
BY_HAND = Seen(Observed.EXITED, IMAGE, "h1", exit_code=0, by_hand=True)
SICK = Seen(Observed.UNHEALTHY, IMAGE, "h1", words="HTTP status 503")
CREATED = Seen(Observed.CREATED, IMAGE, "h1")
PAUSED = Seen(Observed.PAUSED, IMAGE, "h1")
UNKNOWN = Seen(Observed.UNKNOWN, IMAGE, "h1")
OTHER_IMAGE = Seen(Observed.RUNNING, "registry.example.net:5000/app:v0", "h0")


def wanted(restart: str = "no", heal: Heal = Heal.ALERT, desired: Desired = Desired.RUNNING) -> Wanted:
    return Wanted("web", "api", desired, IMAGE, "h1", restart, heal)


ALWAYS = wanted("always")
HEALED = wanted(heal=Heal.RESTART)
STOPPED = wanted(desired=Desired.STOPPED)
IGNORED = wanted(desired=Desired.IGNORE)


class Component:
    """One component over time: looks at it and keeps what was raised."""

    def __init__(self, wanted: Wanted, rules: Rules = RULES) -> None:
        self.wanted = wanted
        self.rules = rules
        self.memory = Memory()
        self.raised: list[Raised] = []

    def look(self, now: float, seen: Seen, **changes: Any) -> Verdict:
        verdict = judge(self.memory, self.wanted, seen, now, self.rules, **changes)
        self.memory = verdict.memory
        self.raised += verdict.raised
        return verdict

    def dies(self, *times: float, seen: Seen = DIED) -> None:
        """Goes down at each of the times, and is up again a second later."""
        for now in times:
            self.look(now - 0.5, UP)
            self.look(now, seen)
            self.look(now + 1, UP)

    @property
    def told(self) -> list[AlertKind]:
        return [each.kind for each in self.raised if not each.suppressed_by]

    @property
    def kinds(self) -> list[AlertKind]:
        return [each.kind for each in self.raised]


# Grace


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (ALWAYS, DIED),
        (ALWAYS, ENDED_WELL),
        (wanted("unless-stopped"), DIED),
        (wanted("on-failure"), DIED),
        (HEALED, DIED),
        (wanted(), SICK),
        (wanted(), CREATED),
        (wanted(), UNKNOWN),
        (wanted(), NOT_SEEN_YET),
    ],
)
def test_what_something_may_mend_is_told_after_the_grace(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    component.look(0, UP)
    assert component.look(100, seen).again_in == 10
    assert component.look(109, seen).again_in == 1
    assert component.kinds == []
    component.look(110, seen)
    assert component.kinds == [DRIFT]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (wanted("no"), DIED),
        (wanted("on-failure"), ENDED_WELL),
        (ALWAYS, BY_HAND),
        (HEALED, BY_HAND),
        (ALWAYS, MISSING),
        (HEALED, MISSING),
        (wanted(), PAUSED),
        (wanted(), OTHER_IMAGE),
        (STOPPED, UP),
    ],
)
def test_what_nothing_will_mend_is_told_at_once(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    component.look(0, UP if wanted is not STOPPED else DIED)
    verdict = component.look(100, seen)
    assert [each.kind for each in verdict.raised] == [DRIFT]


def test_what_mended_itself_within_the_grace_is_never_told() -> None:
    component = Component(ALWAYS)
    component.dies(100)
    component.look(1000, UP)
    assert component.raised == []


def test_the_grace_begins_anew_after_a_mending() -> None:
    component = Component(ALWAYS)
    component.dies(100)
    assert component.look(108, DIED).again_in == 10
    component.look(112, DIED)
    assert component.raised == []


def test_a_drift_that_changes_its_reason_has_one_grace_and_one_alert() -> None:
    component = Component(ALWAYS)
    component.look(100, SICK)
    component.look(105, DIED)
    component.look(110, DIED)
    component.look(120, BY_HAND)
    component.look(130, MISSING)
    assert component.kinds == [DRIFT]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [(ALWAYS, UP), (ALWAYS, Seen(Observed.HEALTHY, IMAGE, "h1")), (STOPPED, DIED), (STOPPED, MISSING), (IGNORED, DIED)],
)
def test_what_is_as_wanted_is_never_told(wanted: Wanted, seen: Seen) -> None:
    component = Component(wanted)
    verdicts = [component.look(now, seen) for now in (0, 100, 10_000)]
    assert component.raised == []
    assert {(each.again_in, each.heal) for each in verdicts} == {(None, False)}


# Reasons


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (DIED, "exited 137 (SIGKILL)"),
        (ENDED_WELL, "exited 0"),
        (OOM, "exited 137 (out of memory)"),
        (BY_HAND, "exited 0, stopped by hand"),
        (OTHER_IMAGE, "image v0 runs, v1 is wanted"),
        (SICK, "unhealthy: HTTP status 503"),
        (MISSING, "missing: no such container"),
        (PAUSED, "paused, should be running"),
        (CREATED, "created, never started"),
        (UNKNOWN, "unknown: not seen"),
    ],
)
def test_an_alert_says_why(seen: Seen, reason: str) -> None:
    component = Component(wanted())
    component.look(100, seen)
    component.look(110, seen)
    assert [each.reason for each in component.raised] == [reason]


def test_what_podman_should_restart_and_does_not_was_stopped_by_hand() -> None:
    component = Component(ALWAYS)
    component.look(100, DIED)
    component.look(110, DIED)
    assert [each.reason for each in component.raised] == [
        "exited 137 (SIGKILL), and podman did not restart it: stopped by hand"
    ]


def test_an_alert_says_how_often_it_has_happened() -> None:
    component = Component(wanted(), Rules(flap_threshold=5, cooldown=0))
    component.dies(100, 200, 340)
    reasons = [each.reason for each in component.raised if each.kind is DRIFT]
    assert reasons == [
        "exited 137 (SIGKILL)",
        "exited 137 (SIGKILL), 2nd time in 1m",
        "exited 137 (SIGKILL), 3rd time in 4m",
    ]
    assert [each.transitions for each in component.raised if each.kind is DRIFT] == [1, 2, 3]


def test_what_happened_before_the_window_is_not_counted() -> None:
    component = Component(wanted(), Rules(flap_threshold=5, cooldown=0))
    component.dies(100, 701)
    assert [each.reason for each in component.raised if each.kind is DRIFT] == [
        "exited 137 (SIGKILL)",
        "exited 137 (SIGKILL)",
    ]


# Flaps


def test_the_third_fall_within_the_window_is_a_flap() -> None:
    component = Component(ALWAYS)
    component.dies(100, 200)
    assert component.raised == []
    component.look(320, DIED)
    assert [(each.kind, each.reason, each.transitions) for each in component.raised] == [
        (FLAP, "3 times down within 3m; last: exited 137 (SIGKILL)", 3)
    ]


def test_the_third_fall_after_the_window_is_none() -> None:
    component = Component(ALWAYS)
    component.dies(100, 200, 701)
    assert component.raised == []


def test_a_flap_is_one_alert_and_no_drift_is_told_meanwhile() -> None:
    component = Component(wanted())
    component.dies(*range(100, 400, 10), seen=BY_HAND)
    component.look(5000, BY_HAND)
    component.look(9000, BY_HAND)
    assert component.kinds.count(FLAP) == 1
    assert DRIFT not in component.kinds[component.kinds.index(FLAP) :]


def test_a_flap_is_over_when_it_has_been_up_for_a_whole_window() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110, 120)
    component.look(600, UP)
    assert component.kinds == [FLAP]
    again_in = component.look(700, UP).again_in
    assert again_in == pytest.approx(20, abs=0.01)
    component.look(700 + again_in, UP)
    assert component.kinds == [FLAP, RECOVERED]
    assert component.raised[-1].reason == "flap is over"


def test_a_look_that_is_asked_for_is_never_asked_for_at_once() -> None:
    """Else who follows it looks again and again in the same instant: a sum of floats may round to either side."""
    for number in range(200):
        component = Component(ALWAYS)
        fall = 1000 + number / 7
        component.dies(fall - 3, fall - 1.5, fall)
        again_in = component.look(fall + RULES.flap_window, UP).again_in
        assert again_in is None or again_in > 0


def test_what_stays_down_after_a_flap_has_not_recovered() -> None:
    component = Component(ALWAYS)
    component.dies(100, 110)
    component.look(120, DIED)
    component.look(10_000, DIED)
    assert component.kinds == [FLAP]
    component.look(10_001, UP)
    assert component.kinds == [FLAP, RECOVERED]


def test_a_flap_that_grew_out_of_a_drift_closes_with_it_in_one_recovery() -> None:
    component = Component(wanted(), Rules(flap_threshold=1))
    component.memory = Memory(open=frozenset({DRIFT}))
    component.look(100, UP)
    component.memory = Memory(was_up=True, open=frozenset({DRIFT}))
    component.look(101, DIED)
    component.look(102, UP)
    component.look(800, UP)
    assert component.kinds[-2:] == [FLAP, RECOVERED]
    assert component.raised[-1].reason == "drift and flap is over"
    assert component.memory.open == frozenset()


def test_sicknesses_make_a_flap_as_deaths_do() -> None:
    component = Component(wanted())
    component.dies(100, 110, 120, seen=SICK)
    assert component.kinds == [FLAP]


def test_what_nobody_declared_does_not_flap() -> None:
    component = Component(IGNORED)
    component.dies(100, 110, 120, 130)
    assert component.raised == []


# Recoveries


def test_a_recovery_is_told_once() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    for now in (200, 200, 201, 5000):
        component.look(now, UP)
    assert component.kinds == [DRIFT, RECOVERED]
    assert component.raised[-1].reason == "drift is over"
    assert component.memory.open == frozenset()


def test_a_recovery_has_no_cooldown_of_its_own() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.look(100, DIED)
    component.look(110, UP)
    component.look(2000, DIED)
    component.look(2010, UP)
    assert component.told == [DRIFT, RECOVERED, DRIFT, RECOVERED]


def test_a_drift_ends_when_it_is_not_wanted_to_run_any_more() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.wanted = STOPPED
    component.look(110, DIED)
    assert component.kinds == [DRIFT, RECOVERED]


# Our own operations


def test_nothing_is_told_of_what_our_own_operation_does() -> None:
    component = Component(wanted())
    component.look(0, UP)
    for now, seen in enumerate([BY_HAND, MISSING, CREATED, OTHER_IMAGE], start=100):
        assert component.look(now, seen, busy=True)[1:] == ((), None, False)
    component.look(110, UP)
    assert component.raised == []


def test_the_grace_begins_when_our_operation_ends() -> None:
    component = Component(ALWAYS)
    component.look(95, DIED)
    component.look(100, DIED, busy=True)
    assert component.look(120, DIED).again_in == 10
    assert component.raised == []


def test_what_our_operation_left_broken_is_told_after_it() -> None:
    component = Component(wanted())
    component.look(100, DIED, busy=True)
    component.look(110, DIED)
    assert component.kinds == [DRIFT]


def test_what_our_operations_stop_is_no_fall() -> None:
    """Three deploys within ten minutes are a busy morning, and no crash loop."""
    component = Component(wanted())
    component.look(0, UP)
    for now in (100, 200, 300, 400):
        component.look(now, BY_HAND, busy=True)
        component.look(now + 1, UP, busy=True)
        component.look(now + 2, UP)
    assert component.raised == []


def test_an_alert_stays_open_during_our_operation_and_closes_after_it() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, UP, busy=True)
    assert component.kinds == [DRIFT]
    component.look(111, UP)
    assert component.kinds == [DRIFT, RECOVERED]


# Suppressed


def test_a_second_drift_within_the_cooldown_is_suppressed_by_name() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 400)
    assert component.told == [DRIFT, RECOVERED]
    assert component.kinds == [DRIFT, RECOVERED, DRIFT, RECOVERED]
    assert component.raised[2].suppressed_by == "cooldown, last sent 5m ago"


def test_the_recovery_of_a_suppressed_alert_is_suppressed_too() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 400)
    assert component.raised[3].suppressed_by == "its alert was suppressed"


def test_the_cooldown_counts_from_what_was_told_last() -> None:
    component = Component(wanted(), Rules(flap_threshold=9))
    component.dies(100, 900, 1001)
    assert [bool(each.suppressed_by) for each in component.raised if each.kind is DRIFT] == [False, True, False]


def test_every_kind_has_a_cooldown_of_its_own() -> None:
    component = Component(wanted())
    component.dies(100, 200, 300)
    assert component.told == [DRIFT, RECOVERED, FLAP]


def test_a_silence_suppresses_and_is_named() -> None:
    component = Component(wanted())
    component.look(100, DIED, silenced="silence 3 until 2026-03-01 13:00 UTC")
    component.look(110, UP)
    assert [each.suppressed_by for each in component.raised] == [
        "silence 3 until 2026-03-01 13:00 UTC",
        "its alert was suppressed",
    ]


def test_a_silenced_alert_starts_no_cooldown() -> None:
    component = Component(wanted())
    component.look(100, DIED, silenced="silence 3")
    component.look(110, UP)
    component.look(120, DIED)
    assert component.told == [DRIFT]


def test_a_silence_keeps_the_recovery_of_what_was_told_quiet() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, UP, silenced="silence 3")
    assert component.raised[-1] == Raised(RECOVERED, "drift is over", 0, "silence 3")


def test_a_recovery_is_told_when_any_of_what_it_closes_was_told() -> None:
    component = Component(wanted())
    component.memory = Memory(open=frozenset({DRIFT, FLAP}), muted=frozenset({FLAP}))
    component.look(100, UP)
    assert component.told == [RECOVERED]


# Healing


@pytest.mark.parametrize(
    ("wanted", "seen", "heals"),
    [
        (HEALED, DIED, True),
        (HEALED, ENDED_WELL, True),
        (wanted("on-failure", Heal.RESTART), ENDED_WELL, True),
        (HEALED, BY_HAND, False),
        (HEALED, MISSING, False),
        (HEALED, UNKNOWN, False),
        (HEALED, PAUSED, False),
        (HEALED, SICK, False),
        (HEALED, OTHER_IMAGE, False),
        (HEALED, UP, False),
        (wanted(), DIED, False),
        (ALWAYS, DIED, False),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), DIED, False),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), UP, False),
        (wanted(heal=Heal.RESTART, desired=Desired.IGNORE), DIED, False),
    ],
)
def test_only_what_died_and_should_run_is_healed(wanted: Wanted, seen: Seen, heals: bool) -> None:
    assert Component(wanted).look(100, seen).heal is heals


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (HEALED, CREATED),
        (wanted("always", Heal.RESTART), DIED),
        (wanted("unless-stopped", Heal.RESTART), ENDED_WELL),
        (wanted("on-failure", Heal.RESTART), DIED),
    ],
)
@pytest.mark.parametrize("told", [frozenset(), frozenset({DRIFT}), frozenset({FLAP})])
def test_what_others_are_about_to_start_is_healed_after_the_grace(
    wanted: Wanted, seen: Seen, told: frozenset[AlertKind]
) -> None:
    component = Component(wanted)
    component.memory = Memory(open=told)
    verdict = component.look(100, seen)
    assert (verdict.heal, verdict.again_in) == (False, 10)
    assert component.look(110, seen).heal


@pytest.mark.parametrize("told", [frozenset(), frozenset({DRIFT}), frozenset({FLAP})])
def test_what_is_ill_is_healed_after_the_grace(told: frozenset[AlertKind]) -> None:
    """Its probe's next answer may be another; healing ends a process that may be at work."""
    component = Component(HEALED)
    component.memory = Memory(open=told)
    verdict = component.look(100, SICK)
    assert (verdict.heal, verdict.again_in) == (False, 10)
    assert component.look(110, SICK).heal
    assert component.look(500, SICK).heal


@pytest.mark.parametrize(
    ("wanted", "seen", "busy"),
    [
        (wanted(), SICK, False),
        (HEALED, SICK, True),
        (wanted(heal=Heal.RESTART, desired=Desired.STOPPED), SICK, False),
        (wanted(heal=Heal.RESTART, desired=Desired.IGNORE), SICK, False),
        (HEALED, msgspec.structs.replace(SICK, by_hand=True), False),
        (HEALED, PAUSED, False),
    ],
)
def test_what_is_ill_is_left_alone_where_that_is_nobodys_wish(wanted: Wanted, seen: Seen, busy: bool) -> None:
    component = Component(wanted)
    component.look(100, seen, busy=busy)
    assert not component.look(1000, seen, busy=busy).heal


def test_what_we_ended_ourselves_is_healed_on_and_podman_is_not_waited_for() -> None:
    ended = msgspec.structs.replace(DIED, by_us=True)
    assert Component(wanted("always", Heal.RESTART)).look(100, ended).heal


def test_what_its_probe_has_not_spoken_of_yet_has_not_recovered() -> None:
    component = Component(wanted())
    component.look(100, DIED)
    component.look(110, msgspec.structs.replace(UP, awaits_probe=True))
    assert component.kinds == [DRIFT]
    component.look(120, UP)
    assert component.kinds == [DRIFT, RECOVERED]


def test_nothing_is_healed_during_our_own_operation() -> None:
    assert not Component(HEALED).look(100, DIED, busy=True).heal


def test_healing_goes_on_in_a_drift_that_was_told_and_in_a_flap() -> None:
    component = Component(HEALED)
    component.look(100, DIED)
    assert component.look(110, DIED).heal
    assert component.look(200, DIED).heal
    component.dies(300, 310, 320)
    assert component.look(330, DIED).heal
    assert FLAP in component.kinds


# Sequences


class Look(NamedTuple):
    seen: Seen
    after: float
    busy: bool


SEEN = st.sampled_from(
    [UP, DIED, ENDED_WELL, OOM, BY_HAND, SICK, CREATED, PAUSED, UNKNOWN, OTHER_IMAGE, MISSING, NOT_SEEN_YET]
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
@settings(max_examples=400)
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
@settings(max_examples=200)
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
