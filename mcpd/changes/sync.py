"""Sync: the registry takes over what a definition declares. No container is made or removed."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.losses import in_short
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, is_recorded_as
from mcpd.changes.survey import survey
from mcpd.model import Step
from protos.fingerprint import spec_hash
from protos.spec import Service


async def pending(node: Node, service: Service) -> tuple[ComponentPlan, ...]:
    """What a deploy would still change; the reason says what it would lose."""
    plan = await survey(node, service, service.component_names)
    return tuple(
        msgspec.structs.replace(each, reason=_with_losses(each))
        for each in plan.components
        if each.action not in (Action.NONE, Action.UPDATE)
    )


def _with_losses(plan: ComponentPlan) -> str:
    lost = f"; needs --accept-loss, because its definition does not have {in_short(plan.losses)}" if plan.losses else ""
    return plan.reason + lost


class Sync:
    """Takes one service's definition over, as an operation: intent and specs are recorded, what should stop is stopped.

    What should run and does not is started; nothing is made anew.
    """

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._operation = operation

    async def run(self, service: Service) -> None:
        known = await self._node.registry.service(service.name)
        if not is_recorded_as(service, known, service.component_names):
            await self._operation.take("", Step.PLAN, "recording the definition")
            hashes = {each.name: spec_hash(each) for each in service.components}
            await self._node.registry.put_service(service, hashes, datetime.now(UTC))
        await Lifecycle(self._node, self._operation).settle()
