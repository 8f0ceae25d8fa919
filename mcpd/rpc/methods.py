"""The type of an RPC's method: a function of a request and its caller."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from mcpd.model import Caller
from mcpd.rpc.messages import Message, Requests

# What a room of `mcpd.rpc` offers for an RPC: a Trio function of (request, caller) that returns one message, or an
# async generator of them, or of lists of them that are sent at once. A client-streaming RPC's request is `Requests`.
Method = (
    Callable[[Any, Caller], Awaitable[Message]]
    | Callable[[Any, Caller], AsyncGenerator[Message | Sequence[Message], None]]
)
# An RPC that streams both ways: a Trio function of the client's messages, the caller, and what sends answers.
Conversation = Callable[[Requests, Caller, Callable[[Sequence[Message]], Awaitable[None]]], Awaitable[None]]
AnyMethod = Method | Conversation
# The same answer from memory, without leaving grpclib's event loop; None when memory does not have it.
FromMemory = Callable[[Any, Caller], Message | None]

# Calls that end only when their caller has seen enough, or that take as long as gigabytes take on a slow line, and may
# be made again: a shutdown does not wait for them, and nobody times them.
ENDLESS = frozenset({"WatchEvents", "WatchAudit", "Logs", "Exec", "Run", "PushImage"})
