"""How far a transfer is: a bar on a terminal, for what takes longer than a moment. Nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from mcpctl.ui import render

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# What is over before it could be read is not drawn; nor is rich imported for it.
_MOMENT_S = 1.0


class Meter:
    """Counts the bytes of ``files`` files, ``total`` together (0: not known yet); to be used as a context manager."""

    def __init__(self, files: int, total: int, stream: TextIO | None = None, *, is_quiet: bool = False) -> None:
        self._files = files
        self._total = total
        self._stream = stream or sys.stderr
        self._is_watched = not is_quiet and render.is_terminal(self._stream)
        self._began = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._number = 0
        self._before = 0

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            # A terminal that is gone is told by whoever writes to it next.
            with suppress(OSError):
                self._bar.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def next(self, name: str) -> None:
        """The next file begins."""
        self._name = f"{name} ({self._number + 1} of {self._files})" if self._files > 1 else name
        self._number += 1

    def now(self, count: int) -> None:
        """``count`` bytes of this file have been moved: less than before, when it had to begin again."""
        if not self._is_watched:
            return
        if self._bar is None and self.seconds >= _MOMENT_S:
            self._bar, self._task = self._drawn()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._before + count, description=render.one_line(self._name))

    def expect(self, total: int) -> None:
        """What the files have together, unless that was known from the beginning."""
        self._total = self._total or total

    def done(self, count: int) -> None:
        """This file is over, and had ``count`` bytes."""
        self._before += count

    def _drawn(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bar.start()
        return bar, bar.add_task(render.one_line(self._name), total=self._total, completed=self._before)
