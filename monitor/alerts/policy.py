"""What deserves an alert, and when: pure functions of what is known of a component, what was told before, and the time.

Times here are seconds of a clock that only moves forwards, so that a wall clock stepped by hours neither fires an
alert nor hides one.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from monitor.alerts.model import AlertKind
from monitor.drift import drift, mends_itself
from monitor.model import Desired, Observed, Seen, Wanted


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
    memory = _count_falls(memory, seen, now, rules)
    # 1. An operation of ours is at work: what it does is no drift, and it says itself what failed.
    if busy:
        return Verdict(msgspec.structs.replace(memory, drifting_since=None), (), None, False)
    flapping = len(memory.falls) >= rules.flap_threshold
    reason = drift(wanted, seen)
    heal = bool(reason) and _is_healable(wanted, seen)
    # 2. It falls again and again: one alert for all of it, until it has been quiet for a whole window.
    if flapping or AlertKind.FLAP in memory.open:
        return _while_flapping(memory, reason, now, rules, silenced, heal=heal)
    # 3. It is as wanted.
    if not reason:
        return _settled(msgspec.structs.replace(memory, drifting_since=None), now, rules, silenced)
    # 4. It is not, and that is known already.
    if AlertKind.DRIFT in memory.open:
        return Verdict(memory, (), None, heal)
    # 5. It is not, and may still mend itself.
    since = now if memory.drifting_since is None else memory.drifting_since
    memory = msgspec.structs.replace(memory, drifting_since=since)
    left = since + rules.drift_grace - now
    if left > 0 and mends_itself(wanted, seen):
        return Verdict(memory, (), left, heal)
    # 6. It is not, and nothing will mend it, or nothing has.
    memory, raised = _raise(memory, AlertKind.DRIFT, _counted(reason, memory, now), now, rules, silenced)
    return Verdict(memory, (raised,), None, heal)


def _is_healable(wanted: Wanted, seen: Seen) -> bool:
    """Whether starting it is our part: not what a person stopped by hand, nor what is not there to be started."""
    startable = seen.state in (Observed.EXITED, Observed.CREATED) and not seen.by_hand
    return wanted.heal == "restart" and wanted.desired is Desired.RUNNING and startable


def _count_falls(memory: Memory, seen: Seen, now: float, rules: Rules) -> Memory:
    up = seen.state.is_up
    falls = tuple(when for when in memory.falls if when > now - rules.flap_window)
    if memory.was_up and not up:
        falls = (*falls, now)
    return msgspec.structs.replace(memory, was_up=up, falls=falls)


def _while_flapping(memory: Memory, reason: str, now: float, rules: Rules, silenced: str, *, heal: bool) -> Verdict:
    if AlertKind.FLAP not in memory.open:
        words = f"{len(memory.falls)} times down within {_span(now - memory.falls[0])}"
        memory, raised = _raise(
            memory, AlertKind.FLAP, f"{words}; last: {reason}" if reason else words, now, rules, silenced
        )
        # The flap tells of the drift as well; it closes with it.
        return Verdict(memory, (raised,), _quiet_in(memory, now, rules), heal)
    if memory.falls or reason:
        return Verdict(memory, (), _quiet_in(memory, now, rules), heal)
    return _settled(memory, now, rules, silenced)


def _settled(memory: Memory, now: float, rules: Rules, silenced: str) -> Verdict:
    """It is as wanted: what was open closes, and is told to have recovered if it was told at all."""
    if not memory.open:
        return Verdict(memory, (), None, False)
    told = memory.open - memory.muted
    closing = " and ".join(sorted(memory.open))
    closed = msgspec.structs.replace(memory, open=frozenset(), muted=frozenset())
    rule = "" if told else "its alert was suppressed"
    closed, raised = _raise(closed, AlertKind.RECOVERED, f"{closing} is over", now, rules, rule or silenced)
    return Verdict(msgspec.structs.replace(closed, open=frozenset(), muted=frozenset()), (raised,), None, False)


def _raise(
    memory: Memory, kind: AlertKind, reason: str, now: float, rules: Rules, silenced: str
) -> tuple[Memory, Raised]:
    sent = dict(memory.sent)
    rule = silenced
    # A recovery is the answer to an alert that was told: it has no cooldown of its own.
    if not rule and kind is not AlertKind.RECOVERED and kind in sent and now - sent[kind] < rules.cooldown:
        rule = f"cooldown, told {_span(now - sent[kind])} ago"
    if not rule:
        sent[kind] = now
    muted = memory.muted | {kind} if rule else memory.muted - {kind}
    memory = msgspec.structs.replace(
        memory, open=memory.open | {kind}, muted=muted, sent=tuple(sent.items()), drifting_since=None
    )
    return memory, Raised(kind, reason, len(memory.falls), rule)


def _counted(reason: str, memory: Memory, now: float) -> str:
    """``exited 137, 3rd time in 4m``."""
    times = len(memory.falls)
    if times < 2:
        return reason
    ordinal = {2: "2nd", 3: "3rd"}.get(times, f"{times}th")
    return f"{reason}, {ordinal} time in {_span(now - memory.falls[0])}"


def _quiet_in(memory: Memory, now: float, rules: Rules) -> float | None:
    """Seconds until the last fall leaves the window."""
    return max(0.0, memory.falls[-1] + rules.flap_window - now) + 0.001 if memory.falls else None


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else f"{rest}s"
