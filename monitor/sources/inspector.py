"""Asks podman about containers, and numbers the questions, so that answers can be put in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import trio

from monitor.model import Gone, Observation, Sighting
from monitor.ports import Runtime


class Inspector:
    """Looks, and sends what it sees. Every method raises OutsideError when podman does not answer."""

    def __init__(self, runtime: Runtime, send: trio.MemorySendChannel[Observation]) -> None:
        self._runtime = runtime
        self._send = send
        self._order = 0

    async def look(self, container: str) -> Sighting | None:
        """Looks at one container, and sends the sighting, or that there is none."""
        order = self._next()
        seen = await self._runtime.look(container)
        if seen is None:
            await self._send.send(Gone(order, container, datetime.now(UTC)))
            return None
        seen = msgspec.structs.replace(seen, order=order, answered=self._order, at=datetime.now(UTC))
        if seen.service:  # nobody declared the others
            await self._send.send(seen)
        return seen

    async def list(self) -> tuple[int, Sequence[Sighting]]:
        """The number of the question, and every container; sends nothing, since a list is not exact."""
        order = self._next()
        return order, await self._runtime.listed()

    def _next(self) -> int:
        self._order += 1
        return self._order
