"""The monitor: sources observe, one task decides in order, the dispatcher tells.

monitor
├─ events watcher   podman's stream says where to look
├─ exit watcher     one pidfd per run
├─ health poller    one task per probe
├─ resync           lists everything now and then
├─ intent           what is wanted has changed; what operations have started
├─ reducer          the one task that applies observations and judges what follows
├─ writer           writes again what could not be written
└─ dispatcher       runs the operator's command
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
import trio

from monitor import probes
from monitor.alerts import policy
from monitor.alerts.dispatch import Dispatcher
from monitor.alerts.policy import Memory, Raised, Verdict
from monitor.drift import drift
from monitor.healing import Healing
from monitor.model import (
    NOT_SEEN_YET,
    AlertKind,
    Fact,
    Known,
    Observation,
    Observed,
    Ours,
    Probed,
    Reprobed,
    Seen,
    SourceState,
)
from monitor.ports import Intent, Ledger, NewAlert, OutsideError, Runtime, Silence, Target, hushing
from monitor.reducer import observe
from monitor.sources.events import EventsWatcher
from monitor.sources.exits import ExitWatcher, Run
from monitor.sources.health import HealthPoller, Patient
from monitor.sources.inspector import Inspector
from monitor.sources.resync import Resync
from monitor.sources.tasks import Tasks
from monitor.writer import Writer
from protos.spec import Health

# More than every container of a node changing at once; a source that meets a full channel waits.
_CHANNEL_SIZE = 10_000
# Observations that are applied, and written, together: one commit instead of many when a whole node dies.
_BATCH = 500

_FACTS_REMEMBERED = 10_000
# A time that is sooner may be no time at all: adding the rest of a wait to a large number may not move it.
_SOONEST_S = 0.001

Key = tuple[str, str]  # service, component
# What the reducer is sent: an observation; None, when intent may have changed, or a silence has ended; or what it sets
# once it has come round.
Message = Observation | trio.Event | None


class Settings(policy.Rules, frozen=True):
    """The rules, and how often everything is listed, in seconds."""

    resync_interval: float = 60.0


class Monitor:
    """Watches one node. `run` is its whole life; the rest are questions about it."""

    def __init__(
        self, node: str, runtime: Runtime, intent: Intent, ledger: Ledger, dispatcher: Dispatcher, settings: Settings
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._intent = intent
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._writer = Writer(node, ledger, dispatcher)
        self._settings = settings
        self._known: dict[str, Known] = {}
        self._targets: dict[Key, Target] = {}
        self._memories: dict[Key, Memory] = {}
        self._healing: dict[Key, Healing] = {}
        self._look_again_at: dict[Key, float] = {}
        # Keys of the last facts that the ledger has: several sources tell of everything, and a commit takes time.
        self._kept_facts: dict[str, None] = {}
        self._transitions: Counter[Key] = Counter()
        self._sources: dict[str, SourceState] = {}
        # Services that an operation is, or was just, at work on; and those whose containers are looked at after one.
        self._worked_on: set[str] = set()
        self._settling: set[str] = set()
        self._after_work: Callable[[str], None] = self._settling.discard
        self._send, self._receive = trio.open_memory_channel[Message](_CHANNEL_SIZE)

    def follow_rules(self, settings: Settings) -> None:
        """Judges by these from now on; only the resync keeps the interval that it began with."""
        self._settings = settings

    @property
    def known(self) -> Mapping[str, Known]:
        """What is known of every container that carries our labels, by its id."""
        return self._known

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """How every source is, and the ledger."""
        return (*self._sources.values(), self._writer.state)

    @property
    def transitions(self) -> Mapping[Key, int]:
        """How often each declared component changed its state, since this monitor began."""
        return self._transitions

    @property
    def queue_length(self) -> int:
        """How many observations wait for the reducer."""
        return self._send.statistics().current_buffer_used

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Runs until cancelled. Started when everything was listed once, or podman did not answer."""
        send = self._send
        await self._remember()
        async with trio.open_nursery() as nursery:
            inspector = Inspector(self._runtime, send)
            resync = Resync(
                inspector, send, lambda: self._known, self._reporter("resync"), self._settings.resync_interval
            )
            events = EventsWatcher(self._runtime, inspector, self._reporter("events"), resync.poke)
            exits = Tasks(nursery, ExitWatcher(inspector, send, resync.poke).watch, ends_itself=True)
            health = Tasks(nursery, HealthPoller(self._runtime, inspector, send).poll)

            async def await_intent() -> NoReturn:
                while True:
                    await self._intent.changed()
                    await send.send(None)

            async def await_started() -> NoReturn:
                while True:
                    await send.send(await self._intent.started())

            def follow() -> None:
                exits.keep(_runs(self._known.values()))
                health.keep(_patients(self._known.values(), self._targets))

            def settle(service: str) -> None:
                nursery.start_soon(self._settle, service, inspector, send)

            self._after_work = settle
            await nursery.start(self._dispatcher.run)
            nursery.start_soon(self._writer.run)
            nursery.start_soon(self._reduce, follow, nursery)
            nursery.start_soon(await_intent)
            nursery.start_soon(await_started)
            nursery.start_soon(events.run)
            await send.send(None)
            await nursery.start(resync.run)
            task_status.started()
        raise AssertionError("every task runs until cancelled")

    async def progressed(self) -> None:
        """Returns when the reducer has dealt with all that it has been sent until now."""
        round_done = trio.Event()
        await self._send.send(round_done)
        await round_done.wait()

    async def look_again(self) -> None:
        """Has every component judged anew: a rule that kept alerts quiet has ended."""
        await self._send.send(None)

    def drifts(self) -> dict[Key, str]:
        """How every declared component disagrees with what was last seen of it; empty when it does not."""
        known: dict[Key, list[Known]] = {}
        for each in self._known.values():
            known.setdefault(_key_of(each), []).append(each)
        return {
            key: drift(target.wanted, _seen(_current(known.get(key, ()), target.container)))
            for key, target in self._targets.items()
        }

    async def tell_of_reboot(self, lost: Mapping[Key, str]) -> None:
        """Tells once of all that a reboot has ended and that did not come back; each is then known to be down."""
        if not lost:
            return
        now = datetime.now(UTC)
        names = [f"{service}/{component}: {why}" for (service, component), why in lost.items()]
        reason = f"{len(lost)} did not come back after the reboot: " + "; ".join(names)
        news = [NewAlert("", "", AlertKind.REBOOT, "running", "exited", reason, now, 0, "")]
        for key, why in lost.items():
            memory = self._memories.get(key, Memory())
            self._memories[key] = msgspec.structs.replace(memory, open=memory.open | {AlertKind.DRIFT})
            news.append(NewAlert(*key, AlertKind.DRIFT, "running", "exited", why, now, 0, "told by the reboot alert"))
        await self._writer.record((), (), news, now)

    async def _remember(self) -> None:
        """What an earlier daemon knew: no fact is told twice, and no alert opened again."""
        states, alerts = await self._ledger.remembered()
        self._known = {each.container: _remembered(each) for each in states}
        for alert, suppressed in alerts:
            key = (alert.service, alert.component)
            memory = self._memories.get(key, Memory())
            muted = memory.muted | {alert.kind} if suppressed else memory.muted
            self._memories[key] = Memory(open=memory.open | {alert.kind}, muted=muted)

    def _reporter(self, name: str) -> Callable[[bool, str], None]:
        self._sources[name] = SourceState(name, False, "not asked yet", datetime.now(UTC))

        def report(ok: bool, detail: str) -> None:
            before = self._sources[name]
            since = before.since if before.ok is ok else datetime.now(UTC)
            self._sources[name] = SourceState(name, ok, detail, since)

        return report

    # -- the reducer: the only one who writes what was observed

    async def _reduce(self, follow: Callable[[], None], nursery: trio.Nursery) -> NoReturn:
        while True:
            batch: list[Message] = []
            with trio.move_on_at(min(self._look_again_at.values(), default=math.inf)):
                batch.append(await self._receive.receive())
            while len(batch) < _BATCH:
                try:
                    batch.append(self._receive.receive_nowait())
                except trio.WouldBlock:
                    break
            if None in batch:
                await self._learn_intent()
                batch = [*self._reprobed(), *batch]
            asking = [each for each in batch if isinstance(each, trio.Event)]
            facts, changed, news = self._apply(
                [each for each in batch if each is not None and not isinstance(each, trio.Event)]
            )
            due = self._targets.keys() if None in batch else {_key_of(each) for each in changed} | self._due()
            keys = [key for key in due if key in self._targets and self._is_decided(key)]
            await self._conclude(facts, news, keys, nursery)
            follow()
            for each in asking:
                each.set()

    async def _learn_intent(self) -> None:
        try:
            self._targets = {_key(each): each for each in await self._intent.targets()}
        except OutsideError:
            if self._writer.state.ok:
                raise
            return  # what was wanted is wanted still; nobody can change it now
        await self._let_go()

    def _reprobed(self) -> list[Observation]:
        """Of every container that a probe has spoken of, which probe is asked of it now."""
        now = datetime.now(UTC)
        return [
            Reprobed(each.container, now, probes.identity(target.health))
            for each in self._known.values()
            if each.probed and (target := self._targets.get(_key_of(each)))
        ]

    def _is_answer(self, observation: Observation, known: Known | None) -> bool:
        """False for the word of a probe that is asked no more: it may come after what took its place."""
        if not isinstance(observation, Probed) or not known or not observation.probe:
            return True
        target = self._targets.get(_key_of(known))
        return target is None or observation.probe == probes.identity(target.health)

    async def _let_go(self) -> None:
        """Forgets what is no longer declared; what was open of it is over."""
        for key in self._transitions.keys() - self._targets.keys():
            del self._transitions[key]
        now = datetime.now(UTC)
        over: list[NewAlert] = []
        for key in (self._memories.keys() | self._look_again_at.keys() | self._healing.keys()) - self._targets.keys():
            self._look_again_at.pop(key, None)
            self._healing.pop(key, None)
            memory = self._memories.pop(key, Memory())
            if memory.open:
                rule = "" if memory.open - memory.muted else "its alert was suppressed"
                over.append(
                    NewAlert(*key, AlertKind.RECOVERED, "ignore", "removed", "no longer declared", now, 0, rule)
                )
        if over:
            await self._writer.record((), (), over, now)

    def _apply(self, batch: Iterable[Observation]) -> tuple[list[Fact], list[Known], list[Known]]:
        """The facts to keep, what is known anew, and of that what is worth keeping."""
        facts: list[Fact] = []
        changed: dict[str, Known] = {}
        worth: dict[str, Known] = {}
        for observation in batch:
            before = self._known.get(observation.container)
            if not self._is_answer(observation, before):
                continue
            after, told = observe(before, observation)
            facts += [
                each
                for each in told
                if each.key not in self._kept_facts
                and not (each.state is Observed.REMOVED and self._is_succeeded(after))
            ]
            if after is None or after is before:
                continue
            self._known[after.container] = changed[after.container] = after
            if before is None or _remembered(before) != _remembered(after):
                worth[after.container] = after
        self._forget({each.name for each in changed.values() if each.state is not Observed.REMOVED})
        return facts, list(changed.values()), list(worth.values())

    def _is_succeeded(self, gone: Known | None) -> bool:
        """Whether the component has a newer container: that a deploy removed the old one is no state of it."""
        return gone is not None and any(
            _key_of(each) == _key_of(gone)
            and each.container != gone.container
            and each.state is not Observed.REMOVED
            and each.started_at is not None
            and (gone.started_at is None or each.started_at > gone.started_at)
            for each in self._known.values()
        )

    def _forget(self, names: set[str]) -> None:
        """Drops removed containers whose names others have now, or that nobody wants any more."""
        for container, each in list(self._known.items()):
            if each.state is Observed.REMOVED and (each.name in names or _key_of(each) not in self._targets):
                del self._known[container]

    def _due(self) -> set[Key]:
        now = trio.current_time()
        return {key for key, when in self._look_again_at.items() if when <= now}

    async def _conclude(self, facts: list[Fact], news: list[Known], keys: list[Key], nursery: trio.Nursery) -> None:
        """Judges components, commits everything that is new in one transaction, and then acts."""
        now = datetime.now(UTC)
        silences = await self._writer.silences(now) if keys else ()
        alerts: list[NewAlert] = []
        heals: list[Key] = []
        for key in keys:
            verdict = self._judge(key, silences)
            alerts += [self._new_alert(key, raised, now) for raised in verdict.raised]
            if verdict.heal:
                heals.append(key)
        if facts or news or alerts:
            await self._writer.record(facts, news, alerts, now)
            self._kept_facts.update(dict.fromkeys(each.key for each in facts))
            keys_of_facts = {each.key: (each.service, each.component) for each in facts}
            self._transitions.update(key for key in keys_of_facts.values() if key in self._targets)
            while len(self._kept_facts) > _FACTS_REMEMBERED:
                del self._kept_facts[next(iter(self._kept_facts))]
        for key in heals:
            self._heal(key, nursery)

    def _is_decided(self, key: Key) -> bool:
        """Whether all is known that a judgement needs; if not, what is missing comes as an observation."""
        known = self._present(key)
        return known is None or known.by_hand is not None

    def _judge(self, key: Key, silences: Iterable[Silence]) -> Verdict:
        target, known = self._targets[key], self._present(key)
        verdict = policy.judge(
            self._memories.get(key, Memory()),
            target.wanted,
            _seen(known, target),
            trio.current_time(),
            self._settings,
            busy=self._is_at_work_on(target.wanted.service),
            silenced=hushing(silences, *key),
        )
        self._memories[key] = verdict.memory
        self._look_again_at.pop(key, None)
        if verdict.again_in is not None:
            self._look_again_at[key] = trio.current_time() + max(verdict.again_in, _SOONEST_S)
        return verdict

    def _is_at_work_on(self, service: str) -> bool:
        """Whether an operation of ours is, or was and its results have not been looked at yet."""
        if self._intent.is_busy(service):
            self._worked_on.add(service)
        elif service in self._worked_on and service not in self._settling:
            self._worked_on.discard(service)
            self._settling.add(service)
            self._after_work(service)
        return service in self._worked_on or service in self._settling

    async def _settle(self, service: str, inspector: Inspector, send: trio.MemorySendChannel[Message]) -> None:
        """Looks at a service's containers after an operation, so that it is not judged by what it was before."""
        try:
            _, listed = await inspector.list()
            present = {each.container for each in listed if each.service == service}
            remembered = {each.container for each in self._known.values() if each.service == service}
            for container in sorted(present | remembered):
                await inspector.look(container)
        except OutsideError:
            pass  # the resync looks when podman is back
        self._settling.discard(service)
        await send.send(None)

    def _present(self, key: Key) -> Known | None:
        """The container that is the component now: the one with the proper name, when several carry its labels."""
        found = (each for each in self._known.values() if _key_of(each) == key)
        return _current(found, self._targets[key].container)

    def _new_alert(self, key: Key, raised: Raised, now: datetime) -> NewAlert:
        target, known = self._targets[key], self._present(key)
        return NewAlert(
            *key,
            kind=raised.kind,
            desired=target.wanted.desired,
            observed=known.state if known else "removed",
            reason=raised.reason,
            since=known.since if known else now,
            transitions=raised.transitions,
            suppressed_by=raised.suppressed_by,
        )

    def _heal(self, key: Key, nursery: trio.Nursery) -> None:
        now, hidden = trio.current_time(), _hidden(self._targets[key].health, self._settings.drift_grace)
        healing = self._healing.get(key, Healing())
        if wait := healing.wait(now, hidden):
            self._look_again_at[key] = min(self._look_again_at.get(key, math.inf), now + max(wait, _SOONEST_S))
            return
        self._healing[key] = healing.attempted(now, hidden)
        known = self._present(key)
        if known and known.state is Observed.UNHEALTHY:
            nursery.start_soon(self._restart, key, known)
        else:
            nursery.start_soon(self._intent.heal, *key)

    async def _restart(self, key: Key, ill: Known) -> None:
        """Restarts what is ill. Where only its end came of that, it is healed on: nobody stopped it by hand."""
        if await self._intent.heal(*key, ill=ill.container):
            await self._send.send(Ours(ill.container, ill.started_at))


def _current(known: Iterable[Known], name: str) -> Known | None:
    """Which of a component's containers is the one called ``name``."""
    found = [each for each in known if each.name == name]
    # One that is gone only counts while there is no other: its successor may be known before its end is.
    return max(found, key=lambda each: (each.state is not Observed.REMOVED, each.order), default=None)


def _seen(known: Known | None, target: Target | None = None) -> Seen:
    if known is None:
        return NOT_SEEN_YET
    awaits = target is not None and target.health is not None and known.state is Observed.RUNNING
    return msgspec.structs.replace(known.seen(), awaits_probe=awaits)


def _hidden(health: Health | None, grace: float) -> float:
    """Seconds that a component may be ill from its start on before it is healed for that."""
    if health is None:
        return 0.0
    return (health.start_period + health.retries * (health.interval + health.timeout)).total_seconds() + grace


def _key(target: Target) -> Key:
    return target.wanted.service, target.wanted.component


def _remembered(known: Known) -> Known:
    """What an earlier daemon knew. Questions and probes are counted anew; what it waited for is lost."""
    return msgspec.structs.replace(known, order=0, probed_order=0, by_hand=bool(known.by_hand))


def _key_of(known: Known) -> Key:
    return known.service, known.component


def _runs(known: Iterable[Known]) -> Iterable[Run]:
    for each in known:
        if each.pid and each.started_at and each.state.has_process:
            yield Run(each.container, each.started_at, each.pid, each.conmon_pid)


def _patients(known: Iterable[Known], targets: Mapping[Key, Target]) -> Iterable[Patient]:
    for each in known:
        target = targets.get(_key_of(each))
        if target and target.health and each.started_at and each.state.has_process:
            yield Patient.of(each.container, each.started_at, target.health)
