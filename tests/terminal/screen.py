"""mcpctl on a terminal of its own: what it shows, and how it leaves the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte

from tests.support.agent import of_a_shell
from tests.support.waiting import DEADLINE_S, until

# In the child: what is typed on the terminal is for it, and Ctrl-C is not ignored as in a shell's background jobs.
_START = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A pseudo-terminal whose only program is mcpctl. `bytes` is all that was sent to it."""

    def __init__(self, folder: Path, words: tuple[str, ...], columns: int, lines: int, environment: dict[str, str]):
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.bytes = b""
        self._ours, self._theirs = pty.openpty()
        self._size(columns, lines)
        self.modes_before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, sys.executable, "-m", "mcpctl", *words],
            env={**of_a_shell(folder), "TERM": "xterm-256color", **environment},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # EIO: the last one who had the other end open closed it.
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self.bytes += data
                    self._stream.feed(data)

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self._screen.resize(lines, columns)
        # The kernel sends SIGWINCH.
        self._size(columns, lines)

    def type(self, text: str) -> None:
        """As if it was typed: Ctrl-C is "\\x03"."""
        os.write(self._ours, text.encode())

    @property
    def lines(self) -> list[str]:
        """What is on the screen, from the top, as far as something is."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def left(self) -> str:
        """What was printed since it left the second screen, which pyte does not tell from the first one."""
        return self.bytes.rpartition(b"\x1b[?1049l")[2].decode()

    def shows(self, *words: str) -> None:
        """Waits until all of them are on the screen."""
        try:
            until(lambda: all(word in self.text for word in words), f"{words} on the screen")
        except AssertionError:
            raise AssertionError(f"not on the screen: {words}\n{self.text}") from None

    def end(self) -> int:
        """Its exit status; everything that it wrote was read."""
        status = self.process.wait(DEADLINE_S)
        # As the shell's prompt would be: behind everything that was written.
        os.write(self._theirs, b"\x1b[0m$ ")
        until(lambda: self.bytes.endswith(b"$ "))
        return status

    def interrupt(self) -> int:
        self.type("\x03")
        return self.end()

    def is_clean(self) -> None:
        """Fails when the terminal is not as it was, or shows a traceback."""
        assert termios.tcgetattr(self._theirs) == self.modes_before
        for on, off in ((b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?7l", b"\x1b[?7h")):
            assert self.bytes.rfind(on) <= self.bytes.rfind(off), f"{on!r} is left"
        assert b"Traceback" not in self.bytes
        assert b"Error:" not in self.bytes

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        self._reader.join(DEADLINE_S)
        os.close(self._ours)


@contextlib.contextmanager
def terminal(
    folder: Path, *words: str, columns: int = 80, lines: int = 24, environment: dict[str, Any] | None = None
) -> Iterator[Terminal]:
    with contextlib.closing(Terminal(folder, words, columns, lines, environment or {})) as made:
        yield made
