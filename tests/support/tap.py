"""A wire between a program and a server, which counts what goes over it, and can break."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_AT_ONCE = 64 * 1024


class Tap:
    """Listens on a port of 127.0.0.1, and passes everything on. ``sent``: bytes from who connects to the server.

    ``breaks_at``: the connection is cut when so many bytes have been sent, the first number first.
    ``holds_at``: nothing is passed on any more from then on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        self.connections = 0
        self.breaks_at: list[int] = []
        self.holds_at = 0
        self._is_over = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()
        for each in self._threads:
            each.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(self._to, timeout=10)
            except OSError:
                continue
            theirs.settimeout(None)
            self.connections += 1
            self._sockets += [ours, theirs]
            for source, to, counts in ((ours, theirs, True), (theirs, ours, False)):
                thread = threading.Thread(target=self._pass_on, args=(source, to, counts))
                thread.start()
                self._threads.append(thread)

    def _pass_on(self, source: socket.socket, to: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_AT_ONCE):
                to.sendall(data)
                if not counts:
                    continue
                self.sent += len(data)
                if self.holds_at and self.sent >= self.holds_at:
                    self._is_over.wait()
                if self.breaks_at and self.sent >= self.breaks_at[0]:
                    self.breaks_at.pop(0)
                    self._cut()
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tapped(host: str, port: int) -> Iterator[Tap]:
    with contextlib.closing(Tap(host, port)) as tap:
        yield tap
