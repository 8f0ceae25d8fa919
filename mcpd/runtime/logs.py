"""A container's log, line by line with times: from its file, or from podman when there is no file.

The file has nanoseconds, stays readable when the container has ended, and costs podman nothing while it is followed;
over its API podman tells whole seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import trio

from mcpd.runtime.api import NoSuchError
from mcpd.runtime.logfile import MAX_LINE_BYTES, LogFile, LogLine
from mcpd.runtime.podman import Podman

# How often podman is polled for new lines.
_ASK_INTERVAL_S = 1.0


class LogSource(Protocol):
    """The log of one container, from some line on."""

    async def read(self) -> list[LogLine]:
        """The next lines; empty when there are none yet. Raises McpdError."""

    def unfinished(self) -> list[LogLine]:
        """The lines read so far that lack a line end, as they are; they are not returned again."""

    def has_ended(self) -> bool:
        """Whether there will never be more: the container is gone."""


async def open_log(
    podman: Podman, container: str, since: datetime | None, tail: int | None, *, follow: bool
) -> LogSource:
    """The log of a container (its id): what was printed at ``since`` or later, and of that the last ``tail`` lines.

    ``follow``: and what is printed from now on.
    Raises NoSuchError, UnavailableError.
    """
    config = (await podman.details(container)).host_config.log_config
    if config.type == "k8s-file" and config.path and os.access(config.path, os.R_OK):
        return LogFile(Path(config.path), since, tail, follow=follow)
    return _Asked(podman, container, since, tail)


class _Asked:
    """A log that podman keeps elsewhere (such as journald), polled for new lines."""

    def __init__(self, podman: Podman, container: str, since: datetime | None, tail: int | None) -> None:
        self._podman = podman
        self._container = container
        self._since = since
        self._tail = tail
        # How many lines of the last second were already returned.
        self._told = 0
        self._asked_at = -_ASK_INTERVAL_S
        self._is_gone = False

    async def read(self) -> list[LogLine]:
        if trio.current_time() - self._asked_at < _ASK_INTERVAL_S:
            return []
        self._asked_at = trio.current_time()
        # podman returns only strictly later lines.
        since = self._since.replace(microsecond=0) - timedelta(seconds=1) if self._since else None
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

    def unfinished(self) -> list[LogLine]:
        return []

    def has_ended(self) -> bool:
        return self._is_gone


def _framed(frames: list[tuple[int, bytes]]) -> Iterator[LogLine]:
    for stream, payload in frames:
        when, _, text = payload.partition(b" ")
        try:
            at = datetime.fromisoformat(when.decode().replace("Z", "+00:00")).astimezone(UTC)
        except ValueError:
            continue
        line = text.removesuffix(b"\n")
        for start in range(0, len(line) or 1, MAX_LINE_BYTES):
            yield LogLine(at, "stderr" if stream == 2 else "stdout", line[start : start + MAX_LINE_BYTES])
