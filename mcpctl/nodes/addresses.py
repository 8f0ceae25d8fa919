"""Names of hosts become addresses in threads that nobody waits for.

asyncio does that in threads which it joins at its end: a name server that is silent would hold up a command for as long
as the C library is patient (resolv.conf(5): five seconds, several times), whatever deadline its node had.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

# As `socket.getaddrinfo` returns.
Addresses = list[Any]


def aside(loop: asyncio.AbstractEventLoop) -> None:
    """Makes ``loop`` resolve names so."""
    loop.getaddrinfo = _getaddrinfo  # type: ignore[method-assign,assignment]


async def _getaddrinfo(
    host: str,
    port: int,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002
    proto: int = 0,
    flags: int = 0,
) -> Addresses:
    """As the loop's own does. Raises OSError."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Addresses] = loop.create_future()

    def settle(addresses: Addresses, error: OSError | None) -> None:
        if found.done():
            return
        if error:
            found.set_exception(error)
        else:
            found.set_result(addresses)

    def resolve() -> None:
        addresses, problem = [], None
        try:
            addresses = socket.getaddrinfo(host, port, family, type, proto, flags)
        except OSError as error:
            problem = error
        except UnicodeError:  # a label that is no name's: too long, or empty
            problem = socket.gaierror(socket.EAI_NONAME, "not a valid host name")
        # The command may be over.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, addresses, problem)

    threading.Thread(target=resolve, name=f"resolving {host}", daemon=True).start()
    return await found
