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
        bar = _bars(self._stream)
        bar.start()
        return bar, bar.add_task(render.one_line(self._name), total=self._total, completed=self._before)


class Meters:
    """A line for each of several nodes that are sent something at the same time; to be used as a context manager."""

    def __init__(self, stream: TextIO | None = None, *, is_quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._is_watched = not is_quiet and render.is_terminal(self._stream)
        self._began = time.monotonic()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Meters:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            # A terminal that is gone is told by whoever writes to it next.
            with suppress(OSError):
                self._bars.stop()

    @property
    def is_watched(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._is_watched

    @property
    def is_drawn(self) -> bool:
        """Whether there are lines that other words would tear apart."""
        return self._bars is not None

    def now(self, name: str, count: int, total: int) -> None:
        """``count`` of ``total`` bytes are there, at ``name``."""
        if not self._is_watched or (self._bars is None and time.monotonic() - self._began < _MOMENT_S):
            return
        if self._bars is None:
            self._bars = _bars(self._stream)
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(render.one_line(name), total=total, completed=count)
        self._bars.update(self._tasks[name], completed=count, total=total)


def _bars(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """In the units of the sizes beside it; rich's own column has decimal ones."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{render.size(int(speed))}/s" if speed else "?", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        Speed(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
