"""Checks podman's user: subordinate ids, the programs that map them, and lingering after logout (audit S4)."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from mcpd.checks.finding import Finding, failure, ok, warning

# Images use ids up to 65534 (nobody), so a container needs this many.
ENOUGH_IDS = 65536
# Where useradd(8) starts (SUB_UID_MIN in login.defs(5)).
_FIRST_FREE = 100000
_SYSTEMD = Path("/run/systemd/system")
_LINGER = Path("/var/lib/systemd/linger")
MAPS = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}


class Range(NamedTuple):
    """A range of subordinate ids: ``size`` ids from ``start`` on, and the user that the line names."""

    owner: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The first id after it."""
        return self.start + self.size


class Owner(NamedTuple):
    """podman's user and its subordinate ids (subuid(5), subgid(5))."""

    name: str
    uid: int
    gid: int
    rootless: bool
    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()

    def host_uid(self, uid: int) -> int | None:
        """The machine's id for ``uid`` of a container; None when no subordinate id covers it."""
        return host_id(uid, self.uid, self.uids) if self.rootless else uid

    def host_gid(self, gid: int) -> int | None:
        return host_id(gid, self.gid, self.gids) if self.rootless else gid

    def has(self, uid: int, gid: int) -> bool:
        """Whether both ids of the machine are mapped into the containers, so their root controls such files."""
        if not self.rootless:
            return True
        return (uid == self.uid or _holds(self.uids, uid)) and (gid == self.gid or _holds(self.gids, gid))


def owner(uid: int, *, rootless: bool) -> Owner:
    """Raises OSError when the files of subordinate ids cannot be read, though not when they are missing."""
    try:
        entry = pwd.getpwuid(uid)
        name, gid = entry.pw_name, entry.pw_gid
    except KeyError:
        name, gid = str(uid), os.getgid()
    uids, gids = (
        tuple(each for each in parse(_text(path)) if each.owner in (name, str(uid))) for path in MAPS.values()
    )
    return Owner(name, uid, gid, rootless, uids, gids)


def look(who: Owner) -> list[Finding]:
    """Checks what only a rootless podman needs; for a podman of root, only warns about that."""
    if not who.rootless:
        words = "podman runs as root: whoever breaks out of a container is root. Rootless is recommended"
        return [warning("user", words, "useradd --create-home mcp, and run mcpd as that user; see docs/check.md")]
    found = [ok("user", f"{who.name}, rootless")]
    for kind, path in MAPS.items():
        found.append(judge_subordinate(kind, _text(path), who.name, who.uid))
        found.append(judge_mapper(f"new{kind}map", shutil.which(f"new{kind}map")))
    if _SYSTEMD.is_dir():
        found.append(judge_linger(who.name, lingers=(_LINGER / who.name).exists()))
    if who.uid == os.geteuid():
        found.append(judge_runtime_folder(os.environ.get("XDG_RUNTIME_DIR", ""), who.uid))
    return found


def parse(text: str) -> tuple[Range, ...]:
    """Parses subuid(5) or subgid(5); skips invalid lines, as shadow does."""
    found = []
    for line in text.splitlines():
        name, *numbers = line.split(":")
        if name and len(numbers) == 2 and all(each.isascii() and each.isdigit() for each in numbers):
            found.append(Range(name, int(numbers[0]), int(numbers[1])))
    return tuple(found)


def host_id(number: int, own: int, ranges: tuple[Range, ...]) -> int | None:
    """0 in a rootless container is podman's own user; 1 is the first subordinate id, and so on."""
    if number == 0:
        return own
    left = number - 1
    for each in ranges:
        if left < each.size:
            return each.start + left
        left -= each.size
    return None


def judge_subordinate(kind: str, text: str, name: str, uid: int) -> Finding:
    """``text`` is all of /etc/subuid (``kind`` "uid") or /etc/subgid ("gid")."""
    every = parse(text)
    mine = [each for each in every if each.owner in (name, str(uid))]
    others = [each for each in every if each not in mine]
    total = sum(each.size for each in mine)
    free = max([_FIRST_FREE, *(each.end for each in every)])
    mend = (
        f"usermod --add-sub{kind}s {free}-{free + ENOUGH_IDS - 1} {name} && "
        f"su -s /bin/sh {name} -c 'podman system migrate'"
    )
    which = f"sub{kind}"
    if not total:
        return failure(which, f"{name} has no subordinate {kind}s, so containers can run only as root", mend)
    if total < ENOUGH_IDS:
        words = f"{name} has {total} subordinate {kind}s; images use up to {ENOUGH_IDS}"
        return warning(which, words, mend)
    for one in mine:
        for other in others:
            if one.start < other.end and other.start < one.end:
                words = f"{name}'s {kind}s from {one.start} on also belong to {other.owner}, who can access those files"
                return warning(which, words, f"usermod --del-sub{kind}s {one.start}-{one.end - 1} {name} && {mend}")
    return ok(which, f"{name} has {total} subordinate {kind}s from {mine[0].start} on")


def judge_mapper(name: str, path: str | None) -> Finding:
    """newuidmap(1) or newgidmap(1): they need root's power, as setuid programs or by a file capability."""
    if path is None:
        return failure(name, f"{name} is not on PATH; podman maps subordinate ids with it", "apt-get install uidmap")
    powerful = bool(Path(path).stat().st_mode & stat.S_ISUID) or "security.capability" in os.listxattr(path)
    if not powerful:
        words = f"{path} is neither setuid nor has a capability, so it cannot map ids"
        return failure(name, words, "apt-get install --reinstall uidmap")
    return ok(name, path)


def judge_linger(name: str, *, lingers: bool) -> Finding:
    if lingers:
        return ok("linger", f"systemd keeps the processes of {name} running")
    words = f"systemd stops everything that {name} runs at logout, containers included, and starts none of it at boot"
    return failure("linger", words, f"loginctl enable-linger {name}")


def judge_runtime_folder(path: str, uid: int) -> Finding:
    name, mend = "runtime folder", f"export XDG_RUNTIME_DIR=/run/user/{uid}"
    if not path:
        return warning(
            name, "XDG_RUNTIME_DIR is not set; podman picks a folder, which may be a different one later", mend
        )
    try:
        found = os.stat(path)  # noqa: PTH116 -- a string from outside, which may be no path
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return failure(name, f"XDG_RUNTIME_DIR is {path}: {reason}", mend)
    if found.st_uid != uid:
        return failure(name, f"XDG_RUNTIME_DIR is {path}, which belongs to user {found.st_uid}, not {uid}", mend)
    return ok(name, path)


def _holds(ranges: tuple[Range, ...], number: int) -> bool:
    return any(each.start <= number < each.end for each in ranges)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
