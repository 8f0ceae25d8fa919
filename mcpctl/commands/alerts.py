"""alerts list|ack|silence|unsilence: signatures, and which node is meant; the rest is in `mcpctl.actions.alerts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import alerts
from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes, OneNode, What, instant, ledger_id, target
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import UsageError
from protos import grammar


def list_alerts(
    what: What = "",
    /,
    *,
    closed: Annotated[bool, Parameter(name=("--all", "-a"), negative="", help="Those that are over, too.")] = False,
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = alerts.DEFAULT_ALERTS,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List the alerts that are open, and what is silenced.

    For example: `mcpctl alerts list web --all`
    """
    if limit < 1:
        raise UsageError(f"--limit: {limit} is not a number of alerts")
    return alerts.list_alerts(Query(what, node, common.config, common.how), closed=closed, limit=limit)


def ack(
    alert: Annotated[int, Parameter(name="ID", help="The alert's id, as `mcpctl alerts list` shows it.")],
    /,
    *,
    note: Annotated[str, Parameter(help="What others should know.")] = "",
    node: OneNode = "",
    common: Common = COMMON,
) -> int:
    """Say that you have seen an alert.

    Each node counts its own alerts: with several nodes, --node says whose it is.

    For example: `mcpctl alerts ack 17 --node rift --note "disk is being replaced"`
    """
    ledger_id(alert, "alert")
    where = common.settings().one_node(node, "alerts")
    return alerts.ack(Query(config=common.config, how=common.how), where, alert, note)


def silence(
    what: What,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; shown to whoever lists alerts.")],
    lasting: Annotated[str, Parameter(name="--for", help="So long: 30m, 2h, 1d.")] = "",
    until: Annotated[str, Parameter(help="Until a time (2026-01-31T12:00), instead of --for.")] = "",
    node: Annotated[str, Parameter(help="The node. [default: the one that the definition names]")] = "",
    common: Common = COMMON,
) -> int:
    """Keep the alerts of a service or component quiet for a while.

    It ends by itself, or with `mcpctl alerts unsilence`. What is kept quiet is still recorded and listed.

    For example: `mcpctl alerts silence web/api --for 2h --reason "moving the database"`
    """
    name, component = target(what)
    if not reason.strip():
        raise UsageError("--reason: say why, so that others know what they will not hear of")
    end = _end(lasting, until)
    settings = common.settings()
    where = settings.usable_node(node or _defined_node(settings, name, component))
    return alerts.silence(Query(what, (), common.config, common.how), where, end, reason)


def unsilence(
    what: Annotated[
        str,
        Parameter(
            name="WHAT", help="A silence's id, as `mcpctl alerts list` shows it; or SERVICE, or SERVICE/COMPONENT."
        ),
    ],
    /,
    *,
    node: Annotated[
        str, Parameter(help="The node. [default: the only one, or the one that the definition names]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """End a silence before its time.

    An id ends that one. SERVICE ends those of the service as a whole, SERVICE/COMPONENT those of the component alone.
    What was kept quiet, and is not over, is told at once. Each node counts its own silences: with several nodes, --node
    says whose an id is.

    For example: `mcpctl alerts unsilence web/api`
    """
    settings = common.settings()
    if what.isdecimal():
        where = settings.one_node(node, "silences")
        return alerts.unsilence(Query("", (), common.config, common.how), where, ledger_id(int(what), "silence"))
    name, component = target(what)
    where = settings.usable_node(node or _defined_node(settings, name, component))
    return alerts.unsilence(Query(what, (), common.config, common.how), where)


def _defined_node(settings: Settings, service: str, component: str) -> str:
    try:
        found = definition.load(settings, service)
    except UsageError as error:
        raise UsageError(f"{error}\n--node NAME says which node is meant, without a definition") from None
    found.check_component(component)
    return found.service.node


def _end(lasting: str, until: str) -> datetime:
    """When a silence ends. Raises UsageError."""
    if bool(lasting) == bool(until):
        raise UsageError("say how long: either --for 2h or --until 2026-01-31T12:00")
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
        raise UsageError(f"--until: {until!r} is over already")
    return end
