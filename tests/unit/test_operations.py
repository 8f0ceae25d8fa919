"""Operations: one at a time per service, each with a life of its own."""

from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import BugError, BusyError, McpdError, RefusedError, UnavailableError
from mcpd.model import Caller, Outcome, Progress, Result, Role, Step, Target
from mcpd.node.intent import NodeIntent
from mcpd.registry.journal import Journal, State
from mcpd.registry.store import Registry
from monitor.model import Sighting

OPS = Caller("ops", Role.ADMIN)
WEB = Target("web")
# Far more than anything here needs; a test that gets there has failed.
DEADLINE_S = 10


@pytest.fixture
def operations(nursery: trio.Nursery, registry: Registry) -> Operations:
    return Operations(nursery, Journal(registry))


class Gate:
    """A body that reports, then waits to be let through."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.opened = trio.Event()

    async def __call__(self, operation: Operation) -> None:
        operation.report("api", Step.STOP, "stopping")
        self.entered.set()
        await self.opened.wait()
        await operation.conclude(Outcome("api", Result.STOPPED))


async def nothing(operation: Operation) -> None:
    await operation.conclude(Outcome("api", Result.UNCHANGED))


def failing(error: BaseException) -> Callable[[Operation], Awaitable[None]]:
    async def body(operation: Operation) -> None:
        operation.report("api", Step.PULL, "pulling")
        await trio.lowlevel.checkpoint()
        raise error

    return body


async def state_of(registry: Registry, operation: Operation) -> tuple[str, str]:
    row = await registry.transact(
        lambda db: db.execute("SELECT state, message FROM operations WHERE id = ?", (operation.id,)).fetchone()
    )
    return row["state"], row["message"]


async def test_an_operation_ends_with_its_outcomes_and_is_recorded(operations: Operations, registry: Registry) -> None:
    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("stop", WEB, OPS, nothing)
        assert operation.id > 0
        assert await operation.finished() == (Outcome("api", Result.UNCHANGED),)
    assert operations.running == ()
    assert await state_of(registry, operation) == ("completed", "")
    assert await Journal(registry).open() == ()


async def test_a_second_operation_is_told_who_holds_the_service(operations: Operations) -> None:
    gate = Gate()
    with trio.fail_after(DEADLINE_S):
        first = await operations.start("deploy", Target("web", "api"), OPS, gate)
        await gate.entered.wait()
        with pytest.raises(BusyError) as busy:
            await operations.start("stop", WEB, Caller("other", Role.ADMIN), nothing)
        assert f"held by operation {first.id}: deploy web/api by ops since {first.started_at:%H:%M:%S}" in str(
            busy.value
        )
        assert "now at stop api" in str(busy.value)
        gate.opened.set()
        await first.finished()
        await (await operations.start("stop", WEB, OPS, nothing)).finished()


async def test_an_operation_that_waits_begins_when_the_first_has_ended(operations: Operations) -> None:
    gate = Gate()
    order: list[str] = []

    async def second(_: Operation) -> None:
        order.append("second")

    async def wait_for_it() -> None:
        operation = await operations.start("stop", WEB, OPS, second, wait=True)
        await operation.finished()

    with trio.fail_after(DEADLINE_S):
        first = await operations.start("deploy", WEB, OPS, gate)
        await gate.entered.wait()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait_for_it)
            await wait_all_tasks_blocked()
            assert order == []
            assert operations.running == (first,)
            order.append("first ends")
            gate.opened.set()
    assert order == ["first ends", "second"]


async def test_operations_that_wait_never_run_together(operations: Operations) -> None:
    inside, most = 0, 0

    async def body(_: Operation) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        inside -= 1

    async def one() -> None:
        await (await operations.start("deploy", WEB, OPS, body, wait=True)).finished()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as callers:
            for _ in range(10):
                callers.start_soon(one)
    assert most == 1
    assert operations.running == ()


async def test_two_services_are_worked_on_at_once(operations: Operations) -> None:
    one, other = Gate(), Gate()
    with trio.fail_after(DEADLINE_S):
        first = await operations.start("deploy", Target("web"), OPS, one)
        second = await operations.start("deploy", Target("blog"), OPS, other)
        await one.entered.wait()
        await other.entered.wait()
        assert set(operations.running) == {first, second}
        one.opened.set()
        other.opened.set()
        await first.finished()
        await second.finished()


async def test_a_watcher_that_goes_away_does_not_end_the_operation(operations: Operations) -> None:
    gate = Gate()
    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, gate)
        async with trio.open_nursery() as watching:
            watching.start_soon(operation.finished)
            await gate.entered.wait()
            watching.cancel_scope.cancel()
        assert operations.running == (operation,)
        gate.opened.set()
        assert await operation.finished() == (Outcome("api", Result.STOPPED),)


async def test_a_caller_that_is_cancelled_once_it_has_started_one_leaves_it_running(operations: Operations) -> None:
    gate = Gate()
    with trio.fail_after(DEADLINE_S):
        with trio.CancelScope() as caller:
            await operations.start("deploy", WEB, OPS, gate)
            caller.cancel()
            await trio.lowlevel.checkpoint()
        assert caller.cancelled_caught
        await gate.entered.wait()
        (operation,) = operations.running
        gate.opened.set()
        await operation.finished()


async def test_a_caller_that_gives_up_waiting_holds_nothing(operations: Operations) -> None:
    gate = Gate()
    with trio.fail_after(DEADLINE_S):
        first = await operations.start("deploy", WEB, OPS, gate)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(lambda: operations.start("stop", WEB, OPS, nothing, wait=True))
            await wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        gate.opened.set()
        await first.finished()
        await (await operations.start("stop", WEB, OPS, nothing)).finished()


async def test_every_follower_sees_every_report_and_then_the_error(operations: Operations, registry: Registry) -> None:
    caught: list[tuple[list[str], str]] = []
    let_go = trio.Event()

    async def body(operation: Operation) -> None:
        operation.report("api", Step.PULL, "one")
        await let_go.wait()
        operation.report("api", Step.START, "two")
        raise RefusedError("it did not start")

    async def watch(operation: Operation) -> None:
        seen = []
        try:
            async for news in operation.follow():
                seen += [each.message for each in news]
        except McpdError as error:
            caught.append((seen, str(error)))

    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, body)
        async with trio.open_nursery() as watching:
            for _ in range(3):
                watching.start_soon(watch, operation)
            await wait_all_tasks_blocked()
            let_go.set()
        await watch(operation)
    assert caught == [(["one", "two"], "it did not start")] * 4
    assert await state_of(registry, operation) == ("failed", "it did not start")
    assert operations.running == ()


async def test_a_late_follower_sees_all_reports_from_the_first(operations: Operations) -> None:
    with trio.fail_after(DEADLINE_S):
        gate = Gate()
        gate.opened.set()
        operation = await operations.start("stop", WEB, OPS, gate)
        await operation.finished()
        (reports,) = [news async for news in operation.follow()]
    assert isinstance(reports[0], Progress)
    assert (reports[0].step, reports[0].component) == (Step.STOP, "api")
    assert reports[1:] == [Outcome("api", Result.STOPPED)]


async def test_a_bug_ends_the_operation_and_not_the_daemon(
    operations: Operations, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, failing(ZeroDivisionError("secret detail")))
        with pytest.raises(BugError, match="pull api") as told:
            await operation.finished()
        assert "secret detail" not in str(told.value)
        assert "ZeroDivisionError" in capsys.readouterr().out
        assert (await state_of(registry, operation))[0] == "failed"
        await (await operations.start("stop", WEB, OPS, nothing)).finished()


async def test_a_failure_from_within_a_nursery_is_told_as_it_is(operations: Operations) -> None:
    async def body(operation: Operation) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(failing(RefusedError("no space left")), operation)

    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, body)
        with pytest.raises(RefusedError, match="no space left"):
            await operation.finished()


async def test_a_daemon_that_shuts_down_tells_its_followers_and_leaves_it_open_for_the_next(registry: Registry) -> None:
    told: list[str] = []

    async def watch(operation: Operation) -> None:
        try:
            await operation.finished()
        except UnavailableError as error:
            told.append(str(error))

    gate = Gate()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as daemon:
                operation = await Operations(daemon, Journal(registry)).start("deploy", WEB, OPS, gate)
                watching.start_soon(watch, operation)
                await gate.entered.wait()
                daemon.cancel_scope.cancel()
    assert len(told) == 1
    assert "shut down" in told[0]
    (left,) = await Journal(registry).open()
    assert (left.id, left.target, left.kind, left.state) == (operation.id, WEB, "deploy", State.RUNNING)


async def test_draining_refuses_new_operations_and_waits_for_those_that_run(
    operations: Operations, nursery: trio.Nursery
) -> None:
    gate, drained = Gate(), trio.Event()

    async def drain() -> None:
        await operations.drain(DEADLINE_S)
        drained.set()

    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, gate)
        await gate.entered.wait()
        nursery.start_soon(drain)
        await wait_all_tasks_blocked()
        assert not drained.is_set()
        with pytest.raises(UnavailableError, match="shutting down"):
            await operations.start("stop", Target("blog"), OPS, nothing)
        gate.opened.set()
        await drained.wait()
        assert operations.running == ()
        await operation.finished()


async def test_draining_refuses_who_waits_for_the_service(operations: Operations) -> None:
    gate, refused = Gate(), trio.Event()

    async def wait_for_it() -> None:
        with pytest.raises(UnavailableError):
            await operations.start("stop", WEB, OPS, nothing, wait=True)
        refused.set()

    with trio.fail_after(DEADLINE_S):
        await operations.start("deploy", WEB, OPS, gate)
        async with trio.open_nursery() as callers:
            callers.start_soon(wait_for_it)
            await wait_all_tasks_blocked()
            callers.start_soon(operations.drain, DEADLINE_S)
            await wait_all_tasks_blocked()
            gate.opened.set()
    assert refused.is_set()


async def test_draining_gives_up_after_its_grace(operations: Operations, autojump_clock: MockClock) -> None:
    gate = Gate()
    await operations.start("deploy", WEB, OPS, gate)
    await gate.entered.wait()
    before = autojump_clock.current_time()
    await operations.drain(30)
    assert autojump_clock.current_time() - before == pytest.approx(30)
    assert len(operations.running) == 1
    gate.opened.set()


async def test_a_registry_that_cannot_be_written_frees_the_service(nursery: trio.Nursery, registry: Registry) -> None:
    operations = Operations(nursery, Journal(registry))
    await registry.transact(lambda db: db.execute("ALTER TABLE operations RENAME TO gone").close())
    with pytest.raises(McpdError):
        await operations.start("deploy", WEB, OPS, nothing)
    assert operations.running == ()
    await registry.transact(lambda db: db.execute("ALTER TABLE gone RENAME TO operations").close())
    with trio.fail_after(DEADLINE_S):
        await (await operations.start("deploy", WEB, OPS, nothing)).finished()


async def test_a_service_is_watched_as_ever_while_an_operation_only_looks(operations: Operations) -> None:
    """A deploy that finds nothing to do is none that the monitor has to look at containers after."""
    gate = Gate()
    _, seen = trio.open_memory_channel[Sighting](1)
    intent = NodeIntent(cast(Node, None), operations, seen)
    with trio.fail_after(DEADLINE_S):
        operation = await operations.start("deploy", WEB, OPS, gate, looks_first=True)
        await intent.changed()
        assert not intent.is_busy("web")
        operation.goes_to_work()
        await intent.changed()
        assert intent.is_busy("web")
        gate.opened.set()
        await operation.finished()
