"""mcpd, but for one thing: at the boundary that a fuse file names it kills itself, with SIGKILL. Run as a program.

    FUSE=FILE mortal.py serve --config FILE

A boundary is a moment right before, or right after, something that a changing operation keeps. FILE holds how many of
them are lived through from then on; without it mcpd lives on. Every boundary's name is appended to FILE.passed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcpd import __main__ as mcpd
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.secret_store import SecretStore

# All that an operation writes; what the monitor writes is not theirs, and comes when it comes.
KEPT = {
    Journal: ("begin", "decide", "take", "conclude", "commit", "end"),
    SecretStore: ("_create", "_remove"),
    Registry: ("put_service", "set_active", "forget", "add_event", "ignore_services_but", "set_maintenance"),
}


def main(fuse: Path) -> None:
    for kind, names in KEPT.items():
        for name in names:
            setattr(kind, name, _with_boundaries(getattr(kind, name), fuse))
    sys.exit(mcpd.main())


def _with_boundaries(method: Callable[..., Awaitable[Any]], fuse: Path) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        _pass(fuse, f"before {method.__name__}")
        result = await method(*args, **kwargs)
        _pass(fuse, f"after {method.__name__}")
        return result

    return wrapped


def _pass(fuse: Path, boundary: str) -> None:
    with Path(f"{fuse}.passed").open("a") as passed:
        passed.write(f"{boundary}\n")
    try:
        left = int(fuse.read_text())
    except FileNotFoundError:
        return
    if left == 0:
        fuse.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    fuse.write_text(str(left - 1))


if __name__ == "__main__":
    main(Path(os.environ["FUSE"]))
