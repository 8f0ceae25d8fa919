"""The kernel's word that a process has ended."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from monitor import pidfd

DEADLINE_S = 10


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_it_returns_when_the_process_is_killed_and_not_before(
    sleeper: subprocess.Popen[bytes], how: signal.Signals
) -> None:
    ended = trio.Event()

    async def watch() -> None:
        await pidfd.wait_exit(sleeper.pid)
        ended.set()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            assert not ended.is_set()
            sleeper.send_signal(how)
    assert sleeper.wait() == -how


async def test_a_stopped_process_has_not_ended(sleeper: subprocess.Popen[bytes]) -> None:
    ended = trio.Event()

    async def watch() -> None:
        await pidfd.wait_exit(sleeper.pid)
        ended.set()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            sleeper.send_signal(signal.SIGSTOP)
            _, status = await trio.to_thread.run_sync(os.waitpid, sleeper.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            await wait_all_tasks_blocked()
            assert not ended.is_set()
            sleeper.kill()


async def test_it_returns_at_once_for_a_process_that_nobody_has_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    with trio.fail_after(DEADLINE_S):
        await pidfd.wait_exit(sleeper.pid)
        await pidfd.wait_exit(sleeper.pid)
    assert sleeper.poll() == -signal.SIGKILL


async def test_it_returns_at_once_for_a_process_that_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    with trio.fail_after(DEADLINE_S):
        await pidfd.wait_exit(sleeper.pid)


async def test_the_process_need_not_be_our_child() -> None:
    shell = await trio.run_process(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], capture_stdout=True)
    grandchild = int(shell.stdout)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pidfd.wait_exit, grandchild)
            await wait_all_tasks_blocked()
            os.kill(grandchild, signal.SIGKILL)


async def test_many_watchers_of_one_process_all_hear_of_its_end(sleeper: subprocess.Popen[bytes]) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pidfd.wait_exit, sleeper.pid)
            await wait_all_tasks_blocked()
            sleeper.kill()


async def test_no_descriptor_is_left_open(sleeper: subprocess.Popen[bytes]) -> None:
    before = open_descriptors()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pidfd.wait_exit, sleeper.pid)
        await wait_all_tasks_blocked()
        assert open_descriptors() == before + 5
        nursery.cancel_scope.cancel()
    assert open_descriptors() == before
    sleeper.kill()
    with trio.fail_after(DEADLINE_S):
        await pidfd.wait_exit(sleeper.pid)
    assert open_descriptors() == before
