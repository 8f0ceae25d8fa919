"""The health poller: every component's own probe, each in a task of its own, so that none can delay another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec
import trio

from monitor import probes
from monitor.model import Observation, Probed
from monitor.ports import Executor, OutsideError
from protos.spec import Health


class Patient(NamedTuple):
    """A run of a container, and how to probe it. The probe is kept as JSON, so that this can be a key."""

    container: str
    started_at: datetime
    probe: bytes

    @staticmethod
    def of(container: str, started_at: datetime, health: Health) -> Patient:
        return Patient(container, started_at, msgspec.json.encode(health))


class HealthPoller:
    """Probes runs, each until it is cancelled; `poll` is to be run as a task per run."""

    def __init__(self, executor: Executor, send: trio.MemorySendChannel[Observation]) -> None:
        self._executor = executor
        self._send = send

    async def poll(self, patient: Patient) -> NoReturn:
        """Sends when the verdict changes: healthy at the first success, unhealthy after so many failures in a row.

        Failures within the start period do not count.
        """
        health = msgspec.json.decode(patient.probe, type=Health)
        in_grace_until = patient.started_at.timestamp() + health.start_period.total_seconds()
        # Never longer than the whole period: the wall clock may have been set back since the start.
        left = min(health.start_period.total_seconds(), in_grace_until - datetime.now(UTC).timestamp())
        grace_ends = trio.current_time() + max(0.0, left)
        told: bool | None = None
        failures = changes = 0
        while True:
            try:
                verdict = await probes.ask(health, patient.container, self._executor)
            except OutsideError:
                await trio.sleep(health.interval.total_seconds())
                continue
            if verdict.healthy:
                failures = 0
            elif trio.current_time() >= grace_ends:
                failures += 1
            sick = failures >= health.retries
            if (verdict.healthy and told is not True) or (sick and told is not False):
                told, changes = verdict.healthy, changes + 1
                now = datetime.now(UTC)
                await self._send.send(Probed(patient.container, patient.started_at, now, told, verdict.words, changes))
            await trio.sleep(health.interval.total_seconds())
