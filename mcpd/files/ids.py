"""Users and groups as a container sees them, and as the node does (audit S4)."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import msgspec

from mcpd.errors import InvalidRequestError

_SUBUID = Path("/etc/subuid")
_SUBGID = Path("/etc/subgid")
_OWNER = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")
# (uid_t) -1 means "none" to chown(2).
_MAX_ID = 2**32 - 2


class Owner(msgspec.Struct, frozen=True):
    """A user's and a group's number."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


class IdRange(msgspec.Struct, frozen=True):
    """Maps ``count`` ids of a container, starting at ``inside``, to the node's ids starting at ``outside``."""

    inside: int
    outside: int
    count: int


class IdMap(msgspec.Struct, frozen=True):
    """The ids that containers can have; ``what`` names their kind in messages."""

    what: str
    ranges: tuple[IdRange, ...]

    def to_node(self, number: int) -> int:
        """Raises InvalidRequestError, with the valid range, for an id that no container has."""
        for each in self.ranges:
            if each.inside <= number < each.inside + each.count:
                return each.outside + number - each.inside
        last = max(each.inside + each.count for each in self.ranges) - 1
        hint = "" if last else f"; {self._file} gives this node's user no subordinate ids"
        raise InvalidRequestError(f"no container here has the {self.what} {number}; there are 0 to {last}{hint}")

    def to_container(self, number: int) -> int | None:
        """The container's id, or None when no container has it."""
        for each in self.ranges:
            if each.outside <= number < each.outside + each.count:
                return each.inside + number - each.outside
        return None

    @property
    def _file(self) -> Path:
        return _SUBUID if self.what == "uid" else _SUBGID


class Ids(msgspec.Struct, frozen=True):
    uids: IdMap
    gids: IdMap

    def to_node(self, owner: Owner) -> Owner:
        """Raises InvalidRequestError."""
        return Owner(self.uids.to_node(owner.uid), self.gids.to_node(owner.gid))

    def to_container(self, found: os.stat_result) -> str:
        """``UID:GID`` of a file as containers see it; empty when no container can have these ids."""
        uid, gid = self.uids.to_container(found.st_uid), self.gids.to_container(found.st_gid)
        return "" if uid is None or gid is None else f"{uid}:{gid}"


def owner_of(text: str) -> Owner | None:
    """Parses ``UID:GID``; None for an empty text. Raises InvalidRequestError."""
    if not text:
        return None
    found = _OWNER.fullmatch(text)
    if found is None or max(map(int, found.groups())) > _MAX_ID:
        raise InvalidRequestError(
            f"{text[:40]!r} is not an owner; write UID:GID in numbers, as the container sees them"
        )
    return Owner(*map(int, found.groups()))


def of_this_user() -> Ids:
    """How podman maps ids for the user that mcpd runs as (podman-run(1), "--userns": the default of both).

    Root's containers have the node's own ids. A rootless one's root is the user; the ids from 1 on are the user's
    subordinate ids, range after range as subuid(5) lists them. Read anew each time: the files are small.
    """
    uid = os.geteuid()
    if uid == 0:
        everything = (IdRange(0, 0, _MAX_ID + 1),)
        return Ids(IdMap("uid", everything), IdMap("gid", everything))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    keys = frozenset({name, str(uid)} - {""})
    return Ids(
        IdMap("uid", rootless_ranges(uid, _read(_SUBUID), keys)),
        IdMap("gid", rootless_ranges(os.getegid(), _read(_SUBGID), keys)),
    )


def rootless_ranges(own: int, table: str, keys: frozenset[str]) -> tuple[IdRange, ...]:
    """The user's ``own`` id, then the ranges of ``table`` (subuid(5): NAME-OR-UID:START:COUNT) for any of ``keys``."""
    ranges = [IdRange(0, own, 1)]
    following = 1
    for line in table.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in keys and all(each.isdecimal() for each in fields[1:]):
            count = int(fields[2])
            ranges.append(IdRange(following, int(fields[1]), count))
            following += count
    return tuple(ranges)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
