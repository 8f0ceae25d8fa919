"""Checks podman: whether it answers where mcpd connects, and what it reports about itself."""

from __future__ import annotations

import http.client
import re
import shutil
import socket as sockets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.config.settings import Config

NAME, SERVICE = "podman", "podman service"

OLDEST = (4, 3)
# podman answers in milliseconds, but the first call of a rootless one sets up its namespace.
_ASK_S = 5.0
# A service that just started answers within this, even on a slow disk.
_START_S = 15.0
_POLL_S = 0.05
# The time between SIGTERM and SIGKILL.
_END_S = 5.0
# If this process is killed, the service exits on its own after this long without requests.
_IDLE_S = 30
_NO_ANSWER = (OSError, http.client.HTTPException, msgspec.DecodeError)
# What `[components.resources]` needs.
_CONTROLLERS = frozenset({"cpu", "memory", "pids"})
_INSTALL = "apt-get install podman"
_DELEGATE = (
    "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
    "> /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload, then log in again"
)


class _Runtime(msgspec.Struct, frozen=True):
    name: str = ""


class _Security(msgspec.Struct, frozen=True):
    rootless: bool = False


class _Host(msgspec.Struct, frozen=True, rename="camel"):
    oci_runtime: _Runtime | None = None
    network_backend: str = ""
    cgroup_version: str = ""
    cgroup_controllers: tuple[str, ...] | None = None
    security: _Security = _Security()


class _Store(msgspec.Struct, frozen=True, rename="camel"):
    graph_root: str = ""


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    version: str = ""


class Info(msgspec.Struct, frozen=True):
    """podman's report about itself (podman-info(1))."""

    host: _Host
    store: _Store = _Store()
    version: _Version = _Version()


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("podman", timeout=_ASK_S)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX)
        self.sock.settimeout(_ASK_S)
        self.sock.connect(str(self._path))


def look(config: Config) -> tuple[list[Finding], Info | None]:
    """Queries podman as mcpd does; where mcpd runs the API service itself, runs one during the check."""
    if config.podman.socket:
        finding, info = _ask_given(config.podman_socket)
        return [finding, *judge(info)], info
    if shutil.which("podman") is None:
        words = "podman is not on PATH, and mcpd needs it"
        return [failure(NAME, words, _INSTALL)], None
    finding, info = _ask_running(config.podman_socket) or _ask_own()
    return [finding, *judge(info)], info


def judge(info: Info | None) -> list[Finding]:
    """Judges podman's report about itself."""
    if info is None:
        return []
    host = info.host
    return [
        judge_version(info.version.version),
        judge_runtime(host.oci_runtime.name if host.oci_runtime else ""),
        judge_network(host.network_backend),
        judge_cgroups(host.cgroup_version, host.cgroup_controllers or (), rootless=host.security.rootless),
    ]


def judge_version(version: str) -> Finding:
    match = re.match(r"(\d+)\.(\d+)", version)
    wanted = ".".join(map(str, OLDEST))
    if match is None:
        return warning(NAME, f"its version {version!r} cannot be read; {wanted} or newer is needed", "podman --version")
    if (int(match[1]), int(match[2])) < OLDEST:
        return failure(NAME, f"podman {version} is too old; {wanted} or newer is needed", _INSTALL)
    return ok(NAME, f"podman {version}")


def judge_runtime(name: str) -> Finding:
    if not name:
        return failure(
            "OCI runtime", "podman has no OCI runtime, so it cannot start containers", "apt-get install crun"
        )
    return ok("OCI runtime", name)


def judge_network(backend: str) -> Finding:
    if backend == "netavark":
        return ok("network backend", backend)
    return warning(
        "network backend",
        f"{backend or 'an unknown one'}, which newer podman versions do not have; components find each other by "
        "name with netavark",
        "apt-get install netavark aardvark-dns && podman system reset   # removes every container and image",
    )


def judge_cgroups(version: str, controllers: tuple[str, ...], *, rootless: bool) -> Finding:
    name = "cgroups"
    if version != "v2":
        lost = "and a rootless podman cannot limit resources with it" if rootless else "which podman 5 warns about"
        return warning(
            name,
            f"version {version.removeprefix('v') or 'unknown'}, {lost}",
            "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line, and reboot",
        )
    if missing := sorted(_CONTROLLERS.difference(controllers)):
        whose = "are not delegated to podman's user" if rootless else "are not there"
        return warning(name, f"{', '.join(missing)} {whose}: these limits of components have no effect", _DELEGATE)
    return ok(name, "version 2, with cpu, memory and pids")


def _ask_given(socket: Path) -> tuple[Finding, Info | None]:
    try:
        return ok(SERVICE, f"answers at {socket}"), ask(socket)
    except _NO_ANSWER as error:
        words = f"podman.socket is {socket}, and podman does not answer there: {error or type(error).__name__}"
        return failure(SERVICE, words, f"podman system service --time=0 unix://{socket}"), None


def _ask_running(socket: Path) -> tuple[Finding, Info | None] | None:
    try:
        return ok(SERVICE, f"answers at {socket}; mcpd runs it"), ask(socket)
    except _NO_ANSWER:
        return None  # mcpd does not run now


def _ask_own() -> tuple[Finding, Info | None]:
    try:
        with own_service() as socket:
            return ok(SERVICE, "`podman system service` starts and answers"), ask(socket)
    except _NO_ANSWER as error:
        words = f"`podman system service`, which mcpd runs, does not work: {error or type(error).__name__}"
        return failure(SERVICE, words, "podman system service --time=5 unix:///tmp/podman-try.sock"), None


def ask(socket: Path) -> Info:
    """Raises OSError, http.client.HTTPException or msgspec.DecodeError."""
    with closing(_Connection(socket)) as connection:
        connection.request("GET", "/v4.0.0/libpod/info")
        answer = connection.getresponse()
        content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"it answers with status {answer.status}")
    return msgspec.json.decode(content, type=Info)


@contextmanager
def own_service() -> Iterator[Path]:
    """Runs a separate API service on its own socket. Raises OSError; TimeoutError when it does not answer in time."""
    with tempfile.TemporaryDirectory(prefix="mcpd-check-") as folder:
        socket, log = Path(folder, "podman.sock"), Path(folder, "log")
        # As `mcpd.runtime.podman_service` does: it ends with us, however we end.
        argv = ["setpriv", "--pdeathsig", "TERM", "--"]
        argv += ["podman", "system", "service", f"--time={_IDLE_S}", f"unix://{socket}"]
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)
        try:
            _until_it_listens(process, socket, log)
            yield socket
        finally:
            _end(process)


def _until_it_listens(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not socket.exists():
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise OSError(f"it ended with status {process.returncode}" + (f": {said[-1]}" if said else ""))
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not listen after {_START_S:.0f} s")
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
