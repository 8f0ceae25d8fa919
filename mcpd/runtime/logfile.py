"""The file that podman's `k8s-file` driver writes: its lines as it grows, and where its last ones begin.

Each entry is in the Kubernetes CRI log format: time, stream, P or F (the first parts of a long line, and its last),
text. The work is linear in what is read, and is done a slice at a time: whoever asks can leave in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import trio

# What is read at once, in a thread: bounds what one reader holds in memory, and how long it holds the interpreter
# (some milliseconds, measured with entries of 50 bytes).
BLOCK_BYTES = 256 * 1024
# A longer line comes in parts, each a line of its own to whoever reads or counts: a program that never ends its line
# must not fill our memory, and the last lines of its log must have a beginning.
MAX_LINE_BYTES = 64 * 1024
# How far before the last lines the beginnings of those are looked for whose parts another stream's lines lie between.
_FARTHEST_PART_BYTES = 4 * BLOCK_BYTES
_ENTRY = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S+) (stdout|stderr) ([PF])(?::\S*)? (.*)", re.DOTALL)


class LogLine(NamedTuple):
    """One line without its end; ``stream`` is stdout or stderr."""

    at: datetime
    stream: str
    line: bytes


class LogFile:
    """A log file, read as it grows; conmon begins a new one under the same name when it is full.

    ``follow`` false: read as far as it is when it is opened, or who prints as fast as we read would never be done with.
    """

    def __init__(self, path: Path, since: datetime | None, tail: int | None, *, follow: bool = True) -> None:
        self._path = path
        self._follow = follow
        # Where reading ends; None: no limit.
        self._end: int | None = None
        self._since = since
        self._count = tail
        self._tail: Tail | None = None
        self._file: BinaryIO | None = None
        # The incomplete last entry, and where it begins.
        self._rest = b""
        self._rest_at = 0
        # By stream: the unfinished line so far, and when it was printed.
        self._parts = {b"stdout": bytearray(), b"stderr": bytearray()}
        self._printed_at: dict[bytes, datetime] = {}

    async def read(self) -> list[LogLine]:
        """The next lines; empty when there are none yet."""
        while True:
            found, is_all = await trio.to_thread.run_sync(self._slice)
            if found or is_all:
                return found

    def unfinished(self) -> list[LogLine]:
        """The lines read so far that lack a line end, as they are; they are not returned again."""
        begun = [(stream, bytes(parts)) for stream, parts in self._parts.items() if parts]
        found = [LogLine(self._printed_at[stream], stream.decode(), text) for stream, text in begun]
        for parts in self._parts.values():
            parts.clear()
        return [each for each in found if self._since is None or each.at >= self._since]

    def has_ended(self) -> bool:
        return not self._path.exists()

    def _slice(self) -> tuple[list[LogLine], bool]:
        """The lines of one block, and whether it was the last block."""
        if not self._is_open():
            return [], True
        assert self._file
        if self._tail and not self._tail.is_found:
            self._tail.look(self._file)
            if self._tail.is_found:
                self._rest_at = self._file.seek(self._tail.start)
            return [], False
        data = self._file.read(
            BLOCK_BYTES if self._end is None else min(BLOCK_BYTES, max(0, self._end - self._file.tell()))
        )
        if not data and self._end is not None:
            return [], True
        if not data:
            return [], not self._goes_on_elsewhere()
        *entries, rest = (self._rest + data).split(b"\n")
        lines = [each for each in self._lines(entries) if self._since is None or each.at >= self._since]
        # What is longer than any entry is none, and whatever is kept would only grow.
        self._rest = rest[:BLOCK_BYTES]
        self._rest_at = self._file.tell() - len(self._rest)
        return lines, False

    def _is_open(self) -> bool:
        if self._file is None:
            try:
                self._file = self._path.open("rb", buffering=0)
            except FileNotFoundError:
                return False
            if not self._follow:
                self._end = os.fstat(self._file.fileno()).st_size
            if self._count is not None:
                self._tail, self._count = Tail(self._file, self._count), None
        return True

    def _goes_on_elsewhere(self) -> bool:
        """Whether another file has the name by now; if so, reading continues there."""
        assert self._file
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if os.path.samestat(there, os.fstat(self._file.fileno())) and there.st_size >= self._file.tell():
            return False
        self._file.close()
        self._file, self._tail, self._rest, self._rest_at = None, None, b"", 0
        return True

    def _lines(self, entries: list[bytes]) -> Iterator[LogLine]:
        at = self._rest_at
        for entry in entries:
            begins, at = at, at + len(entry) + 1
            match = _ENTRY.fullmatch(entry)
            if match is None:
                continue  # a part of one that rotation cut off
            when, stream, kind, text = match.groups()
            if self._tail and not self._tail.covers(begins, stream):
                continue
            yield from self._joined(datetime.fromisoformat(when.decode()), stream, text, ends=kind == b"F")

    def _joined(self, at: datetime, stream: bytes, text: bytes, *, ends: bool) -> Iterator[LogLine]:
        """The lines that this entry completes."""
        parts = self._parts[stream]
        self._printed_at[stream] = at
        if len(parts) + len(text) > MAX_LINE_BYTES and parts:
            yield LogLine(at, stream.decode(), bytes(parts))
            parts.clear()
        parts += text
        while len(parts) > MAX_LINE_BYTES:
            yield LogLine(at, stream.decode(), bytes(parts[:MAX_LINE_BYTES]))
            del parts[:MAX_LINE_BYTES]
        if ends:
            yield LogLine(at, stream.decode(), bytes(parts))
            parts.clear()

    def __del__(self) -> None:
        if self._file:
            self._file.close()


class Tail:
    """Where the last lines of a file begin, looked for from its end backwards, a block with each `look`.

    Each stream's lines begin at a place of their own: between the parts of a line there may be lines of the other
    stream. A line that has no end yet counts as one.
    """

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._left = count
        self._end = self._position = file.seek(0, os.SEEK_END)
        # The end of an entry, whose beginning is in the block before.
        self._fragment = b""
        self._starts: dict[bytes, int] = {}
        # By stream: how long the line is, as far as it was seen, of which more may come; and those that have them all.
        self._growing: dict[bytes, int] = {}
        self._complete: set[bytes] = set()
        self._sought_parts = 0
        self.is_found = not self._end

    @property
    def start(self) -> int:
        return min(self._starts.values(), default=self._end)

    def covers(self, position: int, stream: bytes) -> bool:
        """Whether an entry of a stream, which begins there, is of the last lines, or came after them."""
        return position >= self._starts.get(stream, self._end)

    def look(self, file: BinaryIO) -> None:
        step = min(self._position, BLOCK_BYTES)
        file.seek(self._position - step)
        data = file.read(step)
        if len(data) < step:  # it was cut meanwhile: what is there now came after it
            self._starts, self._end, self.is_found = {}, 0, True
            return
        first, *entries = (data + self._fragment).split(b"\n")
        position = self._position + len(self._fragment)
        if self._position == self._end and entries:  # what is behind the last end of line is still being written
            position -= len(entries.pop()) + 1
            self._end = position + 1
        self._position -= step
        for entry in reversed(entries):
            position -= len(entry)
            self._take(position, entry)
            position -= 1
        if not self._position:
            self._take(0, first)
        self._fragment = first[:BLOCK_BYTES]  # what is longer is no entry
        self._sought_parts += step * (not self._left)
        self.is_found = not self._position or self._has_all() or self._sought_parts >= _FARTHEST_PART_BYTES

    def _has_all(self) -> bool:
        return not self._left and self._growing.keys() <= self._complete

    def _take(self, position: int, entry: bytes) -> None:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            return
        _, stream, kind, text = match.groups()
        if stream in self._complete:
            return
        length = self._growing.get(stream)
        if length is None or kind == b"F" or length + len(text) > MAX_LINE_BYTES:
            if not self._left:
                self._complete.add(stream)
                return
            self._left -= 1
            length = 0
        self._growing[stream] = length + len(text)
        self._starts[stream] = position
