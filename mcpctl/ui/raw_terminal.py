"""The terminal of a session: raw while a remote program has it, and afterwards as it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import termios
import tty
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# What a program gets that has a terminal while nobody looks at one.
_ROWS_AND_COLUMNS = (24, 80)

# Modes that a program switches on for as long as it draws, by number (DEC private modes, as xterm's ctlseqs has them):
# cursor keys, the mouse, the second screen, bracketed paste. The cursor, 25, is on from the beginning.
_CURSOR = "25"
_DRAWING = {"1", "9", "47", "1000", "1002", "1003", "1004", "1005", "1006", "1015", "1047", "1049", "2004"}
_SWITCH = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
# A switch of several modes is no longer.
_TAIL_BYTES = 64


def size(descriptors: Iterable[int]) -> tuple[int, int]:
    """Rows and columns of the first terminal among them."""
    for each in descriptors:
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(each)
            if found.lines and found.columns:
                return found.lines, found.columns
    return _ROWS_AND_COLUMNS


class RawTerminal:
    """Makes it raw, what was typed before included; `restore` may be called twice."""

    def __init__(self, descriptor: int) -> None:
        """Raises termios.error when it is none."""
        self._descriptor = descriptor
        self._before: list[object] | None = termios.tcgetattr(descriptor)
        self.again()

    def again(self) -> None:
        """Makes it raw again, after the shell had it."""
        tty.setraw(self._descriptor, termios.TCSADRAIN)

    def restore(self) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        # A terminal that hung up needs nothing; and one that another job has by now is no reason to stop (SIGTTOU).
        with contextlib.suppress(termios.error), _ignored(signal.SIGTTOU):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, before)  # type: ignore[arg-type]


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    handler = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, handler)


class Drawn:
    """What output has switched on a terminal: who draws and is killed does not switch it off."""

    def __init__(self) -> None:
        self._on: set[str] = set()
        self._tail = b""
        self._is_at_start = True

    def feed(self, data: bytes) -> None:
        text = self._tail + data
        for found in _SWITCH.finditer(text):
            for mode in found[1].decode().split(";"):
                if (found[2] == b"h") is (mode != _CURSOR):
                    self._on.add(mode)
                else:
                    self._on.discard(mode)
        _, escape, begun = text[-_TAIL_BYTES:].rpartition(b"\x1b")
        self._tail = b"" if _SWITCH.match(escape + begun) else escape + begun
        self._is_at_start = data.endswith(b"\n")

    def undone(self) -> bytes:
        """What to write so that the shell's prompt is on a line of its own, on the first screen, with a cursor."""
        off = [f"\x1b[?{mode}l" for mode in sorted(self._on & _DRAWING, key=int)]
        if _CURSOR in self._on:
            off.append(f"\x1b[?{_CURSOR}h")
        line = "" if self._is_at_start else "\r\n"
        return f"\x1b[0m{''.join(off)}{line}".encode()
