"""The RPCs about operations: what is being changed, and what was."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from mcpd.changes.operations import Operations
from mcpd.errors import RefusedError
from mcpd.model import Caller
from mcpd.registry.journal import Journal, State
from mcpd.rpc import convert
from mcpd.rpc.gate import Method
from protos.mcp import v1 as wire

_DEFAULT_OPERATIONS = 20


class OperationMethods:
    def __init__(self, node: str, journal: Journal, operations: Operations) -> None:
        self._node = node
        self._journal = journal
        self._operations = operations

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "ListOperations": self.list_operations,
            "WatchOperation": self.watch_operation,
            "CancelOperation": self.cancel_operation,
        }

    async def cancel_operation(
        self, request: wire.CancelOperationRequest, caller: Caller
    ) -> wire.CancelOperationResponse:
        raise RefusedError("operations cannot be cancelled yet")

    async def list_operations(self, request: wire.ListOperationsRequest, caller: Caller) -> wire.ListOperationsResponse:
        found = await self._journal.newest(
            request.service,
            running_only=request.running_only,
            limit=convert.limit(request.limit, _DEFAULT_OPERATIONS),
        )
        return wire.ListOperationsResponse(node=self._node, operations=[convert.operation_info(each) for each in found])

    async def watch_operation(
        self, request: wire.WatchOperationRequest, caller: Caller
    ) -> AsyncGenerator[wire.WatchOperationResponse, None]:
        # Looked for first: one that ends meanwhile is in the journal, whole, afterwards.
        running = next((each for each in self._operations.running if each.id == request.id), None)
        record, reports = await self._journal.operation(request.id)
        yield wire.WatchOperationResponse(operation=convert.operation_info(record))
        if running:
            async for report in running.follow():
                yield wire.WatchOperationResponse(**convert.report(report))
        else:
            for report in reports:
                yield wire.WatchOperationResponse(**convert.report(report))
            if record.state is not State.COMPLETED:
                raise RefusedError(record.message or f"operation {record.id} is {record.state}")
        yield wire.WatchOperationResponse(completed=wire.Completed())
