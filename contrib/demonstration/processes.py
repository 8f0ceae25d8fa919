"""The processes of a node: how they are found, started and ended.

A process is ended by its id, after a look at what it is, and through a descriptor that cannot mean a later process
with the same id (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_PROC = Path("/proc")
# What the kernel needs to be done with a process that has had SIGKILL; what takes longer waits for a disk.
KILL_DEADLINE_S = 12.0

# Whether a process, by its id, is one of those that are looked for.
Predicate = Callable[[int], bool]


def is_running(pid: int) -> bool:
    """A zombie, which only its parent can remove, has ended."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(") ")[2][:1] != "Z"


def command_line(pid: int) -> list[str]:
    """Its arguments; none of a process that has ended."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in words.split(b"\0")]


def program(pid: int) -> str:
    """The name of what it runs, of which the kernel keeps 15 characters."""
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def has_words(words: str) -> Predicate:
    """Those whose command line has these, whole and in this order."""
    return lambda pid: is_running(pid) and f" {words} " in f" {' '.join(command_line(pid))} "


def names_path_below(folder: Path, programs: Sequence[str]) -> Predicate:
    """Those that run one of ``programs``, with an argument that names a path below ``folder``.

    The program's name keeps an editor, or `tail -f`, safe.
    """
    path = re.compile(rf"(?:^|[=:]|//){re.escape(str(folder))}/")
    return lambda pid: program(pid) in programs and any(path.search(word) for word in command_line(pid))


def has_root_below(storage: Path) -> Predicate:
    """Those in a container: their root is an overlay whose upper folder is in this storage."""
    upper = re.escape(str(storage).replace(" ", r"\040"))  # as mountinfo writes a space
    root = re.compile(rf"^\d+ \d+ [\d:]+ / / .*[ ,]upperdir={upper}/", re.MULTILINE)

    def matches(pid: int) -> bool:
        try:
            return bool(root.search((_PROC / str(pid) / "mountinfo").read_text(errors="replace")))
        except OSError:
            return False

    return matches


def matching(predicate: Predicate) -> list[int]:
    """Every process on this machine of which ``predicate`` is true."""
    return [pid for pid in (int(path.name) for path in _PROC.glob("[0-9]*")) if predicate(pid)]


def recorded(path: Path) -> int | None:
    """What a pid file says. A hint only: a pid is used again."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def start(argv: list[str], environment: Mapping[str, str], *, log: Path, pid_file: Path) -> int:
    """Starts a program that outlives this one and its terminal; ``log`` gets all that it prints. Returns its pid."""
    pid_file.unlink(missing_ok=True)
    pid = os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
    )
    pid_file.write_text(f"{pid}\n")
    return pid


def end(pids: Iterable[int], is_ours: Predicate, within_s: float) -> None:
    """Sends SIGTERM, and SIGKILL to what still runs ``within_s`` seconds later. Returns when all have ended."""
    deadline = time.monotonic() + within_s
    with contextlib.ExitStack() as descriptors:
        held: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                descriptors.callback(os.close, descriptor)
                if is_ours(pid):
                    held[pid] = descriptor
        for descriptor in held.values():
            _send(descriptor, signal.SIGTERM)
            _send(descriptor, signal.SIGCONT)  # or one that is stopped would end by SIGKILL only
        for pid, descriptor in held.items():
            if not _has_ended(descriptor, deadline):
                _send(descriptor, signal.SIGKILL)
                _has_ended(descriptor, deadline + KILL_DEADLINE_S)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # where we are its parent


def end_matching(predicate: Predicate, within_s: float) -> None:
    end(matching(predicate), predicate, within_s)


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(descriptor, number)


def _has_ended(descriptor: int, deadline: float) -> bool:
    """Waits until the process has ended, or ``deadline`` (monotonic) has passed."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
