"""alerts list|ack|silence|unsilence: signatures, and which node is meant; the rest is in `mcpctl.actions.alerts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import alerts
from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes, OneNode, Target, What, instant, ledger_id, target
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import UsageError
from protos import grammar


def list_alerts(
    what: Target = "",
    /,
    *,
    closed: Annotated[
        bool, Parameter(name=("--all", "-a"), negative="", help="Include alerts that are closed.")
    ] = False,
    limit: Annotated[int, Parameter(help="Show at most this many, the newest.")] = alerts.DEFAULT_ALERTS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List open alerts and active silences.

    For example: `mcpctl alerts list web --all`
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    return alerts.list_alerts(Query(what, node, common.config, common.how), closed=closed, limit=limit)


def ack(
    alert: Annotated[int, Parameter(name="ID", help="The ID of the alert, from `mcpctl alerts list`.")],
    /,
    *,
    note: Annotated[str, Parameter(help="A note for others.")] = "",
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Acknowledge an alert.

    Each node numbers its own alerts. If you have several nodes, give --node as well.

    For example: `mcpctl alerts ack 17 --node rift --note "disk is being replaced"`
    """
    ledger_id(alert, "alert")
    where = common.settings().one_node(node, "each node numbers its own alerts")
    return alerts.ack(Query(config=common.config, how=common.how), where, alert, note)


def silence(
    what: What,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; `mcpctl alerts list` shows it.")],
    lasting: Annotated[str, Parameter(name="--for", help="How long: 30m, 2h, 1d.")] = "",
    until: Annotated[str, Parameter(help="When it ends (2026-01-31T12:00), instead of --for.")] = "",
    node: Annotated[str, Parameter(help="The node. [default: the definition's node]")] = "",
    common: Common = COMMON,
) -> int:
    """Silence the alerts of a service or component for a while.

    The silence ends by itself, or with `mcpctl alerts unsilence`. Silenced alerts are not sent, but they are recorded
    and listed.

    For example: `mcpctl alerts silence web/api --for 2h --reason "moving the database"`
    """
    name, component = target(what)
    if not reason.strip():
        raise UsageError("--reason must not be empty: it tells others why these alerts are silent")
    end = _end(lasting, until)
    settings = common.settings()
    where = settings.usable_node(node or _defined_node(settings, name, component))
    return alerts.silence(Query(what, (), common.config, common.how), where, end, reason)


def unsilence(
    what: Annotated[
        str,
        Parameter(
            name="TARGET", help="The ID of a silence, from `mcpctl alerts list`; or SERVICE or SERVICE/COMPONENT."
        ),
    ],
    /,
    *,
    node: Annotated[
        str, Parameter(help="The node. [default: the definition's node; for an ID, the only active node]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """End a silence early.

    An ID ends that silence. SERVICE ends the silences of the whole service, SERVICE/COMPONENT only those of the
    component. Alerts that were silenced and are still open are sent at once. Each node numbers its own silences: if you
    have several nodes, give --node with an ID.

    For example: `mcpctl alerts unsilence web/api`
    """
    settings = common.settings()
    if what.isdecimal():
        where = settings.one_node(node, "each node numbers its own silences")
        return alerts.unsilence(Query("", (), common.config, common.how), where, ledger_id(int(what), "silence"))
    name, component = target(what)
    where = settings.usable_node(node or _defined_node(settings, name, component))
    return alerts.unsilence(Query(what, (), common.config, common.how), where)


def _defined_node(settings: Settings, service: str, component: str) -> str:
    try:
        found = definition.load(settings, service)
    except UsageError as error:
        raise UsageError(f"{error}\nWithout a definition, give --node NAME") from None
    found.check_component(component)
    return found.service.node


def _end(lasting: str, until: str) -> datetime:
    """When a silence ends. Raises UsageError."""
    if bool(lasting) == bool(until):
        raise UsageError("give either --for, such as --for 2h, or --until, such as --until 2026-01-31T12:00")
    now = datetime.now(UTC)
    if lasting:
        try:
            return now + grammar.positive_duration(lasting)
        except ValueError as error:
            raise UsageError(f"--for: {error}") from None
    try:
        end = instant(until)
    except ValueError:
        raise UsageError(f"--until: {until!r} is not a time (2026-01-31T12:00)") from None
    if end <= now:
        raise UsageError(f"--until: {until!r} is in the past")
    return end
