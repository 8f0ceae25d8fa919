"""The monitor over a podman whose events come too late: what an operation has started is known all the same."""

from datetime import UTC, datetime

import trio

from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Observed, Sighting
from monitor.watch import Monitor, Settings
from tests.still import StillIntent, StillRuntime

START = datetime(2026, 1, 1, tzinfo=UTC)
# No process can have it (proc(5): at most 2^22), so its run has ended as soon as it is watched.
NO_PID = 2**22 + 1


class Late(StillRuntime, StillIntent):
    """A container that was started and removed before podman told of either."""

    def __init__(self) -> None:
        self._was_started = Sighting(0, "c1", "web", "web", "web", Observed.RUNNING, START, pid=NO_PID)
        self._told = False

    async def started(self) -> Sighting:
        if self._told:
            await trio.sleep_forever()
        self._told = True
        return self._was_started


async def test_what_an_operation_started_is_known_though_it_was_gone_before_podman_told(
    registry: Registry, nursery: trio.Nursery
) -> None:
    ledger, late = MonitorLedger(registry, "n1"), Late()
    dispatcher = Dispatcher(ledger, lambda: ("/bin/true",), 10.0)
    await nursery.start(Monitor("n1", late, late, ledger, dispatcher, Settings()).run)
    kinds: list[str] = []
    with trio.fail_after(30):
        while kinds != ["running", "removed"]:
            await trio.sleep(0.02)
            kinds = [each.kind for each in await registry.events("web")]
