"""Starts and ends real daemons: each in a folder of its own, on a free port of the loopback address."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trio

from mcpd.registry.store import Registry
from monitor.model import Observed
from protos.fingerprint import spec_hash
from protos.spec import Component, Service
from tests.support.forked_mcpctl import FORKS
from tests.support.ledger import observe
from tests.support.waiting import DEADLINE_S, free_port, until

NODE = "n1"
HOST = "127.0.0.1"


@dataclass
class Daemon:
    """A node's folder, and the daemon that serves it while ``process`` runs."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "mcpd.toml"

    @property
    def ca(self) -> Path:
        return self.folder / "certs/ca.pem"

    @property
    def podman_socket(self) -> Path:
        return self.folder / "podman.sock"

    @property
    def admin_token(self) -> str:
        return (self.folder / "admin.token").read_text().strip()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def edit(self, before: str, after: str) -> None:
        """Changes the daemon's configuration file."""
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    def start(self) -> None:
        """Returns once the daemon accepts TLS connections."""
        self.spawn()
        until(lambda: self._has_ended() or self.accepts(), "the daemon accepts connections")
        assert not self._has_ended(), self.log

    def spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mcpd", "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    def run_to_end(self) -> int:
        """The exit status of a daemon that should not be able to start."""
        return self.spawn().wait(DEADLINE_S)

    def accepts(self) -> bool:
        try:
            self.certificate()
        except OSError:
            return False
        return True

    def certificate(self) -> bytes:
        """The certificate that a new connection is shown, whoever signed it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with socket.create_connection((HOST, self.port), timeout=DEADLINE_S) as plain:
            with context.wrap_socket(plain) as secured:
                found = secured.getpeercert(binary_form=True)
        assert found
        return found

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def terminate(self) -> int:
        """Asks the daemon to end, and returns its exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        """Ends the daemon in any case."""
        if self.process is None or self._has_ended():
            return
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def mcpctl(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this daemon."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MCP_")}
        return FORKS.run(
            list(args), {**inherited, "MCP_CONFIG": str(self.folder / "mcp.toml"), **environment}, DEADLINE_S
        )

    def mcpd(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs another command of the daemon's program with this daemon's configuration."""
        return mcpd(*args, "--config", str(self.config))

    def channel(self) -> grpc.Channel:
        """What any gRPC client would open: TLS against the node's CA."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        return grpc.secure_channel(self.address, credentials)

    def bearer(self, token: str | None = None) -> tuple[tuple[str, str], ...]:
        """Call metadata with ``token``, or with the admin's."""
        return (("authorization", f"Bearer {token or self.admin_token}"),)


def mcpd(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcpd", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def make_daemon(folder: Path) -> Daemon:
    """A node as `mcpd init` makes it, without podman; its daemon does not run yet."""
    daemon = Daemon(folder, free_port())
    made = mcpd("init", str(folder), "--node", NODE, "--address", daemon.address)
    assert made.returncode == 0, made.stderr
    daemon.edit('socket = "" ', f'socket = "{daemon.podman_socket}" ')
    # What asks podman in a test was asked to do so by the test.
    daemon.edit('resync_interval = "60s"', 'resync_interval = "1d"')
    # No disk of this machine is a test's business, unless it says so.
    daemon.edit('disk_free_warning = "10%"', 'disk_free_warning = "0%"')
    # What the registry is filled with is of a fixed day.
    daemon.edit('retention = "90d"', 'retention = "36500d"')
    (folder / "mcp.toml").write_text(
        f'[services]\ndir = "services"\n[tls]\nca_cert = "certs/ca.pem"\n[auth]\ntoken_path = "admin.token"\n'
        f'[[nodes]]\nname = "{NODE}"\naddress = "{daemon.address}"\n'
    )
    (folder / "services").mkdir()
    return daemon


def copy_daemon(of: Daemon, folder: Path) -> Daemon:
    """The same node in another folder and on another port: quicker than making one."""
    shutil.copytree(of.folder, folder)
    daemon = Daemon(folder, free_port())
    for path in (daemon.config, folder / "mcp.toml"):
        path.write_text(path.read_text().replace(of.address, daemon.address).replace(str(of.folder), str(folder)))
    return daemon


async def fill_registry(folder: Path) -> None:
    """Two services with a past, so that answers have something in them."""
    then = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    web = Service(
        name="web",
        node=NODE,
        components=(
            Component("api", "registry.example.net:5000/web/api:v1.7.0", ports=("127.0.0.1:8080:80",)),
            Component("db", "registry.example.net/postgres", active=False),
        ),
    )
    board = Service(name="board", node=NODE, components=(Component("board", "localhost/board:v2"),), active=False)
    async with Registry.open(folder / "mcp.db") as registry:
        for service in (web, board):
            hashes = {each.name: spec_hash(each) for each in service.components}
            await registry.put_service(service, hashes, then)
        await observe(registry, [("web", "api", Observed.EXITED, "0" * 64)], then + timedelta(seconds=1))
        for number, kind in enumerate(("deployed", "exited", "started")):
            await registry.add_event(
                "web", "api", kind, f"number {number}, ünïcode", "admin", then + timedelta(seconds=number)
            )


@pytest.fixture(scope="package")
def template(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """What all nodes here are copies of; its daemon never runs."""
    return make_daemon(tmp_path_factory.mktemp("template") / "node")


@pytest.fixture
def node(template: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A node of the test's own, whose daemon is not started yet; it ends with the test."""
    daemon = copy_daemon(template, tmp_path / "node")
    yield daemon
    daemon.stop()


@contextlib.contextmanager
def serving(made: Daemon) -> Iterator[None]:
    try:
        made.start()
        yield
    finally:
        made.stop()


@pytest.fixture(scope="package")
def daemon(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that runs for all the tests that only read, with something in its registry."""
    made = copy_daemon(template, tmp_path_factory.mktemp("shared") / "node")
    trio.run(fill_registry, made.folder)
    with serving(made):
        yield made


@pytest.fixture(scope="package")
def channel(daemon: Daemon) -> Iterator[grpc.Channel]:
    with daemon.channel() as opened:
        yield opened
