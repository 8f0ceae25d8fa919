"""One call: who makes it, what it is about, how it ended, and what cuts it off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from grpclib import Status

from mcpd.errors import McpdError
from mcpd.model import Caller, Role

Headers = list[tuple[str, str]]

# What the audit log and the metrics call an RPC that no contract has: a stranger chooses no name there.
UNKNOWN = "unknown"
SHOWN_CHARS = 120


class Call:
    """What is known of one call, for its log line, and what ends it early."""

    def __init__(self, method: str, peer: str, ended: Callable[[Call], None] | None = None) -> None:
        self._ended = ended
        self.method = method
        self.peer = peer
        self.at = datetime.now(UTC)
        self.started = time.monotonic()
        self.caller: Caller | None = None
        self.target = ""
        # As the client was told, or as it would have been.
        self.status = Status.CANCELLED
        self.is_answered = False
        # All that is left is to end the answer.
        self.is_over = False
        # The client has cancelled it, and not lost its connection.
        self.is_reset = False
        # With what it was let in: looked at again while it lasts.
        self.token = ""
        self.need: Role | None = None
        # Why it is cut off.
        self.ending: McpdError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The peer without its port, which every connection has another of."""
        return self.peer.rpartition(":")[0]

    def begin(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def end(self) -> None:
        """Logs it, once: before the client has the end of its answer, or when there is no answer."""
        self._task = None  # which holds the call: a circle is freed late
        ended, self._ended = self._ended, None
        if ended:
            ended(self)

    def cut(self, why: McpdError) -> None:
        """Ends it with ``why``, wherever it is. What it started goes on as after a client that left."""
        self.ending = why
        if self._task:
            self._task.cancel()

    def answered(self, headers: Headers) -> None:
        """Notes what the client is told."""
        self.is_answered = True
        told = dict(headers)
        if "grpc-status" in told:
            self.status = Status(int(told["grpc-status"]))
        elif told.get(":status") == "405":  # to what is no POST (grpc's doc/http-grpc-status-mapping.md)
            self.status = Status.UNKNOWN
