"""What an operation that is about to end a container does first: it says so, in case that a job runs in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.errors import McpdError, RegistryError
from mcpd.registry import jobs

log = structlog.get_logger()


@asynccontextmanager
async def ending(node: Node, operation: Operation, component: str) -> AsyncIterator[None]:
    """Within it the component's container is stopped: that is no failure of its run, if it has one.

    Kept before it is done, so that it is known after a crash. When it fails, the run goes on, and is its own again.
    """
    service = await node.registry.service(operation.target.service)
    recorded = service.component(component) if service else None
    if recorded is None or not any(each.is_job for each in recorded.specs):
        yield
        return
    by = f"{operation.kind} of {operation.target} by {operation.caller.name}"
    await _mark(node, recorded.service, component, by)
    try:
        yield
    except McpdError:
        await _mark(node, recorded.service, component, "")
        raise


async def _mark(node: Node, service: str, component: str, by: str) -> None:
    try:
        await node.registry.transact(lambda db: jobs.mark_stopped(db, service, component, by), durable=False)
    except RegistryError as error:
        log.error("that a job is being stopped could not be recorded", service=service, job=component, error=str(error))
