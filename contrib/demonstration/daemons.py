"""mcpd, and the stand-in for MCIAS beside it: started unless they run, waited for, and ended."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contrib.demonstration import processes
from contrib.demonstration.node import REPOSITORY, VENV, Node
from contrib.demonstration.output import Failure, say
from contrib.demonstration.settings import Settings

# mcpd answers within a second or two; a machine that is slower than this has a problem worth seeing.
START_DEADLINE_S = 60.0
# mcpd gives running operations 10 s to complete when it is told to end; what takes longer hangs.
STOP_DEADLINE_S = 12.0
# The API service that mcpd leaves when it was killed has nothing to complete.
_SERVICE_STOP_S = 2.0
_POLL_S = 0.1
_CONNECT_S = 2.0
_LOG_LINES = 20
PROXIES = ("haproxy", "traefik")
_HAPROXY = "/usr/sbin/haproxy"


@dataclass(frozen=True)
class Daemon:
    """A program that runs in the background. Its pid and log are in `NAME.pid` and `NAME.log` of ``folder``."""

    name: str
    folder: Path
    program: str  # as the kernel names it
    words: str  # what its command line has, and that of no other node's

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def is_it(self) -> processes.Predicate:
        return processes.has_words(self.words)

    def pid(self) -> int | None:
        """None when it does not run."""
        recorded = processes.recorded(self.pid_file)
        others = processes.matching(processes.names_path_below(self.folder, [self.program]))
        candidates = others if recorded is None else [recorded, *others]
        return next(filter(self.is_it, candidates), None)

    def ensure_runs(
        self, node: Node, argv: list[str], is_up: Callable[[], bool], within_s: float = START_DEADLINE_S
    ) -> None:
        """Returns when it answers. Raises Failure, after the end of its log, when it ends or never does."""
        deadline = time.monotonic() + within_s
        written = self.log.stat().st_size if self.log.exists() else 0
        pid = self.pid()
        if pid is None:
            pid = processes.start(argv, node.environment, log=self.log, pid_file=self.pid_file)
        while not is_up():
            if not processes.is_running(pid):
                self._fail(f"{self.name} has ended", written)
            if time.monotonic() > deadline:
                self._fail(f"{self.name} does not answer after {within_s:.0f} s", written)
            time.sleep(_POLL_S)

    def end(self, within_s: float = STOP_DEADLINE_S) -> None:
        """Ends every process of it. Raises Failure when one does not end."""
        while (pid := self.pid()) is not None:
            processes.end([pid], self.is_it, within_s)
            if self.is_it(pid):
                raise Failure(f"{self.name} (pid {pid}) could not be ended")

    def _fail(self, what: str, written: int) -> None:
        log = self.log.read_bytes() if self.log.exists() else b""
        lines = log[written:].decode(errors="replace").splitlines()
        say("\n".join([f"--- the end of {self.log}", *lines[-_LOG_LINES:]]))
        raise Failure(f"{what}; its log is above")


def mcpd(node: Node) -> Daemon:
    return Daemon("mcpd", node.folder, "mcpd", f"serve --config {node.folder}/mcpd.toml")


def mcias(node: Node) -> Daemon:
    return Daemon("mcias", node.folder, "python", f"-m tests.support.mcias_server --folder {node.folder}/mcias")


def ensure_mcpd_runs(node: Node, settings: Settings) -> None:
    def is_up() -> bool:
        return node.podman_socket.is_socket() and answers(settings.address, node.folder / "certs/ca.pem")

    mcpd(node).ensure_runs(node, [f"{VENV}/bin/mcpd", "serve", "--config", f"{node.folder}/mcpd.toml"], is_up)


def ensure_mcias_runs(node: Node, settings: Settings) -> None:
    address = settings.mcias_address
    host, _, port = address.rpartition(":")
    argv = ["env", f"--chdir={REPOSITORY}", f"{VENV}/bin/python", "-m", "tests.support.mcias_server"]
    argv += ["--folder", f"{node.folder}/mcias", "--address", host, "--port", port]
    mcias(node).ensure_runs(node, argv, lambda: answers(address, node.folder / "mcias/ca.pem"))


def proxy(node: Node, kind: str) -> Daemon:
    """Of the demo's own."""
    folder = node.folder / "proxy"
    words = f"-f {folder}/haproxy.cfg" if kind == "haproxy" else f"--providers.file.directory={folder}/routes"
    return Daemon(kind, folder, kind, words)


def ensure_proxy_runs(node: Node, settings: Settings) -> None:
    """After mcpd, which writes what it reads."""
    folder, kind = node.folder / "proxy", settings.proxy
    if kind == "haproxy":
        _wait_for(folder / "haproxy.cfg")
        # A hand that is killed leaves no worker behind: the master's end is theirs.
        argv = [_HAPROXY, "-W", "-S", f"{folder}/master.sock,level,admin", "-f", f"{folder}/haproxy.cfg"]
    else:
        argv = [
            f"{VENV}/bin/traefik",
            f"--providers.file.directory={folder}/routes",
            "--providers.file.watch=true",
            "--providers.providersThrottleDuration=50ms",
            f"--entrypoints.public.address={settings.proxy_address}",
            f"--entrypoints.traefik.address={settings.proxy_api.removeprefix('http://')}",
            "--api.insecure=true",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ]
    proxy(node, kind).ensure_runs(node, argv, lambda: _listens(settings.proxy_address))


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise Failure(f"mcpd has not written {path}; its log may say why")
        time.sleep(_POLL_S)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def end_all(node: Node) -> None:
    mcpd(node).end()
    mcias(node).end()
    for kind in PROXIES:
        proxy(node, kind).end()
    processes.end_matching(processes.names_path_below(node.folder, PROXIES), _SERVICE_STOP_S)
    # podman's service ends with mcpd, unless that hangs; and then it holds the locks that removing containers needs.
    processes.end_matching(processes.names_path_below(node.folder, ["podman"]), _SERVICE_STOP_S)


def answers(address: str, authority: Path) -> bool:
    """Whether a server with a certificate by this CA answers there. Another program does not."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), timeout=_CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except (OSError, ValueError):
        return False
