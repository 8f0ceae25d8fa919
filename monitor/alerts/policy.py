"""The alert policy: pure functions of what is known of a component, what was told before, and the time.

Times here are seconds of a clock that only moves forwards, so that a wall clock stepped by hours neither fires an
alert nor hides one.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from monitor.drift import drift, has_completed, mends_itself, podman_restarts
from monitor.model import AlertKind, Desired, Observed, Seen, Wanted

# How often an alert that is silenced is looked at again, in seconds: a silence ends by itself, and tells nobody.
_SILENCE_LOOK = 30.0


class Rules(msgspec.Struct, frozen=True):
    """The operator's settings, in seconds and counts (`mcpd.toml`, [monitor])."""

    drift_grace: float = 10.0
    flap_threshold: int = 3
    flap_window: float = 600.0
    cooldown: float = 900.0


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of a component between looks.

    ``falls`` are the times of its recent changes from up to not up; ``sent`` is when an alert of a kind was last told.
    ``muted`` are the open kinds that a rule kept from being told, so that their recovery is not told either.
    """

    was_up: bool = False
    drifting_since: float | None = None
    falls: tuple[float, ...] = ()
    open: frozenset[AlertKind] = frozenset()
    muted: frozenset[AlertKind] = frozenset()
    sent: tuple[tuple[AlertKind, float], ...] = ()


class Raised(NamedTuple):
    """An alert to be kept; ``suppressed_by`` names the rule that keeps it from being sent, or is empty."""

    kind: AlertKind
    reason: str
    transitions: int
    suppressed_by: str


class Verdict(NamedTuple):
    """What follows from one look. ``again_in`` seconds another look is needed even if nothing happens; None: never."""

    memory: Memory
    raised: tuple[Raised, ...]
    again_in: float | None
    heal: bool


def judge(
    memory: Memory, wanted: Wanted, seen: Seen, now: float, rules: Rules, *, busy: bool = False, silenced: str = ""
) -> Verdict:
    """Looks at one component.

    ``busy``: an operation of ours is at work on its service. ``silenced`` names a silence in force, or is empty.
    """
    # Whoever runs a job tells of its runs.
    wanted = msgspec.structs.replace(wanted, trouble="")
    # 1. An operation of ours is at work: what it does is no drift, and it says itself what failed.
    if busy:
        quiet = msgspec.structs.replace(memory, was_up=seen.state.is_up, drifting_since=None)
        return Verdict(quiet, (), None, False)
    memory = _count_falls(memory, wanted, seen, now, rules)
    reason = drift(wanted, seen)
    # 2. It is as wanted.
    if not reason:
        memory = msgspec.structs.replace(memory, drifting_since=None)
        # What its probe has not spoken of since it was started again has not recovered yet, nor what runs to its end.
        if memory.open and (seen.awaits_probe or _is_at_it(wanted, seen)):
            return Verdict(memory, (), None, False)
        return _as_wanted(memory, now, rules, silenced)
    since = now if memory.drifting_since is None else memory.drifting_since
    memory = msgspec.structs.replace(memory, drifting_since=since)
    left = max(0.0, since + rules.drift_grace - now)
    # A container that is only created is one that podman, or somebody, is just about to start; one that is ill may be
    # well at its probe's next answer.
    waits = seen.state in (Observed.CREATED, Observed.UNHEALTHY) or podman_restarts(wanted, seen)
    heal = _is_healable(wanted, seen) and not (left and waits)
    # 3. It is not, and falls again and again: one alert for all of it.
    flapping = AlertKind.FLAP in memory.open or len(memory.falls) >= rules.flap_threshold
    kind = AlertKind.FLAP if flapping else AlertKind.DRIFT
    # 4. It is not, and that was told, or may not be told yet.
    if kind in memory.open:
        wait = _muted_for(memory, kind, now, rules, silenced)
        if wait is None or wait > 0:
            return Verdict(memory, (), _sooner(left or None, wait), heal)
    if flapping:
        words = f"{len(memory.falls)} times down within {_span(now - memory.falls[0])}; " if memory.falls else ""
        memory, raised = _raise(memory, kind, f"{words}last: {reason}", now, rules, silenced)
        return Verdict(memory, (raised,), _sooner(left or None, _muted_for(memory, kind, now, rules, silenced)), heal)
    # 5. It is not, and may still mend itself.
    if left and mends_itself(wanted, seen) and kind not in memory.open:
        return Verdict(memory, (), left, heal)
    # 6. It is not, and nothing will mend it, or nothing has.
    if podman_restarts(wanted, seen) and seen.exit_code is not None:
        # podman restarts whatever ends by itself, at once; what it leaves alone, somebody has stopped.
        cause = "stopped by hand, or out of tries" if wanted.restart == "on-failure" else "stopped by hand"
        reason += f", and podman did not restart it: {cause}"
    memory, raised = _raise(memory, kind, _counted(reason, memory, now), now, rules, silenced)
    return Verdict(memory, (raised,), _sooner(left or None, _muted_for(memory, kind, now, rules, silenced)), heal)


def _is_healable(wanted: Wanted, seen: Seen) -> bool:
    """Whether starting it, or restarting what is ill, is our part.

    Not what a person stopped by hand, is stopping or has paused, nor what is not there to be started.
    """
    states = (Observed.EXITED, Observed.CREATED, Observed.UNHEALTHY)
    return wanted.heal == "restart" and wanted.desired is Desired.RUNNING and seen.state in states and not seen.by_hand


def _count_falls(memory: Memory, wanted: Wanted, seen: Seen, now: float, rules: Rules) -> Memory:
    """Counts a change from up to not up, of what should be up; of what should run to its end, one that is no good end.

    As long as nobody knows how it ended, it counts as up.
    """
    completes = wanted.desired is Desired.COMPLETED
    unclear = completes and memory.was_up and seen.state is Observed.EXITED and seen.exit_code is None
    up = seen.state.is_up or unclear
    falls = tuple(when for when in memory.falls if when + rules.flap_window > now)
    counts = wanted.desired is Desired.RUNNING or (completes and not has_completed(seen))
    if memory.was_up and not up and counts:
        falls = (*falls, now)
    return msgspec.structs.replace(memory, was_up=up, falls=falls)


def _is_at_it(wanted: Wanted, seen: Seen) -> bool:
    """Whether it is to run to its end, and runs."""
    return wanted.desired is Desired.COMPLETED and not has_completed(seen)


def _as_wanted(memory: Memory, now: float, rules: Rules, silenced: str) -> Verdict:
    """What was open closes, and is told to have recovered if it was told at all; a flap, after a quiet window."""
    if not memory.open:
        return Verdict(memory, (), None, False)
    if AlertKind.FLAP in memory.open and memory.falls:
        return Verdict(memory, (), memory.falls[-1] + rules.flap_window - now, False)
    rule = silenced if memory.open - memory.muted else "its alert was suppressed"
    words = f"{' and '.join(sorted(memory.open))} is over"
    _, raised = _raise(memory, AlertKind.RECOVERED, words, now, rules, rule)
    return Verdict(msgspec.structs.replace(memory, open=frozenset(), muted=frozenset()), (raised,), None, False)


def _raise(
    memory: Memory, kind: AlertKind, reason: str, now: float, rules: Rules, silenced: str
) -> tuple[Memory, Raised]:
    sent = dict(memory.sent)
    rule = silenced
    # A recovery is the answer to an alert that was told: it has no cooldown of its own.
    if not rule and kind is not AlertKind.RECOVERED and kind in sent and now < sent[kind] + rules.cooldown:
        rule = f"cooldown, last sent {_span(now - sent[kind])} ago"
    if not rule:
        sent[kind] = now
    muted = memory.muted | {kind} if rule else memory.muted - {kind}
    memory = msgspec.structs.replace(memory, open=memory.open | {kind}, muted=muted, sent=tuple(sent.items()))
    return memory, Raised(kind, reason, len(memory.falls), rule)


def _muted_for(memory: Memory, kind: AlertKind, now: float, rules: Rules, silenced: str) -> float | None:
    """Seconds until an open alert that a rule kept quiet may be told after all; None when it was told."""
    if kind not in memory.muted:
        return None
    if silenced:
        return _SILENCE_LOOK
    return max(0.0, dict(memory.sent).get(kind, -rules.cooldown) + rules.cooldown - now)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _counted(reason: str, memory: Memory, now: float) -> str:
    """``exited 137 (SIGKILL), 3rd time in 4m``."""
    times = len(memory.falls)
    if times < 2:
        return reason
    ordinal = {2: "2nd", 3: "3rd"}.get(times, f"{times}th")
    return f"{reason}, {ordinal} time in {_span(now - memory.falls[0])}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else f"{rest}s"
