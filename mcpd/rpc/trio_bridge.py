"""The bridge between the two event loops: grpclib runs in a trio-asyncio loop, everything of ours in Trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, TypeVarTuple, cast

import trio_asyncio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def open_loop() -> AbstractAsyncContextManager[Any]:
    """An asyncio event loop that runs inside the current Trio task."""
    return cast(AbstractAsyncContextManager[Any], trio_asyncio.open_loop())


async def in_trio(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """From an asyncio task: runs a Trio function. Cancelling the task cancels the function (`trio.Cancelled`)."""
    return cast(T, await trio_asyncio.trio_as_aio(function)(*args))


async def in_asyncio(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """From a Trio task below `open_loop`: runs an asyncio function."""
    return cast(T, await trio_asyncio.aio_as_trio(function)(*args))
