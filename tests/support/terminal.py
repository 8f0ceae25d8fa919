"""`mcpctl` with a terminal as its stderr, and what is left on the screen in the end."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.agent import of_a_shell
from tests.support.waiting import DEADLINE_S


class OnTerminal:
    """The program with a terminal as its stderr."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        command = [sys.executable, "-m", "mcpctl", *words]
        environment = {**of_a_shell(folder), "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=theirs)
        os.close(theirs)
        self._ours = ours
        self.shown = ""

    def until(self, part: str) -> None:
        """``part``: a regular expression. Fails when it is not shown in time, whatever else is."""
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(part, self.shown):
            assert time.monotonic() < deadline, f"it shows no {part!r}: {self.shown[-2000:]!r}"
            assert select.select([self._ours], [], [], DEADLINE_S)[0], f"it shows no {part!r}: {self.shown!r}"
            self.shown += os.read(self._ours, 65536).decode()

    def type(self, text: str) -> None:
        """The terminal echoes it."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        # EIO: what was written is read, and nobody has the terminal open any more (pty(7)).
        with contextlib.suppress(OSError):
            self.until("never")
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._ours)


Open = Callable[..., OnTerminal]


def seen(shown: str) -> list[str]:
    """The lines that are on the terminal in the end."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9]*[A-Za-z]|[^\x1b]", shown):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.endswith("A") and token != "A":
            row -= int(token[2:-1])
            assert row >= 0
        elif token in ("\x1b[K", "\x1b[J"):
            lines[row] = lines[row][:column]
            if token == "\x1b[J":
                del lines[row + 1 :]
        elif not token.startswith("\x1b"):
            lines[row] = f"{lines[row]:{column}}"[:column] + token + lines[row][column + 1 :]
            column += 1
    return [line for line in lines if line]
