"""The answer to a scrape: the node's state at that moment, and what was counted until then.

An idle daemon does nothing for it. Series of components that are forgotten are gone with the next scrape. No label and
no value has anything of an environment, a message or what a program printed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mcpd import __version__
from mcpd.changes.images.pushes import Pushes
from mcpd.changes.jobs.keeper import Jobs, JobStatus
from mcpd.changes.operations import Operations
from mcpd.errors import RegistryError
from mcpd.metrics.counts import Counts, Durations
from mcpd.metrics.of_jobs import of_jobs
from mcpd.model import RecordedComponent, RecordedService
from mcpd.node.disk_space import Room, Space
from mcpd.registry.alerts import AlertCounts
from mcpd.registry.jobs import RunState
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.runtime.podman_service import PodmanLink
from mcpd.sessions.places import Places
from mcpd.status import components
from monitor.drift import drift
from monitor.model import AlertKind, Delivery, Desired, Known, Observed, Seen, SourceState
from monitor.state import Key
from monitor.watch import Monitor

# The text format that every Prometheus reads (prometheus.io, "Exposition formats").
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# SQLite's files beside the database's own (sqlite.org/wal.html).
_DATABASE_SUFFIXES = ("", "-wal", "-shm")


class Facts(NamedTuple):
    """All that is known at one moment, as values."""

    node: str
    services: tuple[RecordedService, ...]
    known: tuple[Known, ...]
    transitions: Mapping[Key, int]
    outcomes: Mapping[tuple[AlertKind, Delivery], int]
    alerts: AlertCounts | None
    sources: tuple[SourceState, ...]
    podman: SourceState
    jobs: tuple[JobStatus, ...]
    job_runs: Mapping[tuple[Key, RunState], int]
    operations: int
    queue: int
    rooms: tuple[Room, ...]
    database: int
    certificate_expires_at: datetime


class Scrape:
    """Asked for the text; the rest of the daemon is read, and never waited for but for its registry and disks."""

    def __init__(
        self,
        node: str,
        counts: Counts,
        places: Places,
        pushes: Pushes,
        registry: Registry,
        ledger: MonitorLedger,
        monitor: Monitor,
        operations: Operations,
        link: PodmanLink,
        space: Space,
        router: Router,
        jobs: Jobs,
        database: Path,
        certificate_expires_at: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._counts = counts
        self._places = places
        self._pushes = pushes
        self._registry = registry
        self._ledger = ledger
        self._monitor = monitor
        self._operations = operations
        self._link = link
        self._space = space
        self._router = router
        self._jobs = jobs
        self._database = database
        self._certificate_expires_at = certificate_expires_at
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    async def text(self) -> bytes:
        """Everything, in Prometheus' text format. What the registry knows is missing while it cannot be read."""
        facts = await self._facts()
        collected = [
            *_of_node(facts),
            *_of_components(facts),
            *of_jobs(facts.jobs, facts.job_runs),
            *_of_alerts(facts),
            *_of_calls(self._counts),
            *_of_sessions(self._places),
            *_of_pushes(self._pushes),
        ]
        # A thousand components are 300 kB of text and 15 ms (measured), and the loop has other things to do meanwhile.
        return await trio.to_thread.run_sync(self._rendered, collected)

    async def _facts(self) -> Facts:
        services: tuple[RecordedService, ...] = ()
        alerts = None
        jobs: tuple[JobStatus, ...] = ()
        # mcp_source_up says so.
        with contextlib.suppress(RegistryError):
            services, alerts = await self._registry.services(), await self._ledger.standing(datetime.now(UTC))
            if any(each.spec.is_job for service in services for each in service.components):
                jobs = tuple(await self._jobs.statuses(runs=0))
        rooms = await self._space.look()
        return Facts(
            node=self._node,
            services=services,
            known=tuple(self._monitor.known.values()),
            transitions=self._monitor.transitions,
            outcomes=self._ledger.outcomes,
            alerts=alerts,
            sources=(*self._monitor.sources, *self._router.sources),
            podman=self._link.state,
            jobs=jobs,
            job_runs=self._jobs.runs.ended,
            operations=len(self._operations.running),
            queue=self._monitor.queue_length,
            rooms=rooms,
            database=await trio.to_thread.run_sync(database_size, self._database),
            certificate_expires_at=self._certificate_expires_at(),
        )

    def _rendered(self, collected: list[Metric]) -> bytes:
        once = CollectorRegistry()
        once.register(_Collected(collected))
        return generate_latest(once) + generate_latest(self._process)


class _Collected:
    """Families as prometheus_client takes them: from a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_node(facts: Facts) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "mcp_build_info", "Always 1; which mcpd this is, on which node.", labels=("version", "node")
    )
    build.add_metric((__version__, facts.node), 1)
    yield build
    yield GaugeMetricFamily("mcp_podman_up", "Whether podman answers.", value=facts.podman.ok)
    sources = GaugeMetricFamily(
        "mcp_source_up", "Whether a source of observations works; registry: it can be written.", labels=("source",)
    )
    for each in facts.sources:
        sources.add_metric((each.name,), each.ok)
    yield sources
    yield GaugeMetricFamily("mcp_operations_running", "Changes under way.", value=facts.operations)
    yield GaugeMetricFamily("mcp_reducer_queue_length", "Observations that wait to be judged.", value=facts.queue)
    yield GaugeMetricFamily("mcp_database_bytes", "The registry on disk, with its log.", value=facts.database)
    yield GaugeMetricFamily(
        "mcp_certificate_expiry_timestamp_seconds",
        "When the certificate that mcpd serves expires, in seconds since 1970.",
        value=facts.certificate_expires_at.timestamp(),
    )
    free = GaugeMetricFamily("mcp_disk_free_bytes", "Free for users that are not root.", labels=("path",))
    total = GaugeMetricFamily("mcp_disk_total_bytes", "What such users could have of it.", labels=("path",))
    for room in facts.rooms:
        free.add_metric((room.filesystem,), room.free)
        total.add_metric((room.filesystem,), room.total)
    yield free
    yield total


def _of_components(facts: Facts) -> Iterator[Metric]:
    labels = ("service", "component")
    up = GaugeMetricFamily("mcp_component_up", "Whether it runs, and no probe reports it as unhealthy.", labels=labels)
    wanted = GaugeMetricFamily("mcp_component_desired_running", "Whether it should run.", labels=labels)
    state = GaugeMetricFamily(
        "mcp_component_state", "Always 1; the state that it was last seen in.", labels=(*labels, "state")
    )
    drifting = GaugeMetricFamily("mcp_component_drift", "Whether it is not as it should be.", labels=labels)
    transitions = CounterMetricFamily(
        "mcp_component_transitions", "Changes of its state since mcpd started.", labels=labels
    )
    for recorded, seen in states(facts.services, facts.known):
        key = recorded.service, recorded.spec.name
        up.add_metric(key, seen.state.is_up)
        wanted.add_metric(key, recorded.desired is Desired.RUNNING)
        state.add_metric((*key, seen.state.value), 1)
        drifting.add_metric(key, bool(drift(components.wanted_of(recorded), seen)))
        transitions.add_metric(key, facts.transitions.get(key, 0))
    yield from (up, wanted, state, drifting, transitions)


def states(services: Iterable[RecordedService], known: Iterable[Known]) -> Iterator[tuple[RecordedComponent, Seen]]:
    """What the monitor knows of each component; what the registry recorded last, where it knows nothing."""
    found: dict[tuple[str, str, str], Known] = {}
    for each in known:
        # The container with the component's own name, when several carry its labels; one that is there before one that
        # was removed, as `monitor.watch` has it.
        place = each.service, each.component, each.name
        if place not in found or _rank(found[place]) < _rank(each):
            found[place] = each
    for service in services:
        for recorded in service.components:
            present = found.get((service.name, recorded.spec.name, recorded.container))
            yield recorded, present.seen() if present else Seen(recorded.observed)


def _rank(known: Known) -> tuple[bool, int]:
    return known.state is not Observed.REMOVED, known.order


def _of_alerts(facts: Facts) -> Iterator[Metric]:
    ended = CounterMetricFamily("mcp_alerts", "Alerts since mcpd started, by outcome.", labels=("kind", "outcome"))
    # All of them from the start: a counter that begins with 1 has no increase that a rule could see.
    for kind in AlertKind:
        for outcome in (Delivery.SENT, Delivery.FAILED, Delivery.SUPPRESSED):
            ended.add_metric((kind.value, outcome.value), facts.outcomes.get((kind, outcome), 0))
    yield ended
    if facts.alerts is None:
        return
    standing = GaugeMetricFamily("mcp_alerts_open", "Alerts that are still open.", labels=("kind",))
    silenced = GaugeMetricFamily("mcp_alerts_silenced", "Open alerts that a silence keeps quiet.", labels=("kind",))
    for kind in AlertKind:
        standing.add_metric((kind.value,), facts.alerts.open.get(kind, 0))
        silenced.add_metric((kind.value,), facts.alerts.silenced.get(kind, 0))
    yield standing
    yield silenced
    yield GaugeMetricFamily("mcp_alerts_pending", "Alerts still to be delivered.", value=facts.alerts.pending)


def _of_calls(counts: Counts) -> Iterator[Metric]:
    calls = CounterMetricFamily("mcp_rpc_requests", "Calls that have ended.", labels=("method", "status"))
    for key, number in counts.rpcs.items():
        calls.add_metric(key, number)
    yield calls
    yield _histogram(
        "mcp_rpc_duration_seconds", "How long calls took, except endless streams.", "method", counts.rpc_durations
    )
    yield _histogram(
        "mcp_podman_request_duration_seconds", "How long podman took to answer.", "call", counts.podman_durations
    )
    yield CounterMetricFamily(
        "mcp_podman_unanswered", "Requests that podman has not answered, or not in time.", value=counts.unanswered
    )


def _of_sessions(places: Places) -> Iterator[Metric]:
    still = GaugeMetricFamily("mcp_sessions_open", "Sessions that go on: exec, and run.", labels=("kind",))
    begun = CounterMetricFamily("mcp_sessions", "Sessions that have begun.", labels=("kind",))
    for kind in places.begun:
        still.add_metric((kind,), places.open[kind])
        begun.add_metric((kind,), places.begun[kind])
    yield still
    yield begun


def _of_pushes(pushes: Pushes) -> Iterator[Metric]:
    yield GaugeMetricFamily("mcp_image_pushes_open", "Pushes of images that go on.", value=pushes.open)
    ended = CounterMetricFamily("mcp_image_pushes", "Pushes of images that have ended.", labels=("result",))
    for result, number in pushes.ended.items():
        ended.add_metric((result,), number)
    yield ended
    yield CounterMetricFamily(
        "mcp_image_push_received_bytes", "Bytes of pushed layers, as they came.", value=pushes.received
    )


def _histogram(name: str, words: str, label: str, found: Iterable[tuple[str, Durations]]) -> Metric:
    family = HistogramMetricFamily(name, words, labels=(label,))
    for value, durations in found:
        family.add_metric((value,), durations.buckets(), durations.sum)
    return family


def database_size(path: Path) -> int:
    """In bytes, with what SQLite keeps beside it; 0 for what is not there."""
    total = 0
    for suffix in _DATABASE_SUFFIXES:
        try:
            total += Path(f"{path}{suffix}").stat().st_size
        except OSError:
            continue
    return total
