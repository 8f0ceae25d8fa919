"""The RPC that sends a snapshot of the registry, to callers who may have all of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import trio

from mcpd.model import Caller
from mcpd.registry.snapshots.take import take
from mcpd.rpc.methods import Method
from protos.mcp import v1 as wire

_CHUNK_BYTES = 256 * 1024


class SnapshotMethods:
    def __init__(self, database: Path) -> None:
        self._database = database

    @property
    def methods(self) -> dict[str, Method]:
        return {"Snapshot": self.snapshot}

    async def snapshot(
        self, request: wire.SnapshotRequest, caller: Caller
    ) -> AsyncGenerator[wire.SnapshotResponse, None]:
        """Taken into a folder of its own, which goes with the call: what is kept on the node is the timer's."""
        with tempfile.TemporaryDirectory(prefix=".snapshot-", dir=self._database.parent) as folder:
            made = await trio.to_thread.run_sync(take, self._database, Path(folder), datetime.now(UTC))
            header = wire.SnapshotHeader(name=made.path.name, size=made.size, taken_at=made.taken_at)
            yield wire.SnapshotResponse(header=header)
            digest = hashlib.sha256()
            async with await trio.open_file(made.path, "rb") as file:
                while chunk := await file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    yield wire.SnapshotResponse(chunk=chunk)
            yield wire.SnapshotResponse(sha256=digest.digest())
