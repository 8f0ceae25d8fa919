"""Nothing outside of ROOT/<service>/ is reached, whoever changes the folder meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mcpd.errors import McpdError
from mcpd.files.beneath import Opener
from tests.support.service_folder import NEW, Place

ROUNDS = int(os.environ.get("MCP_SWAP_ROUNDS", "2000"))

# Swaps, as fast as it can, a folder with a symlink that leads out, and puts such a symlink where a file is.
_SWAPPER = """
import ctypes, os, sys
web, outside = map(os.fsencode, sys.argv[1:])
os.chdir(web)
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("door")
os.symlink(outside, "trap")
open("door/canary", "wb").write(b"inside")
print("ready", flush=True)
while True:
    assert libc.renameat2(-100, b"door", -100, b"trap", 2) == 0, ctypes.get_errno()
    os.symlink(outside + b"/canary", "next")
    os.rename("next", "victim")
    os.close(os.open("next", os.O_CREAT | os.O_WRONLY))
    os.rename("next", "victim")
"""


@contextlib.contextmanager
def swapping(place: Place) -> Iterator[None]:
    argv = [sys.executable, "-c", _SWAPPER, str(place.web), str(place.outside)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()


def test_a_symlink_swapped_in_during_pushes_and_pulls_never_leads_out(opener: Opener) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        place = Place(Path(folder), opener)
        outcomes = {"door/canary": [0, 0], "victim": [0, 0], "door/sub/new": [0, 0], "pulled": [0, 0]}

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                action()
            except McpdError:
                outcomes[what][1] += 1
            else:
                outcomes[what][0] += 1

        def pull() -> None:
            assert place.pull("door/canary") in (b"inside", NEW)

        outside = {key: value for key, value in place.everything().items() if key.startswith(str(place.outside))}
        with swapping(place):
            for _ in range(ROUNDS):
                for path in ("door/canary", "victim", "door/sub/new"):
                    attempt(path, lambda path=path: place.push(path))  # type: ignore[misc]
                attempt("pulled", pull)
        after = {key: value for key, value in place.everything().items() if key.startswith(str(place.outside))}
        assert after == outside
        # Both sides of the race were seen, or this would have tried nothing.
        assert all(done for done, _ in outcomes.values()), outcomes
        assert all(refused for _, refused in outcomes.values()), outcomes
        assert not list(place.web.glob("**/.mcp-*"))
