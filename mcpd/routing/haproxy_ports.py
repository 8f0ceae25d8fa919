"""Whether a port that HAProxy is to open is somebody else's: found out without HAProxy, and without trying."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path

from mcpd.routing.table import Listener
from mcpd.runtime import sockets
from mcpd.runtime.sockets import EVERY_ADDRESS, Owner


def is_near(pid: int) -> bool:
    """Whether the worker's ports are ours as well: it is in the same network namespace. In doubt it is not."""
    process = Path(f"/proc/{pid}")
    try:
        # In a container of its own it says a number that is something else's here. The link to the namespace itself
        # is for root only, where the worker may do more than mcpd.
        return (process / "comm").read_text().strip() == "haproxy" and (process / "net/tcp").samefile(
            "/proc/self/net/tcp"
        )
    except OSError:
        return False


async def holder_of(listener: Listener, *, both: bool, but: Collection[int]) -> Owner | None:
    """Who else listens where ``listener`` does; ``both``: in either family. ``but``: processes that may."""
    for each in await sockets.held([(listener.port, "tcp")]):
        if meets(listener.address, each.ip, both=both):
            owner = await sockets.owner(each)
            if owner.pid not in but:
                return owner
    return None


def meets(wanted: str, held: str, *, both: bool) -> bool:
    """Whether nobody can listen at the address ``wanted`` while somebody does at ``held``. In doubt one can."""
    if held == EVERY_ADDRESS or both:
        return True
    try:
        # HAProxy has `*` for no address, and means IPv4.
        mine, theirs = ipaddress.ip_address(wanted or "0.0.0.0"), ipaddress.ip_address(held)  # noqa: S104
    except ValueError:
        return False
    if mine.version != theirs.version:
        return False
    return mine == theirs or mine.is_unspecified or theirs.is_unspecified
