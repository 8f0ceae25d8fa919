"""At start: finishes or reverts what a killed daemon left open in the journal, by looking at podman.

Every such operation holds its service until that is done, as the operation that it is: it can be listed and followed,
and nobody is alerted about what it does.
"""

from __future__ import annotations

import msgspec
import structlog
import trio

from mcpd.changes.cancelling import cancelled, canceller
from mcpd.changes.deploy import aftermath, tell_reverted, tidy_up
from mcpd.changes.lifecycle import Lifecycle
from mcpd.changes.maintenance import was_to_be
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations, RevertedError
from mcpd.changes.plan import DeployPlan
from mcpd.changes.recover import Recover
from mcpd.changes.rollback import roll_back
from mcpd.changes.surroundings import tidy_configs
from mcpd.errors import NotFoundError, RefusedError, UnavailableError
from mcpd.model import Caller, Role
from mcpd.registry.journal import OperationRecord

log = structlog.get_logger()

# While podman does not answer: nothing can be looked at, and nothing is guessed.
_RETRY_S = 2.0

_CUT_OFF = "mcpd stopped in the middle of it"


async def take_up_what_was_left(node: Node, operations: Operations) -> None:
    """Resumes every open operation; returns when each of them holds its service."""
    for left in await node.journal.open():
        log.warning(
            "resuming an operation that an earlier mcpd left unfinished",
            operation=left.id,
            kind=left.kind,
            target=str(left.target),
        )
        operations.take_up(left, Caller(left.caller, Role.ADMIN), _Continuation(node, left))


class _Continuation:
    """The rest of one operation, as the body of another."""

    def __init__(self, node: Node, left: OperationRecord) -> None:
        self._node = node
        self._left = left

    async def __call__(self, operation: Operation) -> None:
        while True:
            try:
                await self._go_on(operation)
                return
            except UnavailableError as error:
                log.warning("an operation is waiting for podman", operation=operation.id, error=str(error))
            await trio.sleep(_RETRY_S)

    async def _go_on(self, operation: Operation) -> None:
        try:
            await self._end(operation)
        except (RevertedError, RefusedError):
            await tidy_configs(self._node, self._left.target.service)
            raise
        # What it had done may have been all but this.
        await tidy_configs(self._node, self._left.target.service)

    async def _end(self, operation: Operation) -> None:
        kind = self._left.kind
        if kind == "deploy":
            await self._end_deploy(operation)
        elif kind == "undeploy":
            await self._end_undeploy(operation)
        elif kind == "recover":
            await Recover(self._node, operation).run()
        elif kind == "purge":
            await self._end_purge()
        elif kind == "maintenance":
            await self._end_maintenance(operation)
        elif kind == "adopt":
            # One commit as well, and it is told of what it recorded by the events of that.
            return
        else:  # start, stop, restart, sync, boot, heal: the registry says what they were to lead to
            await Lifecycle(self._node, operation).settle()

    async def _end_deploy(self, operation: Operation) -> None:
        if self._left.plan is None:
            raise RevertedError(f"{_CUT_OFF}, before anything was changed")
        plan = msgspec.json.decode(self._left.plan, type=DeployPlan)
        if self._left.committed:
            await tidy_up(self._node, plan, operation)
            return
        _, reports = await self._node.journal.operation(operation.id)
        # Cancelled, and cut off while it was taken back: it ends as whoever cancelled it was told.
        operation.cancelled_by = canceller(reports)
        left = await roll_back(self._node, plan, operation)
        cause = cancelled(operation.cancelled_by) if operation.cancelled_by else _CUT_OFF
        words = f"deploy of {operation.target}: {cause}; {aftermath(left)}"
        await tell_reverted(self._node, operation, words)
        raise (RefusedError if left else RevertedError)(words)

    async def _end_undeploy(self, operation: Operation) -> None:
        try:
            await Lifecycle(self._node, operation).undeploy()
        except NotFoundError:
            return  # all of it was done

    async def _end_maintenance(self, operation: Operation) -> None:
        """One commit as well; then the proxy is told of it, by whoever keeps it so."""
        _, reports = await self._node.journal.operation(operation.id)
        wanted = was_to_be(reports)
        is_so = self._left.target.service in await self._node.registry.in_maintenance()
        if wanted is None or wanted is not is_so:
            raise RevertedError(f"{_CUT_OFF}, before anything was changed")

    async def _end_purge(self) -> None:
        """Forgetting is one commit: it happened, or it did not."""
        service = await self._node.registry.service(self._left.target.service)
        if service and any(self._left.target.covers(each.spec.name) for each in service.components):
            raise RevertedError(f"{_CUT_OFF}, before anything was forgotten")
