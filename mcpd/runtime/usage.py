"""Resource usage of running containers: CPU time, memory and processes, from the kernel's cgroups.

Read from files, not asked of podman: its own statistics take a tenth of a second a call, and rootless they need cgroups
version 2. Both versions are read here (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/). All of this
blocks for some microseconds a container, so it belongs in a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import msgspec

# The unified hierarchy of version 2 has no controllers in its line of /proc/PID/cgroup.
UNIFIED = ""
_MICROSECONDS = timedelta(microseconds=1)
# Version 1 writes "no limit" as the largest multiple of the page size, which differs between machines.
_NO_LIMIT = 1 << 62
# More bytes than any of these files has.
_MOST = 64 * 1024


class Usage(msgspec.Struct, frozen=True):
    """The usage of one container up to ``at``; memory in bytes. ``memory_limit`` 0: no limit of its own."""

    at: datetime
    cpu_time: timedelta
    memory: int
    memory_limit: int
    pids: int


class Mount(msgspec.Struct, frozen=True):
    """Where a hierarchy is mounted, and which of its cgroups is its root there."""

    point: str
    root: str


# By controller; the unified hierarchy is that of "".
Mounts = Mapping[str, Mount]
Read = Callable[[str], str]


def measure(pids: Mapping[str, int]) -> dict[str, Usage]:
    """What the containers of ``pids`` (the main process, by container id) use.

    Without those that ended meanwhile, and those without a cgroup of their own. Raises nothing.
    """
    try:
        mounts = mounts_of(_read("/proc/self/mountinfo"))
    except OSError:
        return {}
    found = {container: _measure(container, pid, mounts) for container, pid in pids.items() if pid}
    return {container: usage for container, usage in found.items() if usage}


def _measure(container: str, pid: int, mounts: Mounts) -> Usage | None:
    try:
        folders = folders_of(_read(f"/proc/{pid}/cgroup"), container, mounts)
        return usage_in(folders, _read, datetime.now(UTC))
    except (OSError, ValueError):
        # It ended, or is still being created.
        return None


# -- which folders


def mounts_of(mountinfo: str) -> dict[str, Mount]:
    """Where cgroups are mounted, given /proc/self/mountinfo (proc_pid_mountinfo(5)); of several places the first."""
    found: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        kind, _, options = after.split(" ", 2)
        root, point = map(_unescaped, before.split(" ")[3:5])
        # Version 1 names its controllers among the options of the file system.
        for controller in [UNIFIED] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else ():
            found.setdefault(controller, Mount(point, root))
    return found


def _unescaped(text: str) -> str:
    """Decodes blanks and the like, which are octal escapes there, such as \\040."""
    return text.encode("latin-1", "replace").decode("unicode_escape") if "\\" in text else text


def folders_of(cgroup: str, container: str, mounts: Mounts) -> dict[str, str]:
    """The container's folder in each hierarchy, given /proc/PID/cgroup of a process in it.

    A process that is not below a cgroup of the container's own (podman's ``--cgroups=disabled``, or the process ended
    and its number is another's now) has none: what is counted there is also that of others.
    """
    folders = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        own = _own(path, container)
        for controller in controllers.split(","):
            mount = mounts.get(controller)
            if own and mount and own.is_relative_to(mount.root):
                folders[controller] = str(PurePosixPath(mount.point, own.relative_to(mount.root)))
    return folders


def _own(path: str, container: str) -> PurePosixPath | None:
    """The container's cgroup; cgroups that its programs or crun create below belong to it."""
    parts = PurePosixPath(path).parts
    last = next((index for index, part in enumerate(parts) if container in part), None)
    return PurePosixPath(*parts[: last + 1]) if last is not None else None


# -- what is in them


def usage_in(folders: Mapping[str, str], read: Read, at: datetime) -> Usage | None:
    """Reads the files in ``folders``; None where a controller is missing. Raises OSError, ValueError."""
    # A hybrid machine mounts both: the controllers are where version 1 has them.
    if {"cpuacct", "memory", "pids"} <= folders.keys():
        memory = folders["memory"]
        return Usage(
            at,
            int(read(f"{folders['cpuacct']}/cpuacct.usage")) / 1000 * _MICROSECONDS,
            int(read(f"{memory}/memory.usage_in_bytes")),
            limit(read(f"{memory}/memory.limit_in_bytes")),
            int(read(f"{folders['pids']}/pids.current")),
        )
    if UNIFIED not in folders:
        return None
    folder = folders[UNIFIED]
    return Usage(
        at,
        cpu_time(read(f"{folder}/cpu.stat")),
        int(read(f"{folder}/memory.current")),
        limit(read(f"{folder}/memory.max")),
        int(read(f"{folder}/pids.current")),
    )


def cpu_time(stat: str) -> timedelta:
    """The CPU time in a cpu.stat. Raises ValueError when it is missing."""
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value) * _MICROSECONDS
    raise ValueError("no usage_usec in cpu.stat")


def limit(text: str) -> int:
    """A limit in bytes, of either version; 0: none. Raises ValueError."""
    word = text.strip()
    number = 0 if word == "max" else int(word)
    return number if number < _NO_LIMIT else 0


def _read(path: str) -> str:
    # Takes half the time of open(), and there are five files per container.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST).decode()
    finally:
        os.close(descriptor)
