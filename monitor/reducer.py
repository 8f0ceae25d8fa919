"""Makes one picture of what several sources observe, whatever order, doubling or gap they deliver it with.

`observe` is the whole of it: a pure function from what is known of a container and one observation to what is known
then and the facts that are new. Three ideas make the order of arrival not matter:

- A run of a container has an identity, its start time. What is told of an older run never changes the present state.
- Of one run, an end beats everything else, and among sightings the later question beats the earlier one.
- A fact has a key. That a run ended implies that it started, so both facts are told with the first observation that
  knows; the ledger keeps a key once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from monitor.model import Ended, Fact, Gone, Known, Missed, Observation, Observed, Probed, Sighting

_LIVE = (Observed.RUNNING, Observed.PAUSED, Observed.RESTARTING)
_OVER = (Observed.EXITED, Observed.REMOVED)
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
    return _absent(known, observation)


def _sighted(known: Known | None, seen: Sighting) -> Step:
    facts = _facts_of(seen)
    # 1. It is gone already, and this is from before.
    if known and known.state is Observed.REMOVED and seen.order < known.order:
        return Step(known, facts)
    # 2. It tells of an older run.
    if known and _is_older(seen.started_at, known.started_at):
        return Step(known, facts)
    same_run = known is not None and seen.started_at == known.started_at
    # 3. It is of this run, and asked before what is known already.
    if known and same_run and seen.order < known.order:
        return Step(known, facts)
    # 4. It is of this run, which the kernel knows to have ended, while podman did not know yet when it was asked.
    if known and same_run and known.state is Observed.EXITED and seen.state in _LIVE:
        by_hand = known.by_hand or seen.by_hand
        return Step(msgspec.structs.replace(known, name=seen.name, by_hand=by_hand), facts)
    # 5. It is news.
    return Step(_described(known if same_run else None, seen), facts)


def _described(before: Known | None, seen: Sighting) -> Known:
    """What is known after a sighting; ``before`` is what was known of the same run."""
    state, words = seen.state, ""
    if before and state is Observed.RUNNING and before.state in (Observed.HEALTHY, Observed.UNHEALTHY):
        state, words = before.state, before.words  # podman knows nothing of our probes
    return Known(
        container=seen.container,
        name=seen.name,
        service=seen.service,
        component=seen.component,
        state=state,
        since=before.since if before and before.state is state else _since(seen),
        started_at=seen.started_at,
        order=seen.order,
        # The exit file and the kernel are first; podman may not know the code when it first says that it ended.
        exit_code=seen.exit_code if seen.exit_code is not None else before.exit_code if before else None,
        out_of_memory=seen.out_of_memory,
        by_hand=seen.by_hand or bool(before and before.by_hand and state is Observed.EXITED),
        pid=seen.pid,
        conmon_pid=seen.conmon_pid,
        image=seen.image,
        spec_hash=seen.spec_hash,
        words=words,
    )


def _ended(known: Known, end: Ended) -> Step:
    facts: tuple[Fact, ...] = (_fact(known, Observed.RUNNING, end.started_at, end.started_at),)
    if end.exit_code is not None:  # else the sighting that knows it tells it
        facts += (_fact(known, Observed.EXITED, end.started_at, end.at, _exit_words(end.exit_code)),)
    # 1. Another run than the present one, or one that is known to be over.
    if end.started_at != known.started_at or known.state in _OVER:
        if end.started_at == known.started_at and known.exit_code is None and known.state is Observed.EXITED:
            known = msgspec.structs.replace(known, exit_code=end.exit_code)
        return Step(known, facts)
    # 2. The present one.
    over = msgspec.structs.replace(
        known,
        state=Observed.EXITED,
        since=end.at,
        exit_code=end.exit_code,
        by_hand=known.by_hand or end.by_hand,
        pid=0,
        words="",
    )
    return Step(over, facts)


def _probed(known: Known, probe: Probed) -> Step:
    state = Observed.HEALTHY if probe.healthy else Observed.UNHEALTHY
    if probe.started_at != known.started_at or not known.state.has_process or known.state is state:
        return Step(known, ())
    changed = msgspec.structs.replace(known, state=state, since=probe.at, words="" if probe.healthy else probe.words)
    fact = _fact(known, state, probe.started_at, probe.at, probe.words)
    # A run may get well and ill many times: each time is a fact of its own.
    return Step(changed, (msgspec.structs.replace(fact, key=f"{fact.key}/{probe.at.isoformat()}"),))


def _absent(known: Known, absence: Missed | Gone) -> Step:
    # 1. It was seen after that.
    if absence.order < known.order or known.state is Observed.REMOVED:
        return Step(known, ())
    # 2. A list without it, for the first time: it may be a race, or a podman that is just starting.
    if isinstance(absence, Missed) and known.state is not Observed.UNKNOWN:
        unknown = msgspec.structs.replace(known, state=Observed.UNKNOWN, since=absence.at, order=absence.order)
        return Step(unknown, ())
    # 3. A second list agrees, or podman says so itself.
    removed = msgspec.structs.replace(known, state=Observed.REMOVED, since=absence.at, order=absence.order, pid=0)
    return Step(removed, (_fact(known, Observed.REMOVED, None, absence.at),))


def _facts_of(seen: Sighting) -> tuple[Fact, ...]:
    """What a sighting tells of its run: that it started, and that it ended."""
    if seen.started_at is None:
        return ()
    facts = [_fact(seen, Observed.RUNNING, seen.started_at, seen.started_at)]
    if seen.state is Observed.EXITED and seen.finished_at and seen.exit_code is not None:
        words = _exit_words(seen.exit_code)
        facts.append(_fact(seen, Observed.EXITED, seen.started_at, seen.finished_at, words))
    return tuple(facts)


def _fact(of: Known | Sighting, state: Observed, run: datetime | None, at: datetime, message: str = "") -> Fact:
    key = "/".join((of.container, run.isoformat() if run else "", state))
    return Fact(key, of.service, of.component, of.container, state, at, message)


def _is_older(started_at: datetime | None, than: datetime | None) -> bool:
    return than is not None and (started_at is None or started_at < than)


def _since(seen: Sighting) -> datetime:
    """When it went into its state, as far as podman says."""
    if seen.state is Observed.EXITED and seen.finished_at:
        return seen.finished_at
    return seen.started_at or _NEVER


def _exit_words(code: int) -> str:
    return f"exited {code}"
