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
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
import trio

from monitor.alerts import policy
from monitor.alerts.dispatch import Dispatcher
from monitor.alerts.policy import Memory, Raised, Verdict
from monitor.busy_services import BusyServices
from monitor.healing import Healing
from monitor.model import AlertKind, Known, Observation, Observed, Ours, SourceState
from monitor.ports import Intent, Ledger, NewAlert, OutsideError, Runtime, Silence, Target, hushing
from monitor.sources.events import EventsWatcher
from monitor.sources.exits import ExitWatcher, Run
from monitor.sources.health import HealthPoller, Patient
from monitor.sources.inspector import Inspector
from monitor.sources.resync import Resync
from monitor.sources.tasks import Tasks
from monitor.state import Change, Key, State, key_of
from monitor.writer import Writer
from protos.parts import Health

# More than every container of a node changing at once; a source that meets a full channel waits.
_CHANNEL_SIZE = 10_000
# Observations that are applied, and written, together: one commit instead of many when a whole node dies.
_BATCH = 500

# A shorter wait may be none: added to a large clock value, it may leave it unchanged.
_SOONEST_S = 0.001

# What the reducer receives: an observation; None when intent may have changed, or a silence has ended; or an event that
# it sets when it has dealt with everything before it.
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
        self._state = State()
        self._busy = BusyServices(intent)
        self._memories: dict[Key, Memory] = {}
        self._healing: dict[Key, Healing] = {}
        self._look_again_at: dict[Key, float] = {}
        self._sources: dict[str, SourceState] = {}
        self._send, self._receive = trio.open_memory_channel[Message](_CHANNEL_SIZE)

    def follow_rules(self, settings: Settings) -> None:
        """Uses these settings from now on. Only the resync keeps its interval."""
        self._settings = settings

    @property
    def known(self) -> Mapping[str, Known]:
        """What is known of every container that carries our labels, by its id."""
        return self._state.known

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """The state of every source, and of the ledger."""
        return (*self._sources.values(), self._writer.state)

    @property
    def transitions(self) -> Mapping[Key, int]:
        """How often each declared component changed its state, since this monitor began."""
        return self._state.transitions

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
                inspector, send, lambda: self._state.known, self._reporter("resync"), self._settings.resync_interval
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
                exits.keep(_runs(self._state.known.values()))
                health.keep(_patients(self._state.known.values(), self._state.targets))

            def settle(service: str) -> None:
                nursery.start_soon(self._settle, service, inspector, send)

            self._busy.look = settle
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
        """Has every component judged again, since a rule that kept alerts quiet has ended."""
        await self._send.send(None)

    def drifts(self) -> dict[Key, str]:
        """How every declared component disagrees with what was last seen of it; empty when it does not."""
        return self._state.drifts()

    async def tell_of_reboot(self, lost: Mapping[Key, str]) -> None:
        """Raises one alert for all components that did not come back after a reboot; each counts as alerted then."""
        if not lost:
            return
        now = datetime.now(UTC)
        names = [f"{service}/{component}: {why}" for (service, component), why in lost.items()]
        reason = f"{len(lost)} did not come back after the reboot: " + "; ".join(names)
        news = [NewAlert("", "", AlertKind.REBOOT, "running", "exited", reason, now, 0, "")]
        for key, why in lost.items():
            memory = self._memories.get(key, Memory())
            self._memories[key] = msgspec.structs.replace(memory, open=memory.open | {AlertKind.DRIFT})
            news.append(
                NewAlert(*key, AlertKind.DRIFT, "running", "exited", why, now, 0, "reported by the reboot alert")
            )
        await self._writer.record((), (), news, now)

    async def _remember(self) -> None:
        """What an earlier daemon knew: no fact is told twice, and no alert opened again."""
        states, alerts = await self._ledger.remembered()
        self._state.remember(states)
        for alert, suppressed in alerts:
            key = (alert.service, alert.component)
            memory = self._memories.get(key, Memory())
            muted = memory.muted | {alert.kind} if suppressed else memory.muted
            self._memories[key] = Memory(open=memory.open | {alert.kind}, muted=muted)

    def _reporter(self, name: str) -> Callable[[bool, str], None]:
        self._sources[name] = SourceState(name, False, "not queried yet", datetime.now(UTC))

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
                batch = [*self._state.reprobed(datetime.now(UTC)), *batch]
            asking = [each for each in batch if isinstance(each, trio.Event)]
            change = self._state.apply(
                [each for each in batch if each is not None and not isinstance(each, trio.Event)]
            )
            targets = self._state.targets
            due = targets.keys() if None in batch else {key_of(each) for each in change.known} | self._due()
            keys = [key for key in due if key in targets and self._state.is_decided(key)]
            await self._conclude(change, keys, nursery)
            if change.known or None in batch:
                follow()
            for each in asking:
                each.set()

    async def _learn_intent(self) -> None:
        try:
            self._state.want(await self._intent.targets())
        except OutsideError:
            if self._writer.state.ok:
                raise
            return  # what was wanted is wanted still; nobody can change it now
        await self._let_go()

    async def _let_go(self) -> None:
        """Forgets components that are no longer declared, and closes their alerts."""
        now = datetime.now(UTC)
        over: list[NewAlert] = []
        declared = self._state.targets.keys()
        for key in (self._memories.keys() | self._look_again_at.keys() | self._healing.keys()) - declared:
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

    def _due(self) -> set[Key]:
        now = trio.current_time()
        return {key for key, when in self._look_again_at.items() if when <= now}

    async def _conclude(self, change: Change, keys: list[Key], nursery: trio.Nursery) -> None:
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
        if change.facts or change.worth_keeping or alerts:
            await self._writer.record(change.facts, change.worth_keeping, alerts, now)
            self._state.kept(change.facts)
        for key in heals:
            self._heal(key, nursery)

    def _judge(self, key: Key, silences: Iterable[Silence]) -> Verdict:
        target = self._state.targets[key]
        verdict = policy.judge(
            self._memories.get(key, Memory()),
            target.wanted,
            self._state.seen(key),
            trio.current_time(),
            self._settings,
            busy=self._busy.is_busy(target.wanted.service),
            silenced=hushing(silences, *key),
        )
        self._memories[key] = verdict.memory
        self._look_again_at.pop(key, None)
        if verdict.again_in is not None:
            self._look_again_at[key] = trio.current_time() + max(verdict.again_in, _SOONEST_S)
        return verdict

    async def _settle(self, service: str, inspector: Inspector, send: trio.MemorySendChannel[Message]) -> None:
        """Looks at a service's containers after an operation, so that it is not judged by what it was before."""
        try:
            _, listed = await inspector.list()
            present = {each.container for each in listed if each.service == service}
            remembered = {each.container for each in self._state.known.values() if each.service == service}
            for container in sorted(present | remembered):
                await inspector.look(container)
        except OutsideError:
            pass  # the resync looks when podman is back
        self._busy.settled(service)
        await send.send(None)

    def _new_alert(self, key: Key, raised: Raised, now: datetime) -> NewAlert:
        target, known = self._state.targets[key], self._state.present(key)
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
        known = self._state.present(key)
        now, probe = trio.current_time(), self._state.targets[key].probe(known)
        hidden = _hidden(probe, self._settings.drift_grace)
        healing = self._healing.get(key, Healing())
        if wait := healing.wait(now, hidden):
            self._look_again_at[key] = min(self._look_again_at.get(key, math.inf), now + max(wait, _SOONEST_S))
            return
        self._healing[key] = healing.attempted(now, hidden)
        if known and known.state is Observed.UNHEALTHY:
            nursery.start_soon(self._restart, key, known)
        else:
            nursery.start_soon(self._intent.heal, *key)

    async def _restart(self, key: Key, ill: Known) -> None:
        """Restarts an unhealthy container. If that only ended it, healing goes on: nobody stopped it by hand."""
        if await self._intent.heal(*key, ill=ill.container):
            await self._send.send(Ours(ill.container, ill.started_at))


def _hidden(health: Health | None, grace: float) -> float:
    """Seconds after its start in which a component may be unhealthy before it is healed."""
    if health is None:
        return 0.0
    return (health.start_period + health.retries * (health.interval + health.timeout)).total_seconds() + grace


def _runs(known: Iterable[Known]) -> Iterable[Run]:
    for each in known:
        if each.pid and each.started_at and each.state.has_process:
            yield Run(each.container, each.started_at, each.pid, each.conmon_pid)


def _patients(known: Iterable[Known], targets: Mapping[Key, Target]) -> Iterable[Patient]:
    for each in known:
        target = targets.get(key_of(each))
        probe = target.probe(each) if target else None
        if probe and each.started_at and each.state.has_process:
            yield Patient.of(each.container, each.started_at, probe)
