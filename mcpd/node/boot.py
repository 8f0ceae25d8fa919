"""After a reboot: starts what should run, once, since rootless podman starts nothing by itself."""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import McpdError
from mcpd.model import OURSELVES, RecordedService, Result, Target
from mcpd.node.intent import NodeIntent
from mcpd.registry.monitoring import MonitorLedger
from monitor.model import Desired
from monitor.watch import Monitor

log = structlog.get_logger()

# Changes with every boot (random(4)).
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Lost = dict[tuple[str, str], str]  # (service, component) -> why it did not come up


async def is_another_boot(ledger: MonitorLedger) -> bool:
    """Whether the machine was booted since a daemon last ran here; remembers this boot."""
    boot_id = (await trio.Path(BOOT_ID).read_text()).strip()
    return await ledger.exchange_boot_id(boot_id) not in ("", boot_id)


async def start_what_should_run(node: Node, operations: Operations) -> Lost:
    """Starts every service, one after the other, the components of each in dependency order; returns what is lost.

    What runs to its end is not started again, and not lost: the monitor judges it as ever.
    """
    log.info("the machine has rebooted: starting the components that should run")
    lost: Lost = {}
    for service in await node.registry.services():
        wanted = {(service.name, each.spec.name) for each in service.components if each.desired is Desired.RUNNING}
        if wanted:
            failed = await _start(node, operations, service)
            lost |= {key: why for key, why in failed.items() if key in wanted}
    return lost


async def resume(node: Node, operations: Operations, monitor: Monitor, intent: NodeIntent) -> None:
    """Starts what should run, tells of what did not come back, and lets the monitor judge every service again."""
    lost = await start_what_should_run(node, operations)
    await monitor.tell_of_reboot(lost)
    intent.is_booting = False


async def _start(node: Node, operations: Operations, service: RecordedService) -> Lost:
    """Starts one service as an operation; returns what failed of it."""

    async def body(operation: Operation) -> None:
        await Lifecycle(node, operation).resume()

    try:
        operation = await operations.start("boot", Target(service.name), OURSELVES, body, wait=True)
        outcomes = await operation.finished()
    except McpdError as error:
        return {(service.name, each.spec.name): str(error) for each in service.components}
    return {(service.name, each.component): each.message for each in outcomes if each.result is Result.FAILED}
