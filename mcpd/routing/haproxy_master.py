"""What HAProxy's master says over its socket (HAProxy's management guide, 9.4), and what it hands on to its workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import trio

from mcpd.routing.proxy import ProxyError

# A command is answered within milliseconds; a worker that is busy with a large table takes longer, one that hangs ever.
COMMAND_S = 5.0
_CHUNK = 1 << 16
# Of an answer that is not understood; whole, it may have thousands of lines.
_SHOWN = 80


class Process(NamedTuple):
    pid: int
    reloads: int


class Processes(NamedTuple):
    """The workers, newest first, and how many reloads in a row have failed."""

    workers: tuple[Process, ...]
    failed: int


class Master:
    """A master behind ``socket``. ``config``: what it is started with; ``deadline``: seconds for an answer."""

    def __init__(self, socket: Path, config: Path, deadline: float) -> None:
        self._socket = socket
        self._config = config
        self._deadline = deadline

    async def processes(self) -> Processes:
        """Raises ProxyError, also when there is no worker."""
        workers, failed = [], 0
        for line in (await self.say("show proc")).splitlines():
            fields = line.split()
            if len(fields) > 2 and fields[1] == "worker":
                try:
                    workers.append(Process(int(fields[0]), int(fields[2])))
                except ValueError:
                    raise not_understood("show proc", line) from None
            elif counted := re.search(r"\[failed: (\d+)\]", line):
                failed = int(counted[1])
        if not workers:
            raise ProxyError(f"HAProxy at {self._socket} has no worker: its own log says why; start it again")
        return Processes(tuple(sorted(workers, key=lambda each: (each.reloads, -each.pid))), failed)

    async def ask(self, pid: int, command: str) -> str:
        """A worker's answer. Raises ProxyError."""
        answer = await self.say(f"@!{pid} {command}")
        if "target PID" in answer:
            raise ProxyError(f"the worker {pid} of HAProxy has ended")
        if "ermission denied" in answer:
            raise ProxyError(f"HAProxy at {self._socket} takes no changes: start it with -S {self._socket},level,admin")
        return answer

    async def say(self, command: str) -> str:
        """The answer of the master to one command. Raises ProxyError."""
        try:
            with trio.fail_after(self._deadline):
                async with await trio.open_unix_socket(str(self._socket)) as stream:
                    await stream.send_all(f"{command}\n".encode())
                    # The master waits for more commands until it is told that there is none.
                    await stream.send_eof()
                    answer = bytearray()
                    while chunk := await stream.receive_some(_CHUNK):
                        answer += chunk
        except trio.TooSlowError:
            raise ProxyError(
                f"HAProxy at {self._socket} did not answer within {self._deadline:g} s; if it stays so, restart it"
            ) from None
        except (OSError, trio.BrokenResourceError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            raise ProxyError(self._unreachable(cause)) from None
        return answer.decode(errors="replace").strip()

    def _unreachable(self, error: BaseException | None) -> str:
        start = f"start it with `haproxy -W -S {self._socket} -f {self._config}`"
        match error:
            case FileNotFoundError():
                return f"HAProxy has no socket at {self._socket}: {start}"
            case ConnectionRefusedError():
                return f"nothing listens on HAProxy's socket {self._socket}: {start}"
            case PermissionError():
                return (
                    f"mcpd may not use HAProxy's socket {self._socket}: give it to mcpd's group (-S"
                    f" {self._socket},mode,660,group,GROUP)"
                )
        return f"HAProxy's socket {self._socket} cannot be used: {error}"


def not_understood(command: str, answer: str) -> ProxyError:
    return ProxyError(
        f"HAProxy's answer to `{command}` cannot be understood, which begins with {answer[:_SHOWN]!r}: is it HAProxy"
        " 2.6 or later, and does its socket belong to it?"
    )


def rows(answer: str, separator: str) -> Iterator[dict[str, str]]:
    """The lines of a table of HAProxy's, by the names in its first line; without those that are cut."""
    names, *lines = [line.split(separator) for line in answer.splitlines() if line.strip()] or [[]]
    for fields in lines:
        if len(fields) >= len(names):
            yield dict(zip(names, fields, strict=False))


def field(answer: str, name: str) -> str:
    return next((line.split(": ", 1)[1] for line in answer.splitlines() if line.startswith(f"{name}: ")), "")
