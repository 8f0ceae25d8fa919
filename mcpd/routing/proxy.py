"""What an adapter promises: that a proxy has the table of routes, and says so itself."""

from __future__ import annotations

from typing import Protocol

from mcpd.errors import UnavailableError
from mcpd.routing.table import Table


class ProxyError(UnavailableError):
    """The proxy cannot be asked, or does not take what it should have. Says which proxy, why, and what to do."""


class Proxy(Protocol):
    """One kind of proxy. Every call has a deadline of its own, and may be cancelled at any moment.

    Calls do not overlap: `mcpd.routing.router` makes one after the other.
    """

    async def differences(self, table: Table) -> tuple[str, ...]:
        """How what the proxy itself says that it has differs from ``table``: a short sentence each; none: not at all.

        Raises ProxyError.
        """

    async def apply(self, table: Table) -> None:
        """Makes the proxy have ``table``; returns when the proxy itself says that it does.

        A change of servers breaks no connection and refuses none, nor does any other. What a server that is draining
        has begun goes on. A proxy that starts again comes back with ``table``. What the proxy has from somebody else
        stays. Raises ProxyError, and then the proxy serves what it served before, or part of the change.
        """
