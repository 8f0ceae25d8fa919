"""What a container prints, line by line with its time: from its log file, or by asking podman when it keeps none.

The file has nanoseconds, stays readable when the container has ended, and costs podman nothing while it is followed;
over its API podman tells whole seconds. podman's `k8s-file` driver writes lines of the Kubernetes CRI log format:
time, stream, P or F (the first parts of a long line, and its last), text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import trio

from mcpd.runtime.podman import NoSuchError, Podman

# Of a file that grows faster than it is sent; bounds what one reader holds in memory.
_AT_ONCE_BYTES = 256 * 1024
# A program that never ends its line gets one from us.
MAX_LINE_BYTES = 64 * 1024
# As far as the last lines are looked for.
_LONGEST_TAIL_BYTES = 64 * 1024 * 1024
_ENTRY = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S+) (stdout|stderr) ([PF])(?::\S*)? (.*)", re.DOTALL)
_FULL = re.compile(rb"^\S+ (?:stdout|stderr) F[^\n]*\n", re.MULTILINE)
_SECOND = timedelta(seconds=1)
# How often podman is asked for what is new.
_ASK_INTERVAL_S = 1.0


class LogLine(NamedTuple):
    """One line without its end; ``stream`` is stdout or stderr."""

    at: datetime
    stream: str
    line: bytes


class LogSource(Protocol):
    """The log of one container, from some line on."""

    async def read(self) -> list[LogLine]:
        """The next lines, none when there are none yet. Raises McpdError."""

    def has_ended(self) -> bool:
        """Whether there will never be more: the container is gone."""


async def open_log(podman: Podman, container: str, since: datetime | None, tail: int | None) -> LogSource:
    """The log of a container (its id): what was printed at ``since`` or later, and of that the last ``tail`` lines.

    Raises NoSuchError, UnavailableError.
    """
    config = (await podman.details(container)).host_config.log_config
    if config.type == "k8s-file" and config.path and os.access(config.path, os.R_OK):
        return _LogFile(Path(config.path), since, tail)
    return _Asked(podman, container, since, tail)


class _LogFile:
    """A log file, read as it grows; conmon begins a new one under the same name when it is full."""

    def __init__(self, path: Path, since: datetime | None, tail: int | None) -> None:
        self._path = path
        self._since = since
        self._tail = tail
        self._file: BinaryIO | None = None
        self._rest = b""
        self._parts = {b"stdout": b"", b"stderr": b""}

    async def read(self) -> list[LogLine]:
        return await trio.to_thread.run_sync(self._read)

    def has_ended(self) -> bool:
        return not self._path.exists()

    def _read(self) -> list[LogLine]:
        found: list[LogLine] = []
        while not found and (data := self._more()):
            *entries, self._rest = (self._rest + data).split(b"\n")
            found = [each for each in self._lines(entries) if self._since is None or each.at >= self._since]
        return found

    def _more(self) -> bytes:
        if self._file is None:
            try:
                self._file = self._path.open("rb", buffering=0)
            except FileNotFoundError:
                return b""
            if self._tail is not None:
                self._file.seek(_start_of_last(self._file, self._tail))
                self._tail = None
        data = self._file.read(_AT_ONCE_BYTES)
        if not data and self._was_replaced():
            self._file.close()
            self._file, self._rest = None, b""
            return self._more()
        return data

    def _was_replaced(self) -> bool:
        assert self._file
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(there, os.fstat(self._file.fileno())) or there.st_size < self._file.tell()

    def _lines(self, entries: list[bytes]) -> Iterator[LogLine]:
        for entry in entries:
            match = _ENTRY.fullmatch(entry)
            if match is None:
                continue  # a part of one that rotation cut off
            when, stream, kind, text = match.groups()
            line = self._parts[stream] + text
            if kind == b"P" and len(line) < MAX_LINE_BYTES:
                self._parts[stream] = line
                continue
            self._parts[stream] = b""
            yield LogLine(datetime.fromisoformat(when.decode()), stream.decode(), line)

    def __del__(self) -> None:
        if self._file:
            self._file.close()


def _start_of_last(file: BinaryIO, count: int) -> int:
    """Where the last ``count`` lines begin."""
    end = position = file.seek(0, os.SEEK_END)
    if not count:
        return end
    data = b""
    while position and len(data) < _LONGEST_TAIL_BYTES:
        step = min(position, _AT_ONCE_BYTES)
        position = file.seek(position - step)
        data = file.read(step) + data
        ends = [match.end() for match in _FULL.finditer(data)]
        # One more than are wanted, behind whose end they begin; the first may be a part of one.
        if len(ends) > count + 1:
            return position + ends[-count - 1]
    ends = [match.end() for match in _FULL.finditer(data)]
    return position + ends[-count - 1] if len(ends) > count else position


class _Asked:
    """A log that podman keeps elsewhere (journald, say): asked for again and again what is new."""

    def __init__(self, podman: Podman, container: str, since: datetime | None, tail: int | None) -> None:
        self._podman = podman
        self._container = container
        self._since = since
        self._tail = tail
        # How many lines of the last second were told already.
        self._told = 0
        self._asked_at = -_ASK_INTERVAL_S
        self._is_gone = False

    async def read(self) -> list[LogLine]:
        if trio.current_time() - self._asked_at < _ASK_INTERVAL_S:
            return []
        self._asked_at = trio.current_time()
        # podman takes what is later than that, strictly.
        since = int(self._since.timestamp()) - 1 if self._since else None
        try:
            frames = await self._podman.logs(self._container, since, self._tail)
        except NoSuchError:
            self._is_gone = True
            return []
        self._tail = None
        floor = self._since and self._since.replace(microsecond=0)
        lines = [each for each in _framed(frames) if floor is None or each.at >= floor]
        same = sum(each.at == floor for each in lines[: self._told])
        new = lines[same:]
        if new:
            self._told = sum(each.at == new[-1].at for each in lines)
            self._since = new[-1].at
        return new

    def has_ended(self) -> bool:
        return self._is_gone


def _framed(frames: list[tuple[int, bytes]]) -> Iterator[LogLine]:
    for stream, payload in frames:
        when, _, text = payload.partition(b" ")
        try:
            at = datetime.fromisoformat(when.decode().replace("Z", "+00:00")).astimezone(UTC)
        except ValueError:
            continue
        yield LogLine(at, "stderr" if stream == 2 else "stdout", text.removesuffix(b"\n")[:MAX_LINE_BYTES])
