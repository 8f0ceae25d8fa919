"""Changes while the registry cannot be written: they are refused or reverted, and nothing is half done."""

from __future__ import annotations

import pytest
import trio

from mcpd.changes.operations import Operation, Operations, RevertedError
from mcpd.errors import UnwritableError
from mcpd.model import Result, Target
from mcpd.registry.journal import State
from tests.support.failing_changes import BOTH, CHANGES, Changed, carry_out
from tests.support.failing_registry import DEADLINE_S, NOW, OPS, until_so


@pytest.mark.parametrize("kind", CHANGES)
async def test_the_first_write_refuses_it_and_nothing_was_done(changed: Changed, kind: str) -> None:
    before = dict(changed.podman.found)
    changed.registry.limit(0)
    operation, error = await carry_out(changed, kind)
    assert operation is None
    assert isinstance(error, UnwritableError)
    assert "disk is full; free space" in str(error)
    assert changed.podman.found == before


@pytest.mark.parametrize("left", range(1, 20))
@pytest.mark.parametrize("kind", CHANGES)
async def test_wherever_it_fails_what_ran_runs_or_was_to_be_stopped(changed: Changed, kind: str, left: int) -> None:
    """However far it came: a restart and a deploy end what they began, and whoever asked is told of what was not."""
    before = dict(changed.podman.found)
    changed.registry.limit(left)
    operation, error = await carry_out(changed, kind)
    assert operation is not None
    if kind not in ("stop", "undeploy"):
        assert changed.running == BOTH
    if kind == "deploy" and error:
        assert isinstance(error, RevertedError | UnwritableError)
        assert "disk is full" in str(error)
        assert changed.podman.found == before
    if kind in ("stop", "undeploy") and error is None:
        # No component that still runs is said to be stopped, and none that was stopped is said to have failed.
        said = {each.component: each.result for each in operation.outcomes}
        for name, result in said.items():
            gone = f"web-{name}" not in changed.running
            assert gone == (result in (Result.STOPPED, Result.REMOVED)) or result is Result.FAILED


async def test_what_died_is_started_again_though_nothing_of_that_can_be_kept(changed: Changed) -> None:
    from mcpd.node.intent import NodeIntent

    await changed.podman.stop("web-db", NOW - NOW)
    changed.registry.limit(0)
    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            await NodeIntent(changed.node, operations, changed.seen).heal("web", "db")
        assert operations.running == ()
    assert changed.running == BOTH


async def test_an_end_that_could_not_be_kept_is_kept_before_anything_else_begins(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open in the journal, the next daemon would take it back: with what was deployed after it."""
    monkeypatch.setattr("mcpd.changes.operations._RECORD_AGAIN_S", 3600.0)
    states = []

    async def body(_: Operation) -> None:
        states.extend(each.state for each in await changed.journal.newest())

    async def fills_the_disk(_: Operation) -> None:
        await trio.lowlevel.checkpoint()
        changed.registry.limit(0)

    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            first = await operations.start("deploy", Target("web"), OPS, fills_the_disk)
            await first.finished()
            with pytest.raises(UnwritableError):
                await operations.start("deploy", Target("web"), OPS, body)
            changed.registry.limit(1000)
            await (await operations.start("deploy", Target("web"), OPS, body)).finished()
        nursery.cancel_scope.cancel()
    assert states == [State.COMPLETED, State.RUNNING]


async def test_an_end_that_could_not_be_kept_is_kept_without_anything_else(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpd.changes.operations._RECORD_AGAIN_S", 0.01)

    async def fills_the_disk(_: Operation) -> None:
        await trio.lowlevel.checkpoint()
        changed.registry.limit(0)

    async with trio.open_nursery() as nursery:
        operations = Operations(nursery, changed.journal)
        with trio.fail_after(DEADLINE_S):
            await (await operations.start("stop", Target("web"), OPS, fills_the_disk)).finished()
            changed.registry.limit(1000)

            async def has_no_open_one() -> bool:
                return not await changed.journal.open()

            await until_so(has_no_open_one)
        nursery.cancel_scope.cancel()
