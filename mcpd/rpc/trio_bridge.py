"""The bridge between the two event loops: grpclib runs in a trio-asyncio loop, everything of ours in Trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, TypeVarTuple, cast

import trio
import trio_asyncio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Callbacks of asyncio's that run before Trio's tasks have their turn.
_MORE_AT_ONCE = 15


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """An asyncio event loop that runs inside the current Trio task.

    trio-asyncio goes through Trio's scheduler, and asks the kernel what is ready, after every callback; asyncio's own
    loop does that after all that are due. In between is the better part of what a call costs more than with asyncio.
    """
    async with trio_asyncio.open_loop() as loop:
        one = loop._main_loop_one

        async def several(no_wait: bool = False) -> None:
            await one(no_wait)
            if no_wait:
                return  # the end of the loop: whoever empties it counts on one
            with suppress(trio.WouldBlock):
                for _ in range(_MORE_AT_ONCE):
                    await one(no_wait=True)

        loop._main_loop_one = several
        yield


async def in_trio(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """From an asyncio task: runs a Trio function. Cancelling the task cancels the function (`trio.Cancelled`)."""
    return cast(T, await trio_asyncio.trio_as_aio(function)(*args))


async def in_asyncio(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """From a Trio task below `open_loop`: runs an asyncio function."""
    return cast(T, await trio_asyncio.aio_as_trio(function)(*args))
