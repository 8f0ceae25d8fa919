"""A node whose podman belongs to an ordinary user: made for the test, and gone with it.

Only podman runs as that user, behind a configured socket; mcpd may run on a Python that only root can read.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.podman.node import Node, is_alive, run
from tests.support.waiting import free_port, until

_SUBORDINATE_IDS = "2000000-2065535"
_TUN = Path("/dev/net/tun")


class RootlessPodman(Node):
    """mcpd with ``socket`` configured, and the podman behind it. ``settings``: more for its mcpd.toml."""

    def __init__(self, folder: Path, template: Node, user: str, settings: str = "") -> None:
        super().__init__(folder, "rootless")
        self._template = template
        self._settings = settings
        self._user = pwd.getpwnam(user)
        self._service: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._files = contextlib.ExitStack()

    def up(self) -> None:
        self._set_up_podman()
        self._set_up_mcpd()
        self._load_images()

    def down(self) -> None:
        """Ends what `up` started, by pid, and removes what podman keeps under the user's subordinate ids."""
        if self._service and self._service.poll() is None:
            with contextlib.suppress(AssertionError):
                self.podman("rm", "--all", "--force", "--time", "0")
        for process in (self._daemon, self._service):
            if process:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                # podman runs on in a child, in its user's namespace: the whole group ends.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._files.close()
        # podman 4 has it in its tmp_dir, podman 5 below XDG_RUNTIME_DIR.
        for pause in (*self.folder.glob("podman/tmp/pause.pid"), *self.folder.glob("run/libpod/tmp/pause.pid")):
            pid = int(pause.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]
        run(
            [
                "bash",
                "-c",
                'grep -oE " $1/[^ ]+" /proc/self/mountinfo | sort -r | xargs -r umount -l',
                "-",
                str(self.folder),
            ],
            env=dict(os.environ),
            status=None,
        )
        run(["rm", "-rf", str(self.folder)], env=dict(os.environ))

    def _set_up_podman(self) -> None:
        for name in ("podman/networks", "run", "home", "services"):
            (self.folder / name).mkdir(parents=True)
        for name in ("containers.conf", "storage.conf"):
            text = (self._template.folder / "podman" / name).read_text()
            text = text.replace(str(self._template.folder), str(self.folder))
            # The template's default network is root's bridge; an ordinary user has slirp4netns or pasta.
            text = re.sub(r"^default_network.*\n", "", text, flags=re.MULTILINE)
            (self.folder / "podman" / name).write_text(text)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "CONTAINERS_CONF": str(self.folder / "podman/containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "podman/storage.conf"),
        }
        socket = self.folder / "run/podman.sock"
        self._service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{socket}"],
            env=environment,
            user=self._user.pw_uid,
            group=self._user.pw_gid,
            extra_groups=[],
            start_new_session=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log("podman.log"),
        )
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MCP_CONFIG": str(self.folder / "mcp.toml"),
            "CONTAINER_HOST": f"unix://{socket}",
            "CONTAINERS_CONF": str(self.folder / "podman/containers.conf"),
        }
        until(lambda: socket.exists() and self.podman("version", status=None))

    def _set_up_mcpd(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        run(["mcpd", "init", str(self.folder), "--node", self.name, "--address", address], env=self.environment)
        settings = self.folder / "mcpd.toml"
        socket = self.folder / "run/podman.sock"
        text = settings.read_text().replace('socket = ""', f'socket = "{socket}"')
        settings.write_text(text + self._settings)
        (self.folder / "mcp.toml").write_text(
            f'[[nodes]]\nname = "{self.name}"\naddress = "{address}"\n'
            'ca_cert = "certs/ca.pem"\ntoken_path = "admin.token"\n'
        )
        self._daemon = subprocess.Popen(
            ["mcpd", "serve", "--config", str(settings)],
            env=self.environment,
            start_new_session=True,
            stderr=self._log("mcpd.log"),
        )
        until(lambda: self.mcpctl("list", status=None).returncode == 0)

    def _log(self, name: str) -> IO[bytes]:
        """A log file, open until `down`."""
        return self._files.enter_context((self.folder / name).open("wb"))

    def _load_images(self) -> None:
        archive = self.folder / "images.tar"
        self._template.podman("save", "--quiet", "--output", str(archive), "localhost/mcp-demo:v1")
        self.podman("load", "--quiet", "--input", str(archive))
        archive.unlink()


@contextlib.contextmanager
def rootless_node(folder: Path, template: Node, settings: str = "") -> Iterator[RootlessPodman]:
    """Makes a user, and a node with that user's podman in ``folder``; ``template`` lends images and settings.

    ``settings``: more for the node's mcpd.toml.
    """
    user = f"mcptest{secrets.token_hex(3)}"
    tun_mode = _TUN.stat().st_mode
    here = dict(os.environ)
    run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user], env=here)
    try:
        ids = ("--add-subuids", _SUBORDINATE_IDS, "--add-subgids", _SUBORDINATE_IDS)
        run(["usermod", *ids, user], env=here)
        _TUN.chmod(0o666)
        folder.mkdir(exist_ok=True)
        for part in (folder, *folder.parents[:-1]):
            part.chmod(part.stat().st_mode | 0o011)
        node = RootlessPodman(folder / "node", template, user, settings)
        try:
            node.up()
            yield node
        finally:
            node.down()
    finally:
        _TUN.chmod(tun_mode & 0o777)
        _end_all_of(pwd.getpwnam(user).pw_uid)
        run(["userdel", user], env=here)


def _end_all_of(uid: int) -> None:
    """Ends what still runs as a user that was made for this: containers, when their podman died before them."""
    ids = (uid, *map(int, _SUBORDINATE_IDS.split("-")))
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            owner, pid = path.stat().st_uid, int(path.name)
            if owner == ids[0] or ids[1] <= owner <= ids[2]:
                os.kill(pid, signal.SIGKILL)
                until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]
