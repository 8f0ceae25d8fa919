"""The exit watcher: conmon's exit file is waited for as long as somebody may write it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trio.testing

from monitor.model import Ended, Observation
from monitor.sources.exits import ExitWatcher, Run
from monitor.sources.inspector import Inspector
from tests.support.idle_node import StillRuntime

# Longer than conmon takes on an idle node, and shorter than on one where everything dies at once.
LATE_S = 0.4
# Far longer than a watch takes.
DEADLINE_S = 30.0


class Silent(StillRuntime):
    """A podman that is too busy to say anything."""

    async def look(self, container: str) -> None:
        await trio.sleep_forever()


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    program = "import sys; print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        try:
            yield started
        finally:
            started.kill()


async def watched(main: subprocess.Popen[bytes], conmon: subprocess.Popen[bytes]) -> Ended:
    """The first that is told of the end of ``main``."""
    send, receive = trio.open_memory_channel[Observation](10)
    watcher = ExitWatcher(Inspector(Silent(), send), send, lambda: None)
    run = Run("c1", datetime.now(UTC), main.pid, conmon.pid)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.watch, run)
            await trio.testing.wait_all_tasks_blocked()
            main.kill()
            end = await receive.receive()
            nursery.cancel_scope.cancel()
    assert isinstance(end, Ended)
    return end


async def test_a_code_that_conmon_writes_late_is_told(tmp_path: Path, nursery: trio.Nursery) -> None:
    async def write() -> None:
        await trio.sleep(LATE_S)
        (tmp_path / "c1").write_text("137")

    with process() as main, process("--exit-dir", str(tmp_path)) as conmon:
        nursery.start_soon(write)
        assert (await watched(main, conmon)).exit_code == 137


async def test_nothing_is_waited_for_that_nobody_can_write_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process() as main, process("--exit-dir", str(tmp_path)) as conmon:
        looked: list[int] = []

        def has_ended(pid: int) -> bool:
            looked.append(pid)
            return False

        monkeypatch.setattr("monitor.sources.exits._is_there", has_ended)
        send, receive = trio.open_memory_channel[Observation](10)
        looks: list[str] = []

        class Knows(StillRuntime):
            async def look(self, container: str) -> None:
                looks.append(container)

        watcher = ExitWatcher(Inspector(Knows(), send), send, lambda: None)
        main.kill()
        with trio.fail_after(DEADLINE_S):
            await watcher.watch(Run("c1", datetime.now(UTC), main.pid, conmon.pid))
        assert looked == [conmon.pid]
        assert looks == ["c1", "c1"]
        assert not [each for each in _received(receive) if isinstance(each, Ended)]


def _received(receive: trio.MemoryReceiveChannel[Observation]) -> Iterator[Observation]:
    with contextlib.suppress(trio.WouldBlock):
        while True:
            yield receive.receive_nowait()
