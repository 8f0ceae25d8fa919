"""Runs an engine: its output is streamed to the operator, and it never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mcpctl.errors import CliError
from mcpctl.images.building.commands import Command

# What a build was running is stopped first, and its layer taken down; a container may take 10 s to stop.
_END_S = 20.0
# podman and docker answer in well under a second; where they wait for a lock, a build may hold it.
_ANSWER_S = 60.0
_STDERR = 2
# What ends a program from outside, and how a shell reports that.
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_SIGNALLED = 128


def stream(command: Command, folder: Path, *, to_stderr: bool = False) -> int:
    """Runs a command on our terminal and returns its exit status, negative for a signal. Raises CliError.

    ``to_stderr``: what it prints, so that our own answer is alone on stdout. Whatever ends us early, Ctrl-C or SIGTERM,
    ends it, and is raised again when it is over. Only for the main thread.
    """
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=folder,
            env=os.environ | dict(command.environment),
            stdout=_STDERR if to_stderr else None,
        )
    except OSError as error:
        raise CliError(f"{command.argv[0]} cannot be started: {error.strerror}") from None
    with _ended_by_signals():
        try:
            return process.wait()
        except BaseException:
            _end(process)
            raise


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """What ends us from outside raises SystemExit, as Ctrl-C raises KeyboardInterrupt. What is ignored stays so."""
    heard: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        heard.append(number)
        # A terminal that is closed sends several at once: the engine has its time to end all the same.
        if len(heard) == 1:
            raise SystemExit(_SIGNALLED + number)

    before = {each: signal.getsignal(each) for each in _ENDING}
    ours = [each for each, handler in before.items() if handler == signal.SIG_DFL]
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, before[each])


def ask(command: Command) -> str | None:
    """What a short command prints; None when it fails, or does not answer."""
    try:
        done = subprocess.run(
            command.argv,
            env=os.environ | dict(command.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def ended(status: int) -> str:
    """An exit status other than 0, in words."""
    if status > 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, which a terminal's Ctrl-C has done already, and waits; then makes it."""
    process.terminate()
    try:
        process.wait(_END_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
