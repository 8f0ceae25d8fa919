"""Large files: the memory that they take, and the bar that a terminal shows."""

import hashlib
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from protos.mcp import v1
from tests.support.agent import Node, of_a_shell
from tests.support.files import LARGE, parts
from tests.support.waiting import DEADLINE_S


class Measured:
    """Runs the program, and then says the most memory that it had, in bytes."""

    CODE = (
        "import re, runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n runpy.run_module('mcpctl', run_name='__main__', alter_sys=False)\n"
        "except SystemExit as done:\n assert done.code == 0, done.code\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)\n"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", self.CODE, "mcpctl", *words],
            env=of_a_shell(self._folder),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 4,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split()[-1]) * 1024


MIB = 2**20
# What a large file may cost more than a small one: a few chunks under way, and what the network holds.
MARGIN = 8 * MIB


def test_a_large_file_takes_no_more_memory_than_a_small_one(rift: Node, web: Path) -> None:
    measured = Measured(web.parent)
    rift.agent.keeps_content = False
    block = os.urandom(MIB)
    (web / "small").write_bytes(block)
    with (web / "large").open("wb") as file:
        for _ in range(64):
            file.write(block)
    small = measured("push", "small", "web")
    assert measured("push", "large", "web") < small + MARGIN
    digest = hashlib.sha256()

    def large() -> Iterator[v1.PullFileResponse]:
        yield v1.PullFileResponse(header=v1.FileHeader("web", "large", 64 * MIB, 0o600))
        for _ in range(64 * 4):
            digest.update(block[: MIB // 4])
            yield v1.PullFileResponse(chunk=block[: MIB // 4])
        yield v1.PullFileResponse(sha256=digest.digest())

    rift.agent.prepared["PullFileRequest"] = {"small": parts(block), "large": large()}
    small = measured("pull", "web", "small", "pulled-small")
    assert measured("pull", "web", "large", "pulled-large") < small + MARGIN
    assert (web / "pulled-large").stat().st_size == 64 * MIB


def on_a_terminal(web: Path, *words: str, enough: Callable[[str], bool], then: Callable[[], None]) -> str:
    """What the program writes to a terminal; ``then`` is done once it was ``enough``."""
    ours, theirs = pty.openpty()
    environment = {**of_a_shell(web.parent), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpctl", *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, is_done = "", False
    try:
        while select.select([ours], [], [], DEADLINE_S)[0]:
            try:
                shown += os.read(ours, 65536).decode(errors="replace")
            except OSError:
                break
            if not is_done and enough(shown):
                is_done = True
                then()
        assert process.wait(DEADLINE_S) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert is_done, shown
    return shown


def test_on_a_terminal_what_takes_longer_is_a_bar_that_goes_away(rift: Node, web: Path) -> None:
    released = threading.Event()

    def slow() -> Iterator[Any]:
        header, *chunks, sha256 = parts(LARGE, chunk=1000)
        yield header
        yield from chunks[:300]
        for chunk in chunks[300:]:
            released.wait(0.02)
            yield chunk
        yield sha256

    rift.agent.prepared["PullFileRequest"] = slow()
    shown = on_a_terminal(
        web, "pull", "web", "conf/app.ini", enough=lambda text: "KiB" in text and "/s" in text, then=released.set
    )
    assert "app.ini" in shown
    assert "625.0 KiB" in shown
    assert shown.rstrip().splitlines()[-1].endswith("s")
    assert (web / "app.ini").read_bytes() == LARGE
