"""The dispatcher: every alert is delivered or has failed, in order, and nothing is lost on the way."""

# ruff: noqa: ARG001 - that the clock is asked for is what makes the test run on it

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from monitor.alerts import dispatch as module
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, AlertKind, Delivery, Execution
from tests.support.builders import NOW
from tests.support.examples import EXAMPLES

ARGV = ("/usr/local/bin/notify", "--channel", "mcp")
TIMEOUT_S = 30.0
WELL = Execution(0, "exited 0")
BADLY = Execution(1, "exited 1", "no route to host")
# In the clock's seconds, and far more than all attempts of all alerts of a test take.
LONG_S = 100_000.0


def alert(number: int, component: str = "api", kind: AlertKind = AlertKind.DRIFT, **changes: Any) -> Alert:
    made = Alert(number, "rift", "web", component, kind, "running", "exited", "exited 1", NOW)
    return msgspec.structs.replace(made, **changes)


class Attempt(NamedTuple):
    id: int
    execution: Execution
    delivery: Delivery


class FakeLedger:
    """A ledger in memory that may be slow, and may fail."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self.alerts = {each.id: each for each in alerts}
        self.deliveries = {each.id: Delivery.PENDING for each in alerts}
        self.attempts: list[Attempt] = []
        self.reads = 0
        self.hushed: set[int] = set()
        self.before_answer: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.before_commit: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    def commit(self, alert: Alert) -> Alert:
        self.alerts[alert.id] = alert
        self.deliveries[alert.id] = Delivery.PENDING
        return alert

    async def pending_alerts(self) -> tuple[Alert, ...]:
        self.reads += 1
        pending = tuple(
            msgspec.structs.replace(self.alerts[number], attempts=self._count(number))
            for number, delivery in self.deliveries.items()
            if delivery is Delivery.PENDING
        )
        await self.before_answer()
        return pending

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        assert now.tzinfo is UTC
        await self.before_commit()
        self.attempts.append(Attempt(alert, execution, delivery))
        self.deliveries[alert] = delivery

    async def suppress_if_hushed(self, alert: Alert, now: datetime) -> bool:
        if alert.id in self.hushed:
            self.deliveries[alert.id] = Delivery.SUPPRESSED
        return alert.id in self.hushed

    def _count(self, number: int) -> int:
        return self.alerts[number].attempts + sum(each.id == number for each in self.attempts)


class FakeCommand:
    """Stands in for the operator's command: takes a second, and ends as it was told to."""

    def __init__(self, ends: Callable[[Alert], Execution] = lambda _: WELL, seconds: float = 1.0) -> None:
        self.ends = ends
        self.seconds = seconds
        self.argv: tuple[str, ...] = ARGV
        self.argvs: list[tuple[str, ...]] = []
        self.calls: list[tuple[int, float]] = []
        self.running: set[int] = set()
        self.most_running = 0
        self.timeouts: list[float] = []

    def __call__(self) -> tuple[str, ...]:
        return self.argv

    async def execute(self, argv: tuple[str, ...], alert: Alert, timeout: float) -> Execution:
        self.timeouts.append(timeout)
        assert alert.id not in self.running
        self.argvs.append(argv)
        self.calls.append((alert.id, trio.current_time()))
        self.running.add(alert.id)
        self.most_running = max(self.most_running, len(self.running))
        try:
            await trio.sleep(self.seconds)
        finally:
            self.running.remove(alert.id)
        return self.ends(alert)

    @property
    def called(self) -> list[int]:
        return [number for number, _ in self.calls]


async def started(nursery: trio.Nursery, ledger: FakeLedger, command: FakeCommand) -> Dispatcher:
    dispatcher = Dispatcher(ledger, command, TIMEOUT_S, command.execute)
    await nursery.start(dispatcher.run)
    return dispatcher


async def test_another_timeout_counts_from_the_next_attempt_on(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    ledger, command = FakeLedger(), FakeCommand(lambda _: BADLY if len(command.calls) == 1 else WELL)
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(7)))
    await trio.sleep(0.5)
    dispatcher.timeout = 5.0
    await trio.sleep(LONG_S)
    assert command.timeouts == [TIMEOUT_S, 5.0]


async def test_an_alert_is_executed_and_then_recorded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger(), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(7)))
    await trio.sleep(0.9)
    assert command.argvs == [ARGV]
    assert ledger.attempts == []
    await trio.sleep(LONG_S)
    assert command.called == [7]
    assert command.timeouts == [TIMEOUT_S]
    assert ledger.attempts == [Attempt(7, WELL, Delivery.SENT)]
    assert ledger.reads == 1


async def test_what_an_earlier_daemon_left_is_sent_once_and_before_anything_new(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger([alert(1), alert(2), alert(3, "db")]), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(4)))
    await trio.sleep(LONG_S)
    assert [each for each in command.called if each != 3] == [1, 2, 4]
    assert sorted(command.called) == [1, 2, 3, 4]
    assert set(ledger.deliveries.values()) == {Delivery.SENT}


@pytest.mark.parametrize("committed_before_the_answer", [True, False])
async def test_what_comes_while_the_ledger_is_read_is_neither_lost_nor_sent_twice_nor_overtakes(
    committed_before_the_answer: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger([alert(1)]), FakeCommand()
    dispatcher = Dispatcher(ledger, command, TIMEOUT_S, command.execute)
    if committed_before_the_answer:
        ledger.commit(alert(2))

    async def slowly() -> None:
        await trio.sleep(5)

    ledger.before_answer = slowly
    dispatcher.submit(ledger.commit(alert(2)))
    nursery.start_soon(dispatcher.run)
    await trio.sleep(2)
    dispatcher.submit(ledger.commit(alert(3)))
    dispatcher.submit(ledger.commit(alert(4, "db")))
    await trio.sleep(LONG_S)
    assert [each for each in command.called if each != 4] == [1, 2, 3]
    assert sorted(command.called) == [1, 2, 3, 4]


async def test_failing_it_is_tried_again_after_longer_and_longer_waits_and_then_given_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger(), FakeCommand(lambda _: BADLY)
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(7)))
    await trio.sleep(LONG_S)
    assert [each.delivery for each in ledger.attempts] == [*[Delivery.PENDING] * 4, Delivery.FAILED]
    assert {each.execution for each in ledger.attempts} == {BADLY}
    times = [time for _, time in command.calls]
    waits = [after - before - command.seconds for before, after in pairwise(times)]
    assert waits == pytest.approx([1, 5, 30, 120])


async def test_what_somebody_has_acknowledged_meanwhile_is_not_tried_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger(), FakeCommand(lambda _: BADLY)
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(7)))
    dispatcher.submit(ledger.commit(alert(8)))
    await trio.sleep(3)
    ledger.hushed.add(7)
    await trio.sleep(LONG_S)
    assert command.called == [7, 7, 8, 8, 8, 8, 8]


async def test_attempts_of_an_earlier_daemon_count(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(7, attempts=3), alert(8, "db", attempts=9)]), FakeCommand(lambda _: BADLY)
    await started(nursery, ledger, command)
    await trio.sleep(LONG_S)
    assert [each for each in ledger.attempts if each.id == 7] == [
        Attempt(7, BADLY, Delivery.PENDING),
        Attempt(7, BADLY, Delivery.FAILED),
    ]
    assert [each for each in ledger.attempts if each.id == 8] == [Attempt(8, BADLY, Delivery.FAILED)]


@pytest.mark.parametrize("end", [Execution(None, "could not be started"), Execution(-15, "timed out"), BADLY])
async def test_only_exit_status_0_is_sent(end: Execution, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ends = [end, end, WELL]
    ledger, command = FakeLedger([alert(7)]), FakeCommand(lambda _: ends.pop(0))
    await started(nursery, ledger, command)
    await trio.sleep(LONG_S)
    assert [each.delivery for each in ledger.attempts] == [Delivery.PENDING, Delivery.PENDING, Delivery.SENT]


async def test_recovered_never_comes_before_its_drift(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    failures = [BADLY, BADLY]
    ledger = FakeLedger()
    command = FakeCommand(lambda each: failures.pop() if each.id == 1 and failures else WELL)
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(1)))
    dispatcher.submit(ledger.commit(alert(2, kind=AlertKind.RECOVERED)))
    await trio.sleep(LONG_S)
    assert command.called == [1, 1, 1, 2]


async def test_after_the_last_attempt_the_next_one_has_its_turn(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger(), FakeCommand(lambda each: BADLY if each.id == 1 else WELL)
    dispatcher = await started(nursery, ledger, command)
    dispatcher.submit(ledger.commit(alert(1)))
    dispatcher.submit(ledger.commit(alert(2)))
    await trio.sleep(LONG_S)
    assert command.called == [1] * 5 + [2]
    assert ledger.deliveries == {1: Delivery.FAILED, 2: Delivery.SENT}


async def test_failing_ones_do_not_hold_up_other_components(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger(), FakeCommand(lambda each: BADLY if each.id < 10 else WELL)
    dispatcher = await started(nursery, ledger, command)
    for number in range(10):
        dispatcher.submit(ledger.commit(alert(number, f"bad-{number}")))
    await trio.sleep(20)  # all of them wait for a later attempt
    assert not command.running
    begun = trio.current_time()
    dispatcher.submit(ledger.commit(alert(10)))
    # The same name in another service is another component.
    dispatcher.submit(ledger.commit(alert(11, "bad-0", service="mail")))
    await trio.sleep(command.seconds + 0.5)
    assert dict(command.calls[-2:]) == {10: pytest.approx(begun), 11: pytest.approx(begun)}
    assert ledger.deliveries[10] == ledger.deliveries[11] == Delivery.SENT


async def test_only_so_many_run_at_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger(), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    for number in range(40):
        dispatcher.submit(ledger.commit(alert(number, f"c-{number}")))
    await trio.sleep(LONG_S)
    assert command.most_running == 16
    assert sorted(command.called) == list(range(40))
    # No slot is idle while somebody waits for one.
    assert [time - command.calls[0][1] for _, time in command.calls] == pytest.approx([0] * 16 + [1] * 16 + [2] * 8)


async def test_one_that_is_on_its_way_is_not_taken_twice(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(1), alert(2)]), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    for _ in range(3):
        dispatcher.submit(alert(1))
        dispatcher.submit(alert(2))
        await trio.sleep(0.3)
    await trio.sleep(LONG_S)
    assert command.called == [1, 2]


async def test_the_command_is_asked_for_at_each_attempt(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger = FakeLedger([alert(1)])
    command = FakeCommand(lambda _: WELL if command.argvs[-1] == ("new",) else BADLY)
    await started(nursery, ledger, command)
    await trio.sleep(1.5)  # the first attempt has failed
    command.argv = ("new",)
    await trio.sleep(LONG_S)
    assert command.argvs == [ARGV, ("new",)]
    assert ledger.deliveries == {1: Delivery.SENT}


async def test_one_that_waits_for_its_turn_gets_the_command_of_its_turn(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ledger, command = FakeLedger(), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    for number in range(17):
        dispatcher.submit(ledger.commit(alert(number, f"c-{number}")))
    await trio.sleep(0.5)
    command.argv = ("new",)
    await trio.sleep(LONG_S)
    assert command.argvs == [*[ARGV] * 16, ("new",)]


async def test_without_a_command_an_alert_has_failed_at_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(1)]), FakeCommand()
    command.argv = ()
    await started(nursery, ledger, command)
    await wait_all_tasks_blocked()
    assert ledger.attempts == [
        Attempt(1, Execution(None, "no alert_command is configured, so nobody was notified"), Delivery.FAILED)
    ]
    await trio.sleep(LONG_S)
    assert len(ledger.attempts) == 1
    assert command.calls == []


class DiskFullError(Exception):
    pass


async def full() -> None:
    await trio.lowlevel.checkpoint()
    raise DiskFullError


async def test_an_attempt_that_cannot_be_recorded_ends_the_dispatcher(autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(1)]), FakeCommand()
    ledger.before_commit = full
    with pytest.raises(ExceptionGroup) as raised:
        with trio.fail_after(LONG_S):
            await Dispatcher(ledger, command, TIMEOUT_S, command.execute).run()
    assert raised.group_contains(DiskFullError)
    assert ledger.deliveries == {1: Delivery.PENDING}
    assert command.called == [1]


async def test_so_does_a_ledger_that_cannot_be_read(autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(1)]), FakeCommand()
    ledger.before_answer = full
    with pytest.raises(ExceptionGroup) as raised:
        with trio.fail_after(LONG_S):
            await Dispatcher(ledger, command, TIMEOUT_S, command.execute).run()
    assert raised.group_contains(DiskFullError)
    assert command.called == []


async def test_a_shutdown_does_not_forget_what_was_sent(autojump_clock: MockClock) -> None:
    ledger, command = FakeLedger([alert(1), alert(2)]), FakeCommand()
    recording = trio.Event()

    async def slowly() -> None:
        recording.set()
        await trio.sleep(5)

    ledger.before_commit = slowly
    async with trio.open_nursery() as nursery:
        await started(nursery, ledger, command)
        await recording.wait()
        nursery.cancel_scope.cancel()
    assert ledger.deliveries == {1: Delivery.SENT, 2: Delivery.PENDING}
    assert command.called == [1]


async def test_memory_is_bounded_and_nothing_is_lost(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 3)
    ledger, command = FakeLedger([alert(number) for number in range(5)]), FakeCommand()
    dispatcher = await started(nursery, ledger, command)
    for number in range(5, 20):
        dispatcher.submit(ledger.commit(alert(number)))
        assert [len(lane.waiting) for lane in dispatcher._lanes.values()] == [3]
    await trio.sleep(3.5)  # it reads the ledger again, and goes on
    dispatcher.submit(ledger.commit(alert(20)))
    await trio.sleep(LONG_S)
    assert command.called == list(range(21))
    assert dispatcher._lanes == {}


# Histories


async def test_nothing_is_lost_that_overflows_while_the_ledger_is_read(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 3)
    ledger, command = FakeLedger([alert(number) for number in range(3)]), FakeCommand()

    async def slowly() -> None:
        await trio.sleep(5)

    ledger.before_answer = slowly
    dispatcher = Dispatcher(ledger, command, TIMEOUT_S, command.execute)
    nursery.start_soon(dispatcher.run)
    await trio.sleep(2)
    for number in range(3):
        dispatcher.submit(ledger.alerts[number])
    dispatcher.submit(ledger.commit(alert(3)))
    await trio.sleep(LONG_S)
    assert command.called == [0, 1, 2, 3]


@given(st.data())
@settings(max_examples=3 * EXAMPLES)
def test_whatever_happens_every_alert_is_told_in_order_and_repeated_only_where_it_cannot_be_known(
    data: st.DataObject,
) -> None:
    """Daemons are killed at any moment, commands fail, and alerts come in bursts, some of them announced twice."""
    seconds = st.floats(0, 20, allow_nan=False)
    bursts = data.draw(
        st.lists(st.tuples(seconds, st.lists(st.sampled_from("abc"), max_size=8)), max_size=8), label="bursts"
    )
    crashes = data.draw(st.lists(st.floats(0.01, 60), max_size=3), label="lives")
    fails = data.draw(st.lists(st.booleans(), max_size=60), label="fails")
    ledger = FakeLedger()
    command = FakeCommand(lambda _: BADLY if fails and fails.pop() else WELL)

    async def slowly() -> None:
        await trio.sleep(0.1)

    ledger.before_answer = ledger.before_commit = slowly

    async def life(length: float) -> None:
        with trio.move_on_after(length):
            async with trio.open_nursery() as nursery:
                dispatcher = Dispatcher(ledger, command, TIMEOUT_S, command.execute)
                nursery.start_soon(dispatcher.run)
                while bursts:
                    wait, components = bursts.pop(0)
                    await trio.sleep(wait)
                    for component in components:
                        made = ledger.commit(alert(len(ledger.alerts), component))
                        dispatcher.submit(made)
                        dispatcher.submit(made)
                await trio.sleep_forever()

    async def main() -> None:
        for length in (*crashes, LONG_S):
            await life(length)

    most = module._MAX_WAITING
    module._MAX_WAITING = 2
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        module._MAX_WAITING = most
    assert Delivery.PENDING not in ledger.deliveries.values()
    assert command.most_running <= 16
    for component in "abc":
        ours = [number for number in command.called if ledger.alerts[number].component == component]
        assert ours == sorted(ours)
    for number in ledger.alerts:
        recorded = [each.delivery for each in ledger.attempts if each.id == number]
        assert recorded[:-1] == [Delivery.PENDING] * (len(recorded) - 1)
        assert len(recorded) <= 5
        assert 0 <= command.called.count(number) - len(recorded) <= len(crashes)
