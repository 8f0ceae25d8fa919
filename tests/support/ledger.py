"""Recording what was observed, as the monitor does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.model import Known, Observed
from protos import naming


async def observe(registry: Registry, rows: Iterable[tuple[str, str, Observed, str]], now: datetime) -> None:
    """Records (service, component, state, container id) as seen ``now``."""
    states = []
    for service, component, state, container in rows:
        recorded = await registry.service(service)
        components = [each.spec.name for each in recorded.components] if recorded else [component]
        name = naming.container_name(service, component, components)
        states.append(Known(container, name, service, component, state, now, now, 1))
    await MonitorLedger(registry, "n1").record((), states, (), now)
