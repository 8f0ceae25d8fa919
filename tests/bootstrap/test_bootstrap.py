"""docs/bootstrap.md, followed to the letter on machines that have nothing yet: Debian 12 and Debian 13."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.documents import blocks
from tests.podman.node import REPOSITORY, run
from tests.support.waiting import until
from tests.systemd.machine import CHECKOUT, INNER_CONTAINERS_CONF, Machine

# Debian 12 and 13, with their Pythons.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
DOCUMENT = REPOSITORY / "docs/bootstrap.md"
# What the host's kernel does not give to a machine that is a container on it: cgroup v1 has no limits for a rootless
# podman, and ulimits cannot be raised.
_QUIRKS = INNER_CONTAINERS_CONF + 'cgroup_manager = "cgroupfs"\nruntime = "runc"\n'


class Bare(Machine):
    """A machine without systemd, in the state in which an installer leaves it; it has the host's network, for apt."""

    def boot(self) -> None:
        self._set_up_podman()
        self._podman(
            *("run", "--detach", "--name", self._name, "--init", "--privileged", "--network=host"),
            *(f"--volume={REPOSITORY}:/src:ro", f"--volume={self._wheels}:/wheels:ro"),
            *("--rootfs", f"{self._tree}:O", "sleep", "infinity"),
        )
        self._check_out()
        # As udev has them; these are the machine's own.
        self.sh("for each in /dev/fuse /dev/net/tun; do [ ! -e $each ] || chmod 666 $each; done")
        self.write("/etc/containers/containers.conf", _QUIRKS)


@contextmanager
def tree(suite: str) -> Iterator[Path]:
    """The tree that the machine begins with, which nobody replaces meanwhile."""
    path = Path(run([str(REPOSITORY / "contrib/bare-tree"), suite], env=dict(os.environ)).stdout.strip())
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)
        yield path
    finally:
        os.close(folder)


def packages(suite: str, cache: Path) -> Path:
    """What pip installs there, for that Debian's Python, downloaded once for each state of the lock."""
    locks = [REPOSITORY / "requirements.lock", REPOSITORY / "requirements-build.lock"]
    state = hashlib.sha256(b"".join(each.read_bytes() for each in locks)).hexdigest()
    folder = cache / f"wheels-{state[:12]}"
    if not (folder / "complete").exists():
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
        chosen = ("--only-binary=:all:", "--python-version", PYTHONS[suite])
        wanted = (word for each in locks for word in ("-r", str(each)))
        run([*pip, *chosen, "--dest", str(folder), *wanted], env=dict(os.environ))
        (folder / "complete").touch()
    return folder


def script() -> str:
    """The document's blocks in order, each with a line that says which it is; prints why others are not run."""
    parts = []
    for each in blocks.blocks(DOCUMENT):
        if each.reason:
            print(f"{DOCUMENT.name}:{each.line} is not run: {each.reason}")
        elif each.language == "sh":
            parts.append(f"echo '--- {DOCUMENT.name}:{each.line}'\n{each.text}\n")
    return "\n".join(parts)


@pytest.mark.parametrize("suite", PYTHONS)
def test_the_document_leads_to_a_service_that_runs(suite: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("podman"):
        pytest.skip("setting up a machine in a container needs root and podman")
    with tree(suite) as base:
        machine = Bare(tmp_path / "m", base, packages(suite, base.parent))
        started = time.monotonic()
        try:
            machine.boot()
            machine.write("/root/script", script())
            done = machine.run("bash", "-c", f"cd {CHECKOUT} && exec bash -eu /root/script 2>&1", status=None)
            print(done.stdout)
            assert done.returncode == 0, done.stdout
            print(f"Debian {suite}: {time.monotonic() - started:.0f} s from nothing to a service")
            check(machine, done.stdout)
        finally:
            machine.remove()


def check(machine: Machine, said: str) -> None:
    """What the document has promised."""
    assert "true, netavark" in said
    # The container writes as its own user 1000, which is 100999 to the machine; so is the file that was pushed.
    listed = machine.sh("ls -ln /srv/first/data /srv/first/conf")
    owners = re.findall(r"^-(\S+) +\d+ (\d+) (\d+) .* (\S+)$", listed, re.MULTILINE)
    assert owners == [("rw-------", "100999", "100999", "words"), ("rw-r--r--", "100999", "100999", "now")]
    # The container can read what only its user may read.
    until(lambda: "tick" in machine.run("mcpctl", "logs", "first").stdout, "the container reads its file")
    assert machine.run("mcpctl", "status", "first", "--exit-code").returncode == 0
    assert machine.sh("ps -o user= -C mcpd").split() == ["mcp"]
    assert "FAILURE" not in machine.as_mcp("mcpd", "check", status=None).splitlines()[-1].replace("0 FAILURE", "")
