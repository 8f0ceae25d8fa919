"""Reduces what several sources observe to one state, in whatever order, how often and with what gaps it comes.

`observe` is the whole of it: a pure function from what is known of a container and one observation to what is known
then and the facts that are new. Three ideas make the order of arrival not matter:

- A run of a container has an identity, its start time. What is told of an older run never changes the present state.
  Which run is older the start times tell, unless podman was asked after it had told of the other one: somebody may
  have set the clock back between the two.
- Of one run, an end beats everything else, and among sightings the later question beats the earlier one.
- A fact has a key. That a run ended implies that it started, so both facts are told with the first observation that
  knows; the ledger keeps a key once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from monitor.exit_status import exit_words
from monitor.model import Ended, Fact, Gone, Known, Missed, Observation, Observed, Ours, Probed, Reprobed, Sighting

_LIVE = (Observed.RUNNING, Observed.PAUSED, Observed.RESTARTING)
# A container that was created and never started: podman does not say since when.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Step(NamedTuple):
    """``known`` is what is known now, None for a container that nobody has described yet."""

    known: Known | None
    facts: tuple[Fact, ...]


def observe(known: Known | None, observation: Observation) -> Step:
    """What is known of the observation's container after it, and what it tells that nobody may have told yet."""
    if isinstance(observation, Sighting):
        return _sighted(known, observation)
    if known is None:
        # Nobody can say whose container it is; the next sighting tells all that this would have.
        return Step(None, ())
    if isinstance(observation, Ended):
        return _ended(known, observation)
    if isinstance(observation, Probed):
        return _probed(known, observation)
    if isinstance(observation, Reprobed):
        return _reprobed(known, observation)
    if isinstance(observation, Ours):
        return _ours(known, observation)
    return _absent(known, observation)


def _sighted(known: Known | None, seen: Sighting) -> Step:
    facts = _facts_of(seen, known)
    # 1. It is gone already, and this is from before.
    if known and known.state is Observed.REMOVED and seen.order < known.order:
        return Step(known, facts)
    # 2. It tells of an older run.
    if known and _is_older(seen.started_at, known.started_at) and not _is_later(seen, known):
        return Step(known, facts)
    # 3. It is of another run than what is known, or the first that is known at all.
    if known is None or seen.started_at != known.started_at or known.state is Observed.REMOVED:
        first = _described(None, seen)
        return Step(first, (*facts, *_pause(first, False, seen.at)))
    # 4. It is of this run, and of a time before what is known: asked before, or podman does not know of the end yet.
    ends = seen.state is Observed.EXITED
    if not ends and (seen.order < known.order or (known.state is Observed.EXITED and seen.state in _LIVE)):
        name = seen.name if seen.order > known.order else known.name
        return Step(msgspec.structs.replace(known, name=name, by_hand=_by_hand(known.by_hand, seen.by_hand)), facts)
    # 5. It is news of this run; its end is, whenever it was asked for.
    after = _described(known, seen)
    return Step(after, (*facts, *_pause(after, known.is_paused, seen.at)))


def _described(before: Known | None, seen: Sighting) -> Known:
    """What is known after a sighting; ``before`` is what was known of the same run."""
    probed = before.probed if before else None
    # podman knows nothing of our probes.
    state = probed if probed and seen.state is Observed.RUNNING else seen.state
    newer, older = (before, seen) if before and before.order > seen.order else (seen, before)
    return Known(
        container=seen.container,
        name=newer.name,
        service=seen.service,
        component=seen.component,
        state=state,
        since=before.since if before and before.state is state else _since(seen, before),
        started_at=seen.started_at,
        order=newer.order,
        # The exit file and the kernel are first; podman may not know the code when it first says that it ended.
        exit_code=seen.exit_code if seen.exit_code is not None else before.exit_code if before else None,
        out_of_memory=seen.out_of_memory or bool(before and before.out_of_memory),
        by_hand=_by_hand(before.by_hand, seen.by_hand) if before else seen.by_hand,
        pid=seen.pid,
        conmon_pid=seen.conmon_pid,
        image=seen.image,
        spec_hash=seen.spec_hash,
        probed=probed,
        probed_order=before.probed_order if before else 0,
        words=before.words if before else "",
        probe=before.probe if before else "",
        is_paused=seen.state is Observed.PAUSED,
        by_us=bool(before and before.by_us),
        own_probe=newer.own_probe if newer.own_probe is not UNSET or older is None else older.own_probe,
        answered=newer.answered,
    )


def _ended(known: Known, end: Ended) -> Step:
    facts: tuple[Fact, ...] = ()
    if end.started_at != known.started_at:  # else that it started was told when it was first known
        facts += (_fact(known, Observed.RUNNING, end.started_at, end.started_at),)
    if end.exit_code is not None:  # else the sighting that knows it tells it
        facts += (_fact(known, Observed.EXITED, end.started_at, end.at, exit_words(end.exit_code)),)
    # 1. Another run than the present one, or a container that is gone.
    if end.started_at != known.started_at or known.state is Observed.REMOVED:
        return Step(known, facts)
    # 2. The present one, of which somebody said already that it ended.
    if known.state is Observed.EXITED:
        code = end.exit_code if known.exit_code is None else known.exit_code
        return Step(msgspec.structs.replace(known, exit_code=code, by_hand=_by_hand(known.by_hand, end.by_hand)), facts)
    # 3. The present one. That somebody is stopping it may be known already; that nobody is can only be known now.
    over = msgspec.structs.replace(
        known,
        state=Observed.EXITED,
        since=end.at,
        exit_code=end.exit_code,
        by_hand=known.by_hand or end.by_hand,
        pid=0,
    )
    return Step(over, facts)


def _probed(known: Known, probe: Probed) -> Step:
    verdict = Observed.HEALTHY if probe.healthy else Observed.UNHEALTHY
    fact = _timed_fact(known, verdict, probe.started_at, probe.at, probe.words)
    # 1. Of another run, or of an earlier time.
    if probe.started_at != known.started_at or probe.order <= known.probed_order:
        return Step(known, (fact,))
    words = "" if probe.healthy else probe.words
    changed = msgspec.structs.replace(
        known, probed=verdict, probed_order=probe.order, words=words, probe=probe.probe or known.probe
    )
    # 2. What an earlier daemon knew already, or who asked before.
    if (probe.is_first or not known.probed_order) and known.probed is verdict:
        return Step(changed, ())
    # 3. News.
    if known.state in (Observed.RUNNING, Observed.HEALTHY, Observed.UNHEALTHY):
        changed = msgspec.structs.replace(changed, state=verdict, since=probe.at)
    return Step(changed, (fact,))


def _reprobed(known: Known, change: Reprobed) -> Step:
    """A verdict counts as long as the probe that gave it is the one that is asked."""
    # 1. There is none, or it is of that probe; or nobody kept of which one it is.
    if known.probed is None or known.probe == change.probe or (change.probe and not known.probe):
        return Step(known, ())
    changed = msgspec.structs.replace(known, probed=None, probe="", words="")
    # 2. It was that of a run which is over, or rests.
    if known.state not in (Observed.HEALTHY, Observed.UNHEALTHY):
        return Step(changed, ())
    # 3. It runs, and more is not known of it until the new probe has spoken.
    changed = msgspec.structs.replace(changed, state=Observed.RUNNING, since=change.at)
    words = "its probe was changed" if change.probe else "it no longer has a probe"
    return Step(changed, (_timed_fact(changed, Observed.RUNNING, known.started_at, change.at, words),))


def _ours(known: Known, end: Ours) -> Step:
    return Step(known if known.started_at != end.started_at else msgspec.structs.replace(known, by_us=True), ())


def _absent(known: Known, absence: Missed | Gone) -> Step:
    removal = _fact(known, Observed.REMOVED, None, absence.at)
    # 1. It was seen after that, or is known to be gone; the fact may still be news.
    if absence.order <= known.order or known.state is Observed.REMOVED:
        return Step(known, (removal,) if isinstance(absence, Gone) else ())
    # 2. A list without it, for the first time: it may be a race, or a podman that is just starting.
    if isinstance(absence, Missed) and known.state is not Observed.UNKNOWN:
        unknown = msgspec.structs.replace(known, state=Observed.UNKNOWN, since=absence.at, order=absence.order)
        return Step(unknown, ())
    # 3. A second list agrees, or podman says so itself.
    removed = msgspec.structs.replace(known, state=Observed.REMOVED, since=absence.at, order=absence.order, pid=0)
    return Step(removed, (removal,))


def _facts_of(seen: Sighting, known: Known | None) -> tuple[Fact, ...]:
    """What a sighting tells of its run: that it started, and that it ended.

    Not what was told when ``known`` came to know it: the ledger forgets facts when they are old, and a container that
    has run for longer than that would start anew in it.
    """
    if seen.started_at is None:
        return ()
    same_run = known is not None and known.started_at == seen.started_at
    facts = [] if same_run else [_fact(seen, Observed.RUNNING, seen.started_at, seen.started_at)]
    if same_run and known and known.state is Observed.EXITED and known.exit_code is not None:
        return ()
    if seen.state is Observed.EXITED and seen.finished_at and seen.exit_code is not None:
        words = exit_words(seen.exit_code, out_of_memory=seen.out_of_memory)
        facts.append(_fact(seen, Observed.EXITED, seen.started_at, seen.finished_at, words))
    return tuple(facts)


def _fact(of: Known | Sighting, state: Observed, run: datetime | None, at: datetime, message: str = "") -> Fact:
    key = "/".join((of.container, run.isoformat() if run else "", state))
    return Fact(key, of.service, of.component, of.container, state, at, message)


def _pause(after: Known, was_paused: bool, at: datetime | None) -> tuple[Fact, ...]:
    """That it was paused or resumed. podman keeps neither time, so it is the time when that was first seen."""
    if at is None or after.is_paused is was_paused or not after.state.has_process:
        return ()
    words = "paused" if after.is_paused else "unpaused"
    return (_timed_fact(after, after.state, after.started_at, at, words),)


def _timed_fact(of: Known, state: Observed, run: datetime | None, at: datetime, message: str) -> Fact:
    """Of what may happen to one run many times: each time is a fact of its own."""
    fact = _fact(of, state, run, at, message)
    return msgspec.structs.replace(fact, key=f"{fact.key}/{at.isoformat()}")


def _is_older(started_at: datetime | None, than: datetime | None) -> bool:
    return than is not None and (started_at is None or started_at < than)


def _is_later(seen: Sighting, known: Known) -> bool:
    """Whether podman was asked after it had answered with what is known."""
    return known.answered is not None and seen.order > known.answered


def _since(seen: Sighting, before: Known | None) -> datetime:
    """When it went into its state, as far as podman says; ``before`` is what was known of the same run."""
    if seen.state is Observed.EXITED and seen.finished_at:
        return seen.finished_at
    is_pause = seen.state is Observed.PAUSED or (before is not None and before.is_paused)
    if is_pause and seen.at:
        return seen.at
    return seen.started_at or _NEVER


def _by_hand(one: bool | None, other: bool | None) -> bool | None:
    """Once seen, it stays: podman forgets it as soon as the container has stopped. None gives way to either."""
    if one is None or other is None:
        return other if one is None else one
    return one or other
