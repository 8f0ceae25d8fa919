"""Free disk space: checked every minute, reported once when there is little. Nothing is ever removed here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import structlog
import trio

from mcpd.changes.images.prune import size
from mcpd.config.rules import FreeSpace
from mcpd.errors import McpdError, RegistryError
from mcpd.registry.monitoring import MonitorLedger
from monitor.model import Alert

log = structlog.get_logger()

# Disks fill over hours, and a runaway log in minutes; looking costs a statvfs(2) for each path.
_POLL_S = 60.0
# statvfs(2) answers from memory; what takes longer hangs.
_LOOK_S = 2.0
# A full filesystem counts as free at this multiple of the threshold, so that one that swings is reported once.
_HYSTERESIS = 1.1


class Room(NamedTuple):
    """A filesystem: where it is mounted, what of ours is on it, and bytes, as df(1) counts them.

    ``free`` is what is free for users that are not root, ``total`` all that they could have.
    """

    filesystem: str
    holds: tuple[str, ...]
    free: int
    total: int


class Messenger(Protocol):
    def submit(self, alert: Alert) -> None:
        """Has an alert delivered that the ledger has already."""


class Storage(Protocol):
    async def graph_root(self) -> Path:
        """Where podman keeps images and containers. Raises McpdError."""


class Space:
    """Knows the filesystems that matter. ``places`` are paths on them, by what they are: "database" and so on."""

    def __init__(self, places: Mapping[str, Path], storage: Storage) -> None:
        self._places = dict(places)
        self._storage = storage
        self._storage_is_known = False
        self._seen: tuple[Room, ...] = ()
        self._looking = trio.CapacityLimiter(1)

    async def look(self) -> tuple[Room, ...]:
        """Looks at every filesystem. When one hangs, returns what was last seen.

        Leaves out a filesystem that cannot be read, and podman's until podman has said where it is.
        """
        # A network filesystem that hangs holds up one thread of ours, and neither who asks nor the daemon's end.
        with trio.move_on_after(_LOOK_S):
            self._seen = await trio.to_thread.run_sync(
                rooms, dict(self._places), abandon_on_cancel=True, limiter=self._looking
            )
        return self._seen

    async def find_storage(self) -> None:
        """Asks podman where its storage is, until it has said so once."""
        if self._storage_is_known:
            return
        try:
            self._places["podman's storage"] = await self._storage.graph_root()
            self._storage_is_known = True
        except McpdError:
            pass  # asked again at the next look


async def watch(
    space: Space, least: Callable[[], FreeSpace], node: str, ledger: MonitorLedger, messenger: Messenger
) -> NoReturn:
    """Checks every minute until cancelled; ``least`` is read each time."""
    while True:
        try:
            await space.find_storage()
            await tell(await space.look(), least(), node, ledger, messenger, datetime.now(UTC))
        except RegistryError as error:
            log.error("free disk space could not be recorded; trying again", error=str(error))
        await trio.sleep(_POLL_S)


async def tell(
    found: tuple[Room, ...], least: FreeSpace, node: str, ledger: MonitorLedger, messenger: Messenger, now: datetime
) -> None:
    """Records and sends what has changed since the last report. Raises RegistryError."""
    told = await ledger.full_disks()
    for room in found:
        was_full = room.filesystem in told
        is_full = judge(room, least, was_full=was_full)
        if is_full is was_full:
            continue
        reason = why_full(room, least, node) if is_full else why_not(room, least)
        if is_full:
            log.warning("a filesystem is nearly full", filesystem=room.filesystem, free=room.free, total=room.total)
        else:
            log.info(
                "a filesystem has enough free space again", filesystem=room.filesystem, free=room.free, total=room.total
            )
        for alert in await ledger.record_disk(room.filesystem, is_full=is_full, reason=reason, now=now):
            messenger.submit(alert)


def judge(room: Room, least: FreeSpace, *, was_full: bool) -> bool:
    """Whether it has too little room. One that ``was_full`` must be well above the limit to count as free again."""
    limit = least.of(room.total)
    return room.free < (limit * _HYSTERESIS if was_full else limit)


def why_full(room: Room, least: FreeSpace, node: str) -> str:
    """In words, with what mends it."""
    return (
        f"{_free(room)}, less than {least.text}; there: {', '.join(room.holds)}. `mcpctl image prune --node {node}` "
        "removes images that nothing uses; `podman system df` and `podman volume ls`, on the node, show what else "
        "takes space"
    )


def why_not(room: Room, least: FreeSpace) -> str:
    return f"{_free(room)}: more than {least.text} again"


def _free(room: Room) -> str:
    share = room.free / room.total if room.total else 0.0
    return f"{room.filesystem} has {size(room.free)} free of {size(room.total)} ({share:.1%})"


def rooms(places: Mapping[str, Path]) -> tuple[Room, ...]:
    """The filesystems on which ``places`` are, or would be."""
    found: dict[str, Room] = {}
    for what, path in places.items():
        try:
            filesystem = _mount_point(path)
            stat = os.statvfs(filesystem)
        except OSError as error:
            log.debug("a filesystem cannot be examined", path=str(path), error=error.strerror)
            continue
        holds = (*found[filesystem].holds, what) if filesystem in found else (what,)
        free, used = stat.f_bavail * stat.f_frsize, (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        found[filesystem] = Room(filesystem, holds, free, free + used)
    return tuple(found.values())


def _mount_point(path: Path) -> str:
    """Where the filesystem of ``path`` is mounted, or of the nearest folder above it that exists. Raises OSError."""
    there = Path(os.path.realpath(path))
    while not os.path.ismount(there):
        there = there.parent
    return str(there)
