"""The processes of a container, as podman reads them from /proc: the container needs no ps (podman-top(1))."""

from __future__ import annotations

import re
from contextlib import aclosing
from datetime import timedelta

import msgspec
import trio

from mcpd.errors import UnavailableError
from mcpd.runtime.api import PodmanError
from mcpd.runtime.podman import Podman

# podman's own descriptors. One that it does not know would make it run the container's ps.
_COLUMNS = "pid,hpid,user,pcpu,rss,etime,args"
# It enters the container's namespaces for that, one after the other.
_DEADLINE_S = 5.0
# A thousand processes with long command lines.
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
# A command line may have 2 MiB; nobody reads more of it than this in a table.
_MAX_COMMAND_CHARS = 1000
# Go writes durations as 1h2m3.5s, shorter ones than a second as 3.5ms, 3.5µs or 3ns.
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|[uµμ]s|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_KIB = 1024


class Process(msgspec.Struct, frozen=True):
    """One process. ``pid`` is its number in the container, ``host_pid`` on the node; memory in bytes.

    ``cpu_percent``: of one core, on average since it started.
    """

    pid: int
    host_pid: int
    user: str
    cpu_percent: float
    resident: int
    elapsed: timedelta
    command: str


class _Answer(msgspec.Struct, frozen=True):
    rows: list[list[str]] | None = msgspec.field(name="Processes", default=None)


async def processes_of(podman: Podman, container: str) -> list[Process]:
    """Those of a running container, by number; none when it does not run (any more).

    Raises NoSuchError, PodmanError, UnavailableError.
    """
    params = {"stream": "false", "ps_args": _COLUMNS}
    found = bytearray()
    try:
        with trio.fail_after(_DEADLINE_S):
            path = f"/containers/{container}/top"
            async with podman.api.stream("GET", path, params=params, timeout=_DEADLINE_S) as answer:
                async with aclosing(answer.aiter_raw()) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        found += chunk
                        if len(found) > _MAX_ANSWER_BYTES:
                            raise PodmanError(f"its processes take more than {_MAX_ANSWER_BYTES >> 20} MiB to list", 0)
    except trio.TooSlowError:
        raise UnavailableError(f"podman did not list its processes within {_DEADLINE_S:.0f} s") from None
    return parsed(bytes(found))


def parsed(answer: bytes) -> list[Process]:
    """podman's answer; an empty one, as it has for what does not run, has none. Raises PodmanError."""
    if not answer.strip():
        return []
    try:
        rows = msgspec.json.decode(answer, type=_Answer).rows or []
        found = [_process(row) for row in rows]
    except (msgspec.DecodeError, ValueError) as error:
        raise PodmanError(f"podman lists its processes in a way that is not understood: {error}", 0) from error
    return sorted(found, key=lambda each: each.pid)


def _process(row: list[str]) -> Process:
    """Raises ValueError."""
    pid, host_pid, user, percent, resident, elapsed, command = row
    return Process(
        pid=int(pid),
        host_pid=int(host_pid),
        user=user,
        cpu_percent=float(percent),
        resident=int(resident) * _KIB,
        elapsed=duration(elapsed),
        command=command if len(command) <= _MAX_COMMAND_CHARS else f"{command[:_MAX_COMMAND_CHARS]}...",
    )


def duration(text: str) -> timedelta:
    """A duration as Go writes it (time.Duration.String). Raises ValueError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
