"""`down`: ends a node's processes, and removes all that is left of it but the definitions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from contrib.demonstration import daemons, leftovers, processes
from contrib.demonstration.node import DEFINITIONS, MARKER, Node
from contrib.demonstration.output import WRONG_USAGE, Failure, say

# podman removes a container in a fraction of a second; longer means that it waits for a lock of something dead.
PODMAN_DEADLINE_S = 90
_KILL_AFTER_S = 5
_HELPERS_STOP_S = 2.0
# What runs for a container or for podman itself, outside of containers.
_HELPERS = (
    "conmon",
    "podman",
    "netavark",
    "aardvark-dns",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "fuse-overlayfs",
    "rootlessport",
    "catatonit",
    "runc",
    "crun",
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def down(node: Node) -> None:
    """Can be repeated when it was interrupted. Raises Failure, and touches nothing, unless `up` has made the folder."""
    if node.is_vacant:
        say(f"there is nothing to end in {node.folder}")
        return
    if not node.is_ours:
        raise Failure(f"{node.folder} was not made by `up` (it has no {MARKER}); nothing was touched", WRONG_USAGE)
    outside = leftovers.outside_of(node)  # before the files go that name it
    daemons.end_all(node)
    _remove_containers(node)
    _end_helpers(node)
    if node.is_root:
        outside.remove(node)
    _unmount_below(node.folder)
    _remove_folder(node)


def _remove_containers(node: Node) -> None:
    # Without its configuration podman would look into another storage, and remove what it finds there.
    configured = node.containers_conf.is_file() and node.storage_conf.is_file()
    if not configured or shutil.which("podman") is None:
        return
    for what in ("pod", "container"):
        argv = ["timeout", f"--kill-after={_KILL_AFTER_S}", str(PODMAN_DEADLINE_S), "podman", what, "rm"]
        argv += ["--all", "--force", "--time", "0"]
        done = subprocess.run(
            argv,
            env=node.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            say(f"podman {what} rm failed, ending its processes instead:\n{done.stderr.rstrip()}")


def _end_helpers(node: Node) -> None:
    """Ends whatever podman could not end by itself."""
    processes.end_matching(processes.has_root_below(node.podman / "graph"), 0)
    # What keeps a rootless user's namespace has no path in its arguments, only a pid file; podman 4 has that in its
    # tmp_dir, podman 5 below XDG_RUNTIME_DIR.
    pid_files = (node.folder / "podman/tmp/pause.pid", node.folder / "run/user/libpod/tmp/pause.pid")
    pauses = {pid for path in pid_files if (pid := processes.recorded(path)) is not None}
    named = processes.names_path_below(node.folder, _HELPERS)

    def is_helper(pid: int) -> bool:
        return named(pid) or (pid in pauses and processes.program(pid).startswith(("podman", "catatonit")))

    processes.end_matching(is_helper, _HELPERS_STOP_S)


def _unmount_below(folder: Path) -> None:
    points = mounts_below(folder, Path("/proc/self/mountinfo").read_text())
    for point in points:
        quiet = subprocess.run(["umount", "--", point], stderr=subprocess.DEVNULL, check=False)
        if quiet.returncode and subprocess.run(["umount", "--lazy", "--", point], check=False).returncode:
            say(f"{point} is still mounted")


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Where something is mounted, the deepest first. proc(5): mountinfo writes a space as an octal number."""
    points = (line.split()[4] for line in mountinfo.splitlines())
    decoded = (_OCTAL.sub(lambda match: chr(int(match[1], 8)), point) for point in points)
    return sorted((point for point in decoded if point.startswith(f"{folder}/")), reverse=True)


def _remove_folder(node: Node) -> None:
    """Keeps definitions, which a person wrote. The marker goes last, so that `down` can be repeated."""
    keeps = any(node.definitions.glob("*.toml"))
    if keeps:
        say(f"kept: {node.definitions}")
    kept = {MARKER, DEFINITIONS} if keeps else {MARKER}
    _remove_files(node, [path for path in node.folder.iterdir() if path.name not in kept])
    if node.is_root and node.short_name.is_symlink():
        node.short_name.unlink()
    node.marker.unlink()
    if not keeps:
        node.folder.rmdir()


def _remove_files(node: Node, paths: list[Path]) -> None:
    if not paths:
        return
    argv = ["rm", "-rf", "--", *map(os.fspath, paths)]
    if subprocess.run(argv, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    if not node.is_root:
        # Rootless containers' files belong to ids that only exist in the user's namespace.
        within = ["unshare", "--user", "--map-auto", "--map-root-user", "--", *argv]
        if subprocess.run(within, check=False).returncode == 0:
            return
    if status := subprocess.run(argv, check=False).returncode:
        raise Failure("", status)  # it has told what it could not remove
