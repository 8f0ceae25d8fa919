"""A Debian machine with systemd as PID 1, in a container of its own, where mcpd is installed as on a real one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.podman.node import REPOSITORY, run
from tests.support.waiting import until

SUITE = os.environ.get("MCP_SYSTEMD_SUITE", "bookworm")
ADDRESS = "127.0.0.1:9444"
CHECKOUT = "/root/checkout"
INSTALL = f"{CHECKOUT}/contrib/install"
_CHECKED_OUT = "protos monitor mcpd mcpctl contrib docs pyproject.toml README.md LICENSE"
_CHECKED_OUT += " requirements.lock requirements-build.lock"

# Of the podman that boots the machine, where the host has cgroup v1 beside v2 and little power over limits.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
static_dir = "{folder}/graph/libpod"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
[network]
network_backend = "netavark"
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
# Of the rootless podman inside. Where the host's controllers are those of cgroup v1, v2 has none, and no container can
# have a limit; nor can ulimits be raised.
INNER_CONTAINERS_CONF = """\
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
events_logger = "file"
"""
# How mcpctl inside finds the node.
MCP_TOML = f"""\
[[nodes]]
name = "n1"
address = "{ADDRESS}"
ca_cert = "/srv/mcp/certs/ca.pem"
token_path = "token"
"""
# Makes a container's image, to be imported, of the busybox inside.
IMAGE = """
mkdir -p /var/tmp/image/bin
cp /bin/busybox /var/tmp/image/bin/
for each in sh sleep httpd cat; do ln -sf busybox /var/tmp/image/bin/$each; done
tar -C /var/tmp/image -c . >/var/tmp/image.tar
chmod 644 /var/tmp/image.tar
"""
# cgroup v2 as on Debian, also where the host has v1 beside it.
_BOOT = """\
#!/bin/sh
if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount --make-rshared / # as systemd does outside of containers
ip link set lo up
chmod 666 /dev/net/tun /dev/fuse
# The kernel is the host's: nothing of it is set.
for each in systemd-sysctl systemd-modules-load; do ln -sf /dev/null "/etc/systemd/system/$each.service"; done
exec /lib/systemd/systemd
"""


# What systemd raises of the kernel's settings, which are the host's, whatever it is told.
_RAISED = (Path("/proc/sys/fs/nr_open"), Path("/proc/sys/fs/file-max"))


class Machine:
    """Runs from `boot` until `remove`; everything of it is below ``folder``."""

    def __init__(self, folder: Path, tree: Path, wheels: Path) -> None:
        self._folder = folder
        self._tree = tree
        self._wheels = wheels
        self._before: dict[Path, str] = {}
        self._name = f"mcp-systemd-{secrets.token_hex(4)}"
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def boot(self) -> None:
        self._before = {path: path.read_text() for path in _RAISED}
        self._set_up_podman()
        boot = self._folder / "boot"
        boot.write_text(_BOOT)
        boot.chmod(0o755)
        volumes = (f"{boot}:/boot.sh:ro", f"{REPOSITORY}:/src:ro", f"{self._wheels}:/wheels:ro")
        self._podman(
            *("run", "--detach", "--name", self._name, "--systemd=always", "--privileged", "--cgroupns=private"),
            *("--network=none", "--no-hosts", *(f"--volume={each}" for each in volumes)),
            *("--rootfs", f"{self._tree}:O", "/boot.sh"),
        )
        until(lambda: self.run("systemctl", "is-system-running", status=None).stdout.strip() == "running", "booted")
        # A checkout that does not change while somebody works on the other.
        self._check_out()

    def _set_up_podman(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "containers.conf").write_text(_CONTAINERS_CONF.format(folder=self._folder))
        (self._folder / "storage.conf").write_text(_STORAGE_CONF.format(folder=self._folder))

    def _check_out(self) -> None:
        self.sh(f"mkdir {CHECKOUT} && cd /src && cp -r {_CHECKED_OUT} {CHECKOUT}")

    def remove(self) -> None:
        self._podman("rm", "--force", "--time", "0", "--ignore", self._name, status=None)
        for path, value in self._before.items():
            if path.read_text() != value:
                path.write_text(value)
        # What podman keeps mounted for itself.
        script = 'grep -oE " $1/[^ ]+" /proc/self/mountinfo | sort -r | xargs -r umount -l'
        run(["bash", "-c", script, "-", str(self._folder)], env=dict(os.environ), status=None)
        run(["rm", "-rf", str(self._folder)], env=dict(os.environ))

    def run(self, *argv: str, status: int | None = 0, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a program inside, as root; fails the test when its exit status is not ``status`` (None: any)."""
        # pip finds no network inside.
        environment = ("--env=PIP_NO_INDEX=1", "--env=PIP_FIND_LINKS=/wheels", "--env=HOME=/root")
        return self._podman("exec", "--interactive", *environment, self._name, *argv, status=status, stdin=stdin)

    def sh(self, script: str, status: int | None = 0) -> str:
        """Runs ``script`` with bash, as root, to the first command that fails; returns what it prints."""
        return self.run("bash", "-euc", script, status=status).stdout

    def as_mcp(self, *argv: str, status: int | None = 0) -> str:
        """Runs a program as the user mcp, as an operator would."""
        user = "runuser -u mcp -- env HOME=/srv/mcp XDG_RUNTIME_DIR=/run/user/$(id -u mcp)"
        return self.sh(f"cd /srv/mcp; {user} {shlex.join(argv)}", status)

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1"', "-", path, stdin=text.encode())

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--unit", unit).stdout

    def containers(self) -> dict[str, int]:
        """The main process of every container of mcp's that runs, by name; by podman outside of the service."""
        lines = self.as_mcp("podman", "ps", "--format", "{{.Names}} {{.Pid}}").splitlines()
        return {name: int(pid) for name, pid in (line.split() for line in lines)}

    def _podman(
        self, *argv: str, status: int | None = 0, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        return run(["podman", *argv], env=self._environment, status=status, stdin=stdin)


@contextlib.contextmanager
def tree() -> Iterator[Path]:
    """The tree that machines boot from, which nobody replaces meanwhile."""
    path = Path(run([str(REPOSITORY / "contrib/systemd-tree"), SUITE], env=dict(os.environ)).stdout.strip())
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)
        yield path
    finally:
        os.close(folder)


def wheels(tree: Path) -> Path:
    """What pip installs inside, for the tree's Python, downloaded once for each state of the lock."""
    locks = [REPOSITORY / "requirements.lock", REPOSITORY / "requirements-build.lock"]
    state = hashlib.sha256(b"".join(each.read_bytes() for each in locks)).hexdigest()
    folder = tree.parent / f"wheels-{state[:12]}"
    if (folder / "complete").exists():
        return folder
    version = str((tree / "usr/bin/python3").readlink()).removeprefix("python")
    run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
            *("--dest", str(folder), "--only-binary=:all:", "--python-version", version),
            *(word for each in locks for word in ("-r", str(each))),
        ],
        env=dict(os.environ),
    )
    (folder / "complete").touch()
    return folder


@contextlib.contextmanager
def booted(folder: Path, tree: Path, wheels: Path) -> Iterator[Machine]:
    machine = Machine(folder, tree, wheels)
    try:
        machine.boot()
        yield machine
    finally:
        machine.remove()
