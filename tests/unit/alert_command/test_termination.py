"""The end of an alert command that does not end by itself: timeouts, cancellation, and what it leaves behind."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from monitor.alerts import command as module
from monitor.alerts.command import execute
from monitor.model import Alert, Execution
from monitor.pidfd import wait_exit
from tests.support.alert_command import ALERT, DEADLINE_S, LONG_S, alert, exists, meanwhile, python, run, sh

# Timeouts. The clock is a mock: it stands still until the command says that it is where we want it to be.


async def test_a_command_that_hangs_is_ended(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(f"echo working; touch {ready}; exec sleep 1000", ready, mock_clock, nursery)
    assert ran == Execution(-signal.SIGTERM, "did not end within 1000 s, ended by SIGTERM", "working\n")


async def test_so_is_one_that_never_reads_what_it_is_told(
    mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(f"touch {ready}; exec sleep 1000", ready, mock_clock, nursery, alert(reason="x" * 200_000))
    assert ran.status == -signal.SIGTERM


async def test_one_that_ignores_sigterm_is_killed(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(
        f"trap '' TERM; sleep 1000 & touch {ready}; wait", ready, mock_clock, nursery, after=module._TERM_GRACE_S
    )
    assert ran == Execution(-signal.SIGKILL, "did not end within 1000 s, ended by SIGKILL")


@pytest.mark.parametrize(("status", "reported"), [(0, -signal.SIGTERM), (9, 9)])
async def test_one_that_exits_on_sigterm_has_still_not_succeeded(
    status: int, reported: int, mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(
        f"trap 'echo bye; exit {status}' TERM; sleep 1000 & touch {ready}; wait", ready, mock_clock, nursery
    )
    assert ran == Execution(reported, "did not end within 1000 s, ended by SIGTERM", "bye\n")


async def test_sigterm_goes_to_the_whole_group(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    child = f"(trap 'echo child; exit' TERM; touch {ready}; while :; do sleep 0.01; done) & wait"
    ran = await timed_out(f"trap 'wait; exit' TERM; {child}", ready, mock_clock, nursery)
    assert "child\n" in ran.output


async def timed_out(
    script: str, ready: Path, clock: MockClock, nursery: trio.Nursery, alert: Alert = ALERT, after: float | None = None
) -> Execution:
    """Runs ``script`` past its timeout, once it has made ``ready``; and then ``after`` seconds more."""
    results: list[Execution] = []

    async def body() -> None:
        results.append(await execute(sh(script), alert, LONG_S))

    nursery.start_soon(body)
    await meanwhile(ready.exists, "the command is ready")
    clock.jump(LONG_S - 1)
    await wait_all_tasks_blocked()
    assert not results
    clock.jump(1)
    if after is not None:
        await wait_all_tasks_blocked()
        assert not results
        clock.jump(after)
    await meanwhile(lambda: results, "the command is ended")
    return results[0]


def test_one_that_not_even_sigkill_ends_is_reported_as_such() -> None:
    ran = module._execution(None, signal.SIGKILL, 30.0, "")
    assert ran == Execution(-signal.SIGKILL, "did not end within 30 s, and not on SIGKILL either")


# What it leaves behind


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM HUP INT; "])
async def test_a_child_that_keeps_the_pipe_neither_holds_up_the_result_nor_outlives_it(stubborn: str) -> None:
    ran = await run(sh(f"{stubborn}sleep 1000 & echo $!; exit 5"))
    assert ran.status == 5
    await has_gone(int(ran.output))


async def test_nor_does_one_that_has_closed_the_pipe() -> None:
    ran = await run(sh("sleep 1000 >/dev/null 2>&1 & echo $!"))
    assert ran.status == 0
    await has_gone(int(ran.output))


async def test_nor_does_one_that_prints_for_ever() -> None:
    ran = await run(python("import os; os.fork() or os.execvp('yes', ['yes'])"))
    assert ran.status == 0


async def test_what_a_child_prints_soon_after_is_still_kept(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEFTOVER_GRACE_S", LONG_S)
    fifo, results = tmp_path / "fifo", list[Execution]()
    os.mkfifo(fifo)

    async def body() -> None:
        results.append(await execute(sh(f"(read line <{fifo}; echo $line) & exit 0"), ALERT, LONG_S))

    nursery.start_soon(body)
    await trio.to_thread.run_sync(fifo.write_text, "late\n")
    await meanwhile(lambda: results, "the command has ended")
    assert results == [Execution(0, "exited 0", "late\n")]


async def has_gone(pid: int) -> None:
    with trio.fail_after(DEADLINE_S):
        await wait_exit(pid)


# Cancellation


async def test_cancelled_it_kills_the_group_and_passes_the_cancellation_on(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    pids, scope, results = tmp_path / "pids", trio.CancelScope(), []

    async def body() -> None:
        with scope:
            results.append(
                await execute(
                    sh(f"trap '' TERM; sleep 1000 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait"), ALERT, LONG_S
                )
            )

    nursery.start_soon(body)
    await meanwhile(pids.exists, "the command runs")
    scope.cancel()
    main, child = map(int, pids.read_text().split())
    with trio.fail_after(DEADLINE_S):
        while not scope.cancelled_caught:
            await trio.lowlevel.checkpoint()
    assert not results
    assert not exists(main)
    await has_gone(child)


async def test_cancelled_before_it_began_it_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: started.append(args))
    with trio.CancelScope() as scope:
        scope.cancel()
        await execute(("true",), ALERT, LONG_S)
    assert scope.cancelled_caught
    assert not started


async def test_many_at_once_do_not_mix() -> None:
    results: dict[int, Execution] = {}

    async def body(number: int) -> None:
        results[number] = await run(sh('cat >/dev/null; echo "$MCP_ALERT_ID"; exit "$MCP_ALERT_ID"'), alert(id=number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(body, number)
    assert results == {number: Execution(number, f"exited {number}", f"{number}\n") for number in range(20)}
