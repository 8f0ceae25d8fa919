"""Checks the files root and the services' folders: free space, and access for containers' ids (audit S4)."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from mcpd.checks.database import Declared
from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.checks.user import Owner

ROOT = "files root"

_READ, _WRITE, _ENTER = 4, 2, 1
# Below this much free space, pulls and writes to the registry will soon fail.
_WARN_BELOW = 0.15
_FAIL_BELOW = 0.05
# Less than the size of a small image.
_FAIL_BELOW_BYTES = 256 * 2**20


class Access(NamedTuple):
    """The owner and permission bits of a file or folder on the machine."""

    uid: int
    gid: int
    mode: int

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Mount(NamedTuple):
    """A path of the machine that a component mounts. ``ids`` is None for a user name or the image's own user."""

    path: str
    component: str
    ids: tuple[int, int] | None
    writes: bool


def look_root(root: Path) -> list[Finding]:
    me = os.geteuid()
    if not root.is_dir():
        return [
            failure(ROOT, f"{root} does not exist; pushed files go below it", f"mkdir -p {root} && chown {me} {root}")
        ]
    if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
        return [failure(ROOT, f"{root} cannot be written by user {me}, so no file can be pushed", f"chown {me} {root}")]
    return [ok(ROOT, f"{root} can be written")]


def look_folders(root: Path, every: tuple[Declared, ...], who: Owner) -> list[Finding]:
    """Every service's folder, and every other path below ``root`` that a component mounts."""
    mounts = [mount for each in every for mount in mounts_of(each, root)]
    paths = {str(root / each.service) for each in every if (root / each.service).exists()}
    found = []
    for path in sorted(paths | {each.path for each in mounts}):
        using = [each for each in mounts if each.path == path]
        try:
            stats = Path(path).stat()
        except FileNotFoundError:
            words = f"does not exist, and {using[0].component} mounts it, so it cannot start"
            found.append(failure(path, words, f"mkdir -p {path}"))
            continue
        except OSError as error:
            found.append(warning(path, f"could not be checked: {error.strerror}"))
            continue
        found.append(judge_path(path, Access(stats.st_uid, stats.st_gid, stats.st_mode), using, who))
    return found


def mounts_of(each: Declared, root: Path) -> list[Mount]:
    component = each.component
    return [
        Mount(
            os.path.normpath(mount.folder),
            f"{each.service}/{component.name}",
            numeric_ids(component.user),
            "ro" not in mount.options,
        )
        for mount in component.mounts
        if mount.folder and Path(os.path.normpath(mount.folder)).is_relative_to(root)
    ]


def numeric_ids(user: str | None) -> tuple[int, int] | None:
    """The ids in ``U`` or ``U:G``. The group defaults to 0, as in an image that does not list that user."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", user or "")
    return (int(match[1]), int(match[2] or 0)) if match else None


def judge_path(path: str, access: Access, mounts: list[Mount], who: Owner) -> Finding:
    """Whether the components that mount ``path`` can use it. Reports only the most serious problem."""
    troubles = [trouble for each in mounts if (trouble := _trouble(path, access, each, who))]
    owned = f"owned by {access.uid}:{access.gid}, mode {stat.S_IMODE(access.mode):04o}"
    if not troubles:
        users = ", ".join(each.component for each in mounts if each.ids)
        return ok(path, owned + (f"; usable by {users}" if users else ""))
    first = min(troubles, key=lambda each: each.status is not failure(path, "").status)
    return Finding(path, first.status, f"{owned}: {first.words}", first.remedy)


def _trouble(path: str, access: Access, mount: Mount, who: Owner) -> Finding | None:
    if mount.ids is None:
        return None
    uid, gid = mount.ids
    as_whom = f"{mount.component} runs as {uid}:{gid}"
    host_uid, host_gid = who.host_uid(uid), who.host_gid(gid)
    if host_uid is None or host_gid is None:
        words = f"{as_whom}, for which {who.name} has no subordinate ids"
        return failure(path, words, f"grep {who.name} /etc/subuid /etc/subgid   # and add a range")
    if who.rootless:
        as_whom += f", which is {host_uid}:{host_gid} on this machine"
    if uid == 0 and who.has(access.uid, access.gid):
        return None  # It has CAP_DAC_OVERRIDE over these ids (user_namespaces(7)).
    granted = permissions(access, host_uid, host_gid)
    entered = _READ | (_ENTER if access.is_folder else 0)
    mend = chown(path, access, mount.ids, (host_uid, host_gid), who)
    if granted & entered != entered:
        return failure(path, f"{as_whom} and cannot read it", mend)
    if mount.writes and not granted & _WRITE:
        return warning(path, f"{as_whom} and cannot write to it", mend)
    return None


def permissions(access: Access, uid: int, gid: int) -> int:
    """The permission bits that apply to a process without capabilities (path_resolution(7))."""
    if access.uid == uid:
        return access.mode >> 6 & 7
    return (access.mode >> 3 if access.gid == gid else access.mode) & 7


def chown(path: str, access: Access, inside: tuple[int, int], outside: tuple[int, int], who: Owner) -> str:
    """The command that gives ``path`` to a container's ids; in the user namespace when its root may do it."""
    if who.rootless and who.has(access.uid, access.gid):
        return f"podman unshare chown -R {inside[0]}:{inside[1]} {path}   # as {who.name}"
    return f"chown -R {outside[0]}:{outside[1]} {path}   # as root"


def look_space(name: str, path: Path) -> list[Finding]:
    """The free space of the file system that holds ``path``, or will hold it."""
    there = next(each for each in (path, *path.parents) if each.exists())
    found = os.statvfs(there)
    return [judge_space(name, str(there), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)]


def judge_space(name: str, path: str, available: int, total: int) -> Finding:
    """``available`` (to users other than root) and ``total`` are in bytes."""
    share = available / total if total else 0.0
    words = f"{available / 2**30:.1f} GiB free at {path}, {share:.0%} of it"
    mend = f"df -h {path}; mcpctl image prune --node NODE --dry-run   # images that nothing needs"
    if share < _FAIL_BELOW or available < _FAIL_BELOW_BYTES:
        return failure(name, words, mend)
    if share < _WARN_BELOW:
        return warning(name, words, mend)
    return ok(name, words)
