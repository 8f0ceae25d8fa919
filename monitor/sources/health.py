"""The health poller: runs every component's probe, each in a task of its own, so that none delays another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec
import trio

from monitor import probes
from monitor.model import Observation, Observed, Probed
from monitor.ports import Executor, OutsideError
from monitor.sources.inspector import Inspector
from protos.parts import Health


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

    def __init__(self, executor: Executor, inspector: Inspector, send: trio.MemorySendChannel[Observation]) -> None:
        self._executor = executor
        self._inspector = inspector
        self._send = send
        # Of all probes together: one that is changed begins anew, and what it says counts against what was said before.
        self._order = 0

    async def poll(self, patient: Patient) -> NoReturn:
        """Sends when the verdict changes: healthy at the first success, unhealthy after so many failures in a row.

        Failures within the start period do not count, nor does anything that is heard of a container that is paused.
        Until the first success within it, the probe may be asked at an interval of its own.
        """
        health = msgspec.json.decode(patient.probe, type=Health)
        in_grace_until = patient.started_at.timestamp() + health.start_period.total_seconds()
        # Never longer than the whole period: the wall clock may have been set back since the start.
        left = min(health.start_period.total_seconds(), in_grace_until - datetime.now(UTC).timestamp())
        grace_ends = trio.current_time() + max(0.0, left)
        told: bool | None = None
        failures = 0
        while True:
            verdict = await self._ask(health, patient, was_well=told is True)
            if verdict is None:
                pass
            elif verdict.healthy:
                failures = 0
            elif trio.current_time() >= grace_ends:
                failures += 1
            sick = failures >= health.retries
            if verdict and ((verdict.healthy and told is not True) or (sick and told is not False)):
                is_first, told = told is None, verdict.healthy
                await self._tell(health, patient, verdict, is_first=is_first)
            is_starting = told is None and trio.current_time() < grace_ends
            await trio.sleep(_pause(health, is_starting=is_starting))

    async def _ask(self, health: Health, patient: Patient, *, was_well: bool) -> probes.Verdict | None:
        """None: podman cannot be asked, or says that the container does not run, of which a probe says nothing."""
        try:
            verdict = await probes.ask(health, patient.container, self._executor)
        except OutsideError:
            return None
        # That all is well still needs no second opinion. Of what is paused the kernel goes on to take connections,
        # which nobody answers.
        return verdict if (verdict.healthy and was_well) or await self._runs(patient) else None

    async def _runs(self, patient: Patient) -> bool:
        try:
            seen = await self._inspector.look(patient.container)
        except OutsideError:
            return True  # podman's own trouble does not make what a probe found untrue
        return seen is not None and seen.state is Observed.RUNNING and seen.started_at == patient.started_at

    async def _tell(self, health: Health, patient: Patient, verdict: probes.Verdict, *, is_first: bool) -> None:
        self._order += 1
        await self._send.send(
            Probed(
                patient.container,
                patient.started_at,
                datetime.now(UTC),
                verdict.healthy,
                verdict.words,
                self._order,
                probes.identity(health),
                is_first,
            )
        )


def _pause(health: Health, *, is_starting: bool) -> float:
    """Seconds until it is asked again."""
    return ((is_starting and health.start_interval) or health.interval).total_seconds()
