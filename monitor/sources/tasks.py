"""A set of tasks that follows a set of keys: starts a task for each new key, cancels it when the key goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

import trio

K = TypeVar("K", bound=Hashable)


class Tasks(Generic[K]):
    """One task per key, in ``nursery``, each running ``run(key)`` once.

    ``ends_itself``: a task whose key is wanted no more is left to its own end, which is near.
    """

    def __init__(
        self, nursery: trio.Nursery, run: Callable[[K], Awaitable[None]], *, ends_itself: bool = False
    ) -> None:
        self._nursery = nursery
        self._run = run
        self._ends_itself = ends_itself
        self._scopes: dict[K, trio.CancelScope] = {}

    def keep(self, wanted: Iterable[K]) -> None:
        """Starts a task for every key that has had none yet, and cancels those whose keys are not in ``wanted``."""
        keys = set(wanted)
        for key in self._scopes.keys() - keys:
            scope = self._scopes.pop(key)
            if not self._ends_itself:
                scope.cancel()
        for key in keys - self._scopes.keys():
            self._scopes[key] = scope = trio.CancelScope()
            self._nursery.start_soon(self._one, key, scope)

    async def _one(self, key: K, scope: trio.CancelScope) -> None:
        with scope:
            await self._run(key)
