"""mcpctl in a process of its own that has everything imported already.

Of a command that asks a node one thing, two thirds are imports. Here a helper imports all of mcpctl once and forks for
each command: what runs has its own environment, folder, streams, signals and exit status, as one that was started. What
starting it imports, and that the installed program works, is for tests that start it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import mcpctl

# Of a request: arguments and environment.
_MOST_BYTES = 1 << 20
_FOLDER = Path(__file__).parents[2]


class Forks:
    """The helper, which is started with the first command, and ends with this process or by itself after it."""

    def __init__(self) -> None:
        self._socket: Path | None = None
        self._turn = threading.Lock()

    def run(self, words: list[str], env: Mapping[str, str], within_s: float) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` returns of ``mcpctl``. Raises `subprocess.TimeoutExpired`, when it has ended it."""
        argv = ["mcpctl", *words]
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            with self._turn:
                connection.connect(str(self._started()))
            request = json.dumps({"argv": argv, "env": dict(env), "cwd": str(Path.cwd())}).encode()
            assert len(request) < _MOST_BYTES
            with Path(os.devnull).open("rb") as nothing:
                files = [nothing.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(connection, [request[:1]], files)
                connection.sendall(request[1:])
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("r") as answers:
                pid = int(answers.readline())
                connection.settimeout(within_s)
                try:
                    status = int(answers.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(argv, within_s, _read(out), _read(err)) from None
            return subprocess.CompletedProcess(argv, status, _read(out).decode(), _read(err).decode())

    def _started(self) -> Path:
        if self._socket is None:
            folder = tempfile.mkdtemp(prefix="mcpctl-")
            listening = socket.socket(socket.AF_UNIX)
            path = Path(folder, "socket")
            listening.bind(str(path))
            listening.listen(64)
            ours, theirs = os.pipe()
            with listening:
                process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(listening.fileno()), str(ours)],
                    cwd=_FOLDER,
                    stdin=subprocess.DEVNULL,
                    pass_fds=(listening.fileno(), ours),
                )
            os.close(ours)
            weakref.finalize(self, _end, process, theirs, folder)
            self._socket = path
        return self._socket


FORKS = Forks()


def _end(process: subprocess.Popen[bytes], theirs: int, folder: str) -> None:
    process.terminate()
    process.wait()
    os.close(theirs)
    Path(folder, "socket").unlink()
    Path(folder).rmdir()


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


# ---------------------------------------------------------------------------------------------------- the helper


def _serve(listening: socket.socket, parent: int) -> None:
    """Forks for each connection. ``parent`` is at its end when the tests' process is gone."""
    for module in pkgutil.walk_packages(mcpctl.__path__, "mcpctl."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([listening, parent], (), ())
        if parent in readable:
            return
        connection, _ = listening.accept()
        with connection:
            if os.fork() == 0:
                listening.close()
                os.close(parent)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _handle(connection)
                return


def _handle(connection: socket.socket) -> None:
    """In a process for one command: forks that, and tells its id and its status."""
    request, files, *_ = socket.recv_fds(connection, 1, 3)
    while part := connection.recv(_MOST_BYTES):
        request += part
    asked = json.loads(request)
    pid = os.fork()
    if pid:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(f"{pid}\n".encode())
            _, status = os.waitpid(pid, 0)
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    _become(asked["argv"], asked["env"], asked["cwd"], files)
    from mcpctl.__main__ import main

    main()


def _become(argv: list[str], env: dict[str, str], cwd: str, files: list[int]) -> None:
    """What an exec would do to streams, signals, environment and arguments."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = argv


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
