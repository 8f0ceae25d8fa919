"""A real HAProxy of a test's own, what it sends requests to, and certificates for it."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpd.routing.table import Certificate, Server
from tests.support.waiting import free_port, until

PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "haproxy"


class HAProxyProcess:
    """A master with its workers, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "haproxy.cfg"
        self.socket = folder / "master.sock"
        self._log = folder / "haproxy.log"
        self._master: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when a worker answers."""
        # Ends with the thread that started it, also when the tests are killed.
        with self._log.open("ab") as log:
            self._master = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._argv()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, f"HAProxy answers; its log: {self.log()}")

    def kill(self) -> None:
        """Kills the master as the kernel would; its workers end with it."""
        workers = self.workers() if self._answers() else ()
        assert self._master is not None
        self._master.kill()
        self._master.wait()
        until(lambda: not any(_lives(pid) for pid in workers), "the workers ended with their master")

    def stop(self) -> None:
        """Ends whatever is left of it."""
        if self._master is None:
            return
        workers = self.workers() if self._master.poll() is None and self._answers() else ()
        self._master.kill()
        self._master.wait()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def workers(self) -> tuple[int, ...]:
        lines = [line.split() for line in self.say("show proc").splitlines()]
        return tuple(int(fields[0]) for fields in lines if len(fields) > 1 and fields[1] == "worker")

    def reloads(self) -> int:
        """How often the master has started itself again."""
        lines = [line.split() for line in self.say("show proc").splitlines()]
        return next(int(fields[2]) for fields in lines if len(fields) > 2 and fields[1] == "master")

    def tell(self, command: str) -> str:
        """As an operator does: to the present worker."""
        return self.say(f"@1 {command}")

    def say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(5)
            there.connect(str(self.socket))
            there.sendall(f"{command}\n".encode())
            there.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: there.recv(65536), b"")).decode()

    def _argv(self) -> list[str]:
        return [PROGRAM, "-W", "-S", f"{self.socket},level,admin", "-f", str(self.config)]

    def _answers(self) -> bool:
        assert self._master is not None
        if self._master.poll() is not None:
            raise AssertionError(f"HAProxy ended with status {self._master.returncode}: {self.log()}")
        try:
            return "mcp" in self.tell("show info")
        except OSError:
            return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Seen(NamedTuple):
    at: float
    path: str
    headers: dict[str, str]


class Upstream(http.server.ThreadingHTTPServer):
    """What a container would be: answers with its name, after ``/slow`` slowly, and remembers what reached it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", free_port()), _Handler)
        self.name = name
        self.seen: list[Seen] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server(self, *, draining: bool = False) -> Server:
        return Server(self.name, "127.0.0.1", self.port, draining)

    def connections(self) -> int:
        """How many are established to it, as the kernel counts them."""
        found = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            found += fields[3] == "01" and int(fields[1].rpartition(":")[2], 16) == self.port
        return found

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the other side has ended is nothing to tell."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        upstream = cast(Upstream, self.server)
        upstream.seen.append(Seen(time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}))
        if "slow" in self.path:
            time.sleep(0.3)
        body = upstream.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def upstreams(*names: str) -> Iterator[list[Upstream]]:
    started: list[Upstream] = []
    try:
        for name in names:
            started.append(Upstream(name))  # noqa: PERF401 -- those before must be ended, too
        yield started
    finally:
        for each in started:
            each.end()


def certificate(path: Path, names: Sequence[str], common_name: str = "", *, days: int = 1) -> Certificate:
    """Writes one that is signed by itself, with its key, to ``path``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return Certificate(path, tuple(names), now + datetime.timedelta(days=days), made.fingerprint(hashes.SHA256()).hex())
