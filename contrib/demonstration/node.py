"""A node's folder: whose it is, what is where in it, and the environment in which podman sees nothing else."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from contrib.demonstration.output import WRONG_USAGE, Failure

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"

# The file that says that a folder is ours to change and to remove, with the boot in which its podman ran last.
MARKER = ".mcp-demo"
DEFINITIONS = "services"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# How long the path of a Unix socket may be (unix(7): 108 with its closing NUL).
MAX_SOCKET_PATH = 107
_PODMAN_SOCKET = "run/podman.sock"
# For each published port of a rootless container podman makes a socket with ten digits in its name.
_ROOTLESS_SOCKET = "podman/tmp/rootlessport0123456789/.bp.sock"

# A folder becomes part of TOML, URLs, overlay mount options and shell words; these characters are safe in all of them.
_SAFE_FOLDER = re.compile(r"/[\w ./@+=~-]+")
# A sourced DIR/env of another node must not lead us there.
_OTHERS = (
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "CONTAINERS_CONF_OVERRIDE",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "MCP_CONFIG",
    "MCP_TOKEN",
)


@dataclass(frozen=True)
class Node:
    """What lies in ``folder``, absolute. ``environment`` is for every program that is run for this node."""

    folder: Path
    is_root: bool
    environment: Mapping[str, str]

    @property
    def marker(self) -> Path:
        return self.folder / MARKER

    @property
    def definitions(self) -> Path:
        return self.folder / DEFINITIONS

    @property
    def podman(self) -> Path:
        return self.folder / "podman"

    @property
    def podman_socket(self) -> Path:
        return self.folder / _PODMAN_SOCKET

    @property
    def containers_conf(self) -> Path:
        return self.podman / "containers.conf"

    @property
    def storage_conf(self) -> Path:
        return self.podman / "storage.conf"

    @cached_property
    def digest(self) -> str:
        """Its first eight hexadecimal digits name what must be unique on this machine: network, bridge and link."""
        return hashlib.sha256(os.fsencode(self.folder)).hexdigest()

    @property
    def network(self) -> str:
        return f"mcp-{self.digest[:8]}"

    @property
    def bridge(self) -> str:
        """An interface's name has at most 15 characters."""
        return f"mcp{self.digest[:8]}"

    @property
    def short_name(self) -> Path:
        """Root's link to `podman`: podman refuses a runroot of more than 50 characters."""
        return Path(f"/run/mcp-{self.digest[:8]}")

    @property
    def is_ours(self) -> bool:
        return self.marker.is_file()

    @property
    def is_vacant(self) -> bool:
        """Whether it is missing, or holds nothing but the definitions that `down` left or somebody prepared."""
        if not self.folder.exists():
            return True
        return self.folder.is_dir() and all(
            path.name == DEFINITIONS and path.is_dir() and not path.is_symlink() for path in self.folder.iterdir()
        )


def node_at(folder: str, environment: Mapping[str, str] = os.environ, *, is_root: bool | None = None) -> Node:
    """The node of ``folder``, which need not exist. Raises Failure for a name that podman could not work with."""
    root = os.geteuid() == 0 if is_root is None else is_root
    # normpath keeps two slashes at the beginning, as POSIX allows.
    path = Path("/" + os.path.abspath(folder).lstrip("/"))  # noqa: PTH100 Path.resolve would follow links
    if not _SAFE_FOLDER.fullmatch(str(path)):
        raise Failure(
            f"{path}: use letters, digits, spaces and _ . / @ + = ~ - only; podman takes other characters amiss",
            WRONG_USAGE,
        )
    socket = path / (_PODMAN_SOCKET if root else _ROOTLESS_SOCKET)
    if (length := len(os.fsencode(socket))) > MAX_SOCKET_PATH:
        raise Failure(
            f"{path} is too long: podman would need a socket at {socket}, {length} bytes, "
            f"and such a path holds {MAX_SOCKET_PATH}",
            WRONG_USAGE,
        )
    return Node(path, root, _environment(path, environment, root))


def has_pure_cgroup_v2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _environment(folder: Path, inherited: Mapping[str, str], is_root: bool) -> dict[str, str]:
    environment = {name: value for name, value in inherited.items() if name not in _OTHERS}
    environment["CONTAINERS_CONF"] = str(folder / "podman/containers.conf")
    environment["CONTAINERS_STORAGE_CONF"] = str(folder / "podman/storage.conf")
    if not has_pure_cgroup_v2():
        environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"  # podman 5 warns at each call
    if not is_root:
        # A rootless podman takes its runroot from XDG_RUNTIME_DIR alone, and two stores that share one mix up their
        # mounts. Where systemd is, it is asked for cgroups through the user's own bus.
        bus = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "bus")
        if bus.is_socket() and not environment.get("DBUS_SESSION_BUS_ADDRESS"):
            environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={bus}"
        environment["XDG_RUNTIME_DIR"] = str(folder / "run/user")
        environment["XDG_DATA_HOME"] = str(folder / "podman/data")
    return environment


def require_unclaimed(node: Node) -> None:
    """Raises Failure unless `up` may use the folder."""
    if not node.is_ours and not node.is_vacant:
        raise Failure(f"{node.folder} exists, is not empty and was not made by `up`; name another folder", WRONG_USAGE)


def claim(node: Node, subordinate_ids: Path = Path("/etc/subuid")) -> None:
    """Makes the folder ours. Raises Failure when an ordinary user lacks what rootless podman needs."""
    if node.is_ours:
        return
    if not node.is_root:
        user = pwd.getpwuid(os.geteuid())
        listed = subordinate_ids.read_text() if subordinate_ids.exists() else ""
        if not any(line.startswith((f"{user.pw_name}:", f"{user.pw_uid}:")) for line in listed.splitlines()):
            raise Failure(
                f"{user.pw_name} has no subordinate user ids, which rootless podman needs: sudo usermod "
                f"--add-subuids 100000-165535 --add-subgids 100000-165535 {user.pw_name}"
            )
    node.folder.mkdir(parents=True, exist_ok=True)
    node.marker.write_text(BOOT_ID.read_text())


def write_once(path: Path, text: str, *, mode: int | None = None) -> None:
    """Writes a file unless there is one. A half-written file is never left."""
    if path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    if mode is not None:
        new.chmod(mode)
    new.rename(path)
