"""What the monitor knows: containers as observed, and what is wanted of their components. No I/O, and no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from monitor import probes
from monitor.drift import drift
from monitor.model import NOT_SEEN_YET, Fact, Known, Observation, Observed, Probed, Reprobed, Seen, Sighting
from monitor.ports import Target
from monitor.reducer import observe

_FACTS_REMEMBERED = 10_000

Key = tuple[str, str]  # service, component


class Change(NamedTuple):
    """What came of a batch of observations: facts to keep, what is known anew, and what of that is worth keeping."""

    facts: list[Fact]
    known: list[Known]
    worth_keeping: list[Known]


class State:
    """``known``: every container that carries our labels, by its id. ``targets``: every declared component.

    ``transitions`` counts how often each declared component changed its state.
    """

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        # The same, by component: a node may have a thousand, each of which is judged.
        self._containers: dict[Key, dict[str, Known]] = {}
        self.targets: dict[Key, Target] = {}
        self.transitions: Counter[Key] = Counter()
        # Keys of the last facts that the ledger has: several sources tell of everything, and a commit takes time.
        self._kept_facts: dict[str, None] = {}

    def remember(self, states: Iterable[Known]) -> None:
        """Takes what an earlier daemon knew."""
        for each in states:
            self._keep(_remembered(each))

    def want(self, targets: Iterable[Target]) -> None:
        """Takes what is declared now."""
        self.targets = {(each.wanted.service, each.wanted.component): each for each in targets}
        for key in self.transitions.keys() - self.targets.keys():
            del self.transitions[key]

    # -- observations

    def apply(self, batch: Iterable[Observation]) -> Change:
        facts: list[Fact] = []
        changed: dict[str, Known] = {}
        worth: dict[str, Known] = {}
        for observation in batch:
            before = self.known.get(observation.container)
            if not self._is_answer(observation, before):
                continue
            after, told = observe(before, observation)
            if before and after and self._asks_otherwise(before, after):
                when = observation.at if isinstance(observation, Sighting) else None
                after, more = observe(after, self._reprobed(after, when or after.since))
                told += more
            facts += [
                each
                for each in told
                if each.key not in self._kept_facts
                and not (each.state is Observed.REMOVED and self._is_succeeded(after))
            ]
            if after is None or after is before:
                continue
            self._keep(after)
            changed[after.container] = after
            if before is None or _remembered(before) != _remembered(after):
                worth[after.container] = after
        self._forget({each.name for each in changed.values() if each.state is not Observed.REMOVED})
        return Change(facts, list(changed.values()), list(worth.values()))

    def kept(self, facts: Sequence[Fact]) -> None:
        """The ledger has these facts."""
        self._kept_facts.update(dict.fromkeys(each.key for each in facts))
        keys_of_facts = {each.key: (each.service, each.component) for each in facts}
        self.transitions.update(key for key in keys_of_facts.values() if key in self.targets)
        while len(self._kept_facts) > _FACTS_REMEMBERED:
            del self._kept_facts[next(iter(self._kept_facts))]

    def reprobed(self, now: datetime) -> list[Observation]:
        """Of every container that a probe has spoken of, which probe is asked of it now."""
        return [
            self._reprobed(each, now) for each in self.known.values() if each.probed and key_of(each) in self.targets
        ]

    def _reprobed(self, known: Known, now: datetime) -> Reprobed:
        return Reprobed(known.container, now, probes.identity(self.targets[key_of(known)].probe(known)))

    def _asks_otherwise(self, before: Known, after: Known) -> bool:
        """Whether a health check of the container's own was changed in place, of which the probe has spoken."""
        return before.own_probe != after.own_probe and bool(after.probed) and key_of(after) in self.targets

    def _is_answer(self, observation: Observation, known: Known | None) -> bool:
        """False for the word of a probe that is asked no more: it may come after what took its place."""
        if not isinstance(observation, Probed) or not known or not observation.probe:
            return True
        target = self.targets.get(key_of(known))
        return target is None or observation.probe == probes.identity(target.probe(known))

    def _is_succeeded(self, gone: Known | None) -> bool:
        """Whether the component has a newer container: that a deploy removed the old one is no state of it."""
        return gone is not None and any(
            each.container != gone.container
            and each.state is not Observed.REMOVED
            and each.started_at is not None
            and (gone.started_at is None or each.started_at > gone.started_at)
            for each in self._of(key_of(gone))
        )

    def _forget(self, names: set[str]) -> None:
        """Drops removed containers whose names others have now, or that nobody wants any more."""
        for each in list(self.known.values()):
            if each.state is Observed.REMOVED and (each.name in names or key_of(each) not in self.targets):
                self._drop(each)

    def _keep(self, known: Known) -> None:
        before = self.known.get(known.container)
        if before and key_of(before) != key_of(known):
            self._drop(before)
        self.known[known.container] = known
        self._containers.setdefault(key_of(known), {})[known.container] = known

    def _drop(self, known: Known) -> None:
        del self.known[known.container]
        of_component = self._containers[key_of(known)]
        del of_component[known.container]
        if not of_component:
            del self._containers[key_of(known)]

    def _of(self, key: Key) -> Iterable[Known]:
        """A component's containers."""
        return self._containers.get(key, {}).values()

    # -- questions

    def present(self, key: Key) -> Known | None:
        """The container that is the component now: the one with the proper name, when several carry its labels."""
        return _current(self._of(key), self.targets[key].container)

    def seen(self, key: Key) -> Seen:
        """How the component was last seen."""
        return _seen(self.present(key), self.targets[key])

    def is_decided(self, key: Key) -> bool:
        """Whether all is known that a judgement needs; if not, what is missing comes as an observation."""
        known = self.present(key)
        return known is None or known.by_hand is not None

    def drifts(self) -> dict[Key, str]:
        """How every declared component disagrees with what was last seen of it; empty when it does not."""
        return {
            key: drift(target.wanted, _seen(_current(self._of(key), target.container)))
            for key, target in self.targets.items()
        }


def key_of(known: Known) -> Key:
    return known.service, known.component


def _current(known: Iterable[Known], name: str) -> Known | None:
    """Which of a component's containers is the one called ``name``."""
    found = [each for each in known if each.name == name]
    # One that is gone only counts while there is no other: its successor may be known before its end is.
    return max(found, key=lambda each: (each.state is not Observed.REMOVED, each.order), default=None)


def _seen(known: Known | None, target: Target | None = None) -> Seen:
    if known is None:
        return NOT_SEEN_YET
    awaits = target is not None and target.probe(known) is not None and known.state is Observed.RUNNING
    return msgspec.structs.replace(known.seen(), awaits_probe=awaits)


def _remembered(known: Known) -> Known:
    """What an earlier daemon knew. Questions and probes are counted anew; what it waited for is lost."""
    return msgspec.structs.replace(known, order=0, answered=0, probed_order=0, by_hand=bool(known.by_hand))
