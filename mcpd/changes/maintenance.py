"""Maintenance: the routes of a service answer 503, whatever runs, until somebody says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import McpdError, NotFoundError, RefusedError
from mcpd.model import Outcome, Progress, Report, Result, Step

# The words of its first step, by which an mcpd after this one knows what was to be.
_BEGINS = {True: "putting it into maintenance", False: "ending its maintenance"}


def was_to_be(reports: Iterable[Report]) -> bool | None:
    """Whether an operation that was cut off was to put its service into maintenance; None: it had not begun."""
    for each in reports:
        for on, words in _BEGINS.items():
            if isinstance(each, Progress) and each.message == words:
                return on
    return None


class Maintenance:
    """Puts one service into maintenance or out of it, as an operation. What is recorded outlives any end of mcpd."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._operation = operation

    async def run(self, *, on: bool) -> None:
        """Raises NotFoundError, RefusedError for a service without routes, and McpdError when it cannot be recorded."""
        name = self._operation.target.service
        service = await self._node.registry.service(name)
        if service is None:
            raise NotFoundError(f"no service {name} is deployed on {self._node.name}; `mcpctl deploy {name}` does that")
        routed = [each.spec.name for each in service.components if any(spec.routes for spec in each.specs)]
        if not routed and on:
            raise RefusedError(
                f"{name} has no routes, so nobody reaches it through the proxy; `mcpctl stop {name}` stops it"
            )
        if (name in await self._node.registry.in_maintenance()) is on:
            words = "is in maintenance already" if on else "is not in maintenance"
            await self._operation.conclude(*(Outcome(each, Result.UNCHANGED, words) for each in routed))
            return
        await self._operation.take("", Step.SWITCH, _BEGINS[on])
        await self._node.registry.set_maintenance(name, on=on, by=self._operation.caller.name, now=datetime.now(UTC))
        try:
            await self._node.router.settle()
        except McpdError as error:
            # It is recorded, and the proxy is told as soon as it can be.
            raise RefusedError(f"{name}: recorded, but the proxy could not be told yet: {error}") from error
        words = "its routes answer 503" if on else "its routes lead to it again"
        await self._operation.conclude(*(Outcome(each, Result.UPDATED, words) for each in routed))
