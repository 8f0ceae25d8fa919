"""The metrics of jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mcpd.changes.jobs.keeper import JobStatus
from mcpd.registry.jobs import RunState
from monitor.state import Key

_LABELS = ("service", "component")
_ENDS = tuple(each for each in RunState if each is not RunState.RUNNING)


def of_jobs(jobs: Collection[JobStatus], ended: Mapping[tuple[Key, RunState], int]) -> Iterator[Metric]:
    """``ended``: how often runs ended in each way since mcpd started."""
    running = GaugeMetricFamily("mcp_job_running", "Whether a run of it goes on.", labels=_LABELS)
    succeeded = GaugeMetricFamily(
        "mcp_job_last_success_timestamp_seconds",
        "When a run of it last ended well, in seconds since 1970.",
        labels=_LABELS,
    )
    duration = GaugeMetricFamily("mcp_job_last_duration_seconds", "How long its last run took.", labels=_LABELS)
    upcoming = GaugeMetricFamily(
        "mcp_job_next_run_timestamp_seconds",
        "When it is due next, in seconds since 1970; missing while it is stopped.",
        labels=_LABELS,
    )
    trouble = GaugeMetricFamily("mcp_job_failing", "Whether its last run failed, or goes on too long.", labels=_LABELS)
    runs = CounterMetricFamily(
        "mcp_job_runs", "Runs that have ended since mcpd started, by how.", labels=(*_LABELS, "result")
    )
    for each in jobs:
        key = each.recorded.service, each.recorded.spec.name
        running.add_metric(key, each.going is not None)
        trouble.add_metric(key, bool(each.account and each.account.trouble))
        if each.account and each.account.succeeded_at:
            succeeded.add_metric(key, each.account.succeeded_at.timestamp())
        if each.account and each.account.duration is not None:
            duration.add_metric(key, each.account.duration)
        if each.next_at:
            upcoming.add_metric(key, each.next_at.timestamp())
        for state in _ENDS:
            runs.add_metric((*key, state.value), ended.get((key, state), 0))
    yield from (running, succeeded, duration, upcoming, trouble, runs)
