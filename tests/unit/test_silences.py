"""The end of a silence, as its RPC and the monitor bring it about."""

from datetime import UTC, datetime, timedelta

import pytest
import trio

from mcpd.errors import InvalidRequestError, NotFoundError
from mcpd.model import Caller, Role
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc.alerts import AlertMethods
from monitor.alerts.dispatch import Dispatcher
from monitor.watch import Monitor, Settings
from protos.mcp import v1 as wire
from tests.support.idle_node import StillIntent, StillRuntime

OPS = Caller("ops", Role.ADMIN)
# Sooner than the policy looks by itself (30 s), and long enough for a busy machine.
AT_ONCE_S = 20


class Still(StillRuntime, StillIntent):
    """A component that should run, and has no container."""


async def silence(methods: AlertMethods, component: str = "") -> wire.SilenceInfo:
    until = datetime.now(UTC) + timedelta(hours=1)
    return (await methods.silence_alert(wire.SilenceAlertRequest("web", component, until, "moving"), OPS)).silence


async def test_what_a_silence_kept_quiet_is_told_as_soon_as_it_ends(registry: Registry, nursery: trio.Nursery) -> None:
    ledger, still = MonitorLedger(registry, "n1"), Still()
    dispatcher = Dispatcher(ledger, lambda: ("/bin/true",), 10.0)
    monitor = Monitor("n1", still, still, ledger, dispatcher, Settings(drift_grace=0.0))
    methods = AlertMethods("n1", ledger, monitor.look_again)
    made = await silence(methods)
    await nursery.start(monitor.run)

    async def open_alerts() -> list[wire.AlertInfo]:
        return (await methods.list_alerts(wire.ListAlertsRequest(open_only=True), OPS)).alerts

    with trio.fail_after(AT_ONCE_S):
        quiet = await open_alerts()
        while not quiet:
            await trio.sleep(0.02)
            quiet = await open_alerts()
    assert (quiet[0].delivery, quiet[0].silenced_until) == ("suppressed", made.until)
    with trio.fail_after(AT_ONCE_S):
        ended = await methods.unsilence_alert(wire.UnsilenceAlertRequest(id=made.id), OPS)
        told = quiet[0]
        while told.delivery != "sent":
            await trio.sleep(0.02)
            (told,) = await open_alerts()
    assert [each.id for each in ended.silences] == [made.id]
    assert told.silenced_until == wire.AlertInfo().silenced_until


async def test_the_longest_of_several_silences_is_what_an_alert_waits_for(registry: Registry) -> None:
    looks = []

    async def look_again() -> None:
        looks.append(1)

    methods = AlertMethods("n1", MonitorLedger(registry, "n1"), look_again)
    whole, api, db = await silence(methods), await silence(methods, "api"), await silence(methods, "db")
    assert whole.until < api.until < db.until
    with pytest.raises(InvalidRequestError, match="not by both"):
        await methods.unsilence_alert(wire.UnsilenceAlertRequest(id=1, service="web"), OPS)
    with pytest.raises(InvalidRequestError, match="not the name of a service"):
        await methods.unsilence_alert(wire.UnsilenceAlertRequest(), OPS)
    with pytest.raises(NotFoundError):
        await methods.unsilence_alert(wire.UnsilenceAlertRequest(id=2**64 - 1), OPS)
    assert looks == []
    ended = await methods.unsilence_alert(wire.UnsilenceAlertRequest(service="web"), OPS)
    assert [each.id for each in ended.silences] == [whole.id]
    listed = await methods.list_alerts(wire.ListAlertsRequest(), OPS)
    assert [each.id for each in listed.silences] == [api.id, db.id]
    assert looks == [1]
