"""What a person sees: failures, remarks on standard error, and commands as one would type them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping

FAILED = 1
WRONG_USAGE = 2
_SIGNALLED = 128  # as shells count: a program that a signal ended has this and its number

_PLAIN_WORD = re.compile(r"[\w./:=@+-]+", re.ASCII)


class Failure(Exception):
    """Ends the program with ``status``; ``message`` is for standard error, and empty when all has been said."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def tell(failure: Failure) -> None:
    if failure.message:
        say(f"demo: {failure.message}")


def title(text: str) -> None:
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def show(*words: str) -> None:
    quoted = (word if _PLAIN_WORD.fullmatch(word) else shlex.quote(word) for word in words)
    print("$", *quoted, flush=True)


def run(*argv: str, environment: Mapping[str, str]) -> None:
    """Shows a command and runs it. Raises Failure with its status when it fails; it has told why."""
    show(*argv)
    _require_success(subprocess.run(argv, env=environment, check=False).returncode)


def answer(*argv: str, environment: Mapping[str, str]) -> str:
    """`run`, and what the command has printed, without the last newline."""
    show(*argv)
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout.rstrip("\n"), flush=True)
    _require_success(done.returncode)
    return done.stdout.rstrip("\n")


def _require_success(status: int) -> None:
    if status:
        raise Failure("", status if status > 0 else _SIGNALLED - status)
