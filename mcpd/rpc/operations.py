"""The RPCs about operations: what is being changed, and what was."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from mcpd.changes.operations import Operations
from mcpd.errors import McpdError, RefusedError
from mcpd.model import Caller
from mcpd.registry.journal import Journal, OperationRecord, State
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
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
        # 0 is what one that is just being journalled has.
        running = next((each for each in self._operations.running if each.id == request.id != 0), None)
        if running is None:
            record, _ = await self._journal.operation(request.id)
            raise RefusedError(_over(record))
        running.cancel(caller.name)
        end: McpdError | None = None
        try:
            await running.finished()
        except McpdError as error:
            end = error
        record, _ = await self._journal.operation(request.id)
        if end and record.state is State.RUNNING:  # mcpd shuts down, and the next one goes on with it
            raise end
        return wire.CancelOperationResponse(operation=convert.operation_info(record))

    async def list_operations(self, request: wire.ListOperationsRequest, caller: Caller) -> wire.ListOperationsResponse:
        found = await self._journal.newest(
            request.service,
            running_only=request.running_only,
            limit=convert.limit(request.limit, _DEFAULT_OPERATIONS),
        )
        return wire.ListOperationsResponse(node=self._node, operations=[convert.operation_info(each) for each in found])

    async def watch_operation(
        self, request: wire.WatchOperationRequest, caller: Caller
    ) -> AsyncGenerator[wire.WatchOperationResponse | list[wire.WatchOperationResponse], None]:
        # Looked for first: one that ends meanwhile is in the journal, whole, afterwards.
        running = next((each for each in self._operations.running if each.id == request.id), None)
        record, reports = await self._journal.operation(request.id)
        yield wire.WatchOperationResponse(operation=convert.operation_info(record))
        if running:
            async for news in running.follow():
                yield [wire.WatchOperationResponse(**convert.report(each)) for each in news]
        else:
            yield [wire.WatchOperationResponse(**convert.report(each)) for each in reports]
            if record.state is not State.COMPLETED:
                raise RefusedError(record.message or f"operation {record.id} is {record.state}")
        yield wire.WatchOperationResponse(completed=wire.Completed())


def _over(record: OperationRecord) -> str:
    """Why an operation that does not run is not cancelled: how it ended, in one line."""
    target = f"{record.kind} of {record.target}"
    why = f": {record.message.partition(chr(10))[0]}" if record.message else ""
    return f"operation {record.id} ({target}) has ended and cannot be cancelled; it is {record.state}{why}"
