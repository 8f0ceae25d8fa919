"""Cancelling a deploy: until it is committed, wherever it is, all of it is taken back; and after that nothing is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mcpd.changes.cancelling import cancelled, canceller
from mcpd.changes.crash_recovery import take_up_what_was_left
from mcpd.changes.deploy import Deploy
from mcpd.changes.node import Node
from mcpd.changes.operations import CancelledError, Operation, Operations, RevertedError
from mcpd.changes.plan import plan_deploy
from mcpd.errors import McpdError, NotFoundError, RefusedError, UnavailableError
from mcpd.model import Caller, Progress, Role, Step, Target
from mcpd.registry.journal import Journal, State
from mcpd.registry.store import Registry
from mcpd.rpc.operations import OperationMethods
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.podman import Podman
from monitor.model import Sighting
from protos.mcp import v1 as wire
from tests.support.builders import NO_CONFIGS, component, container, service
from tests.support.pretended_podman import PretendedPodman
from tests.support.routes import no_proxy

OPS, KYLE = Caller("ops", Role.ADMIN), Caller("kyle", Role.ADMIN)
WEB = Target("web")
# Far more than anything here needs; a test that gets there has failed.
DEADLINE_S = 10

BEFORE = component(image="app:v0")
WANTED = service(component(image="app:v1"))


class SlowPodman(PretendedPodman):
    """Stands still at one of its calls until it is let on; ``is_there`` tells that it does."""

    def __init__(self, *containers: Any, at: str = "") -> None:
        super().__init__(*containers)
        self.at = at
        self.is_there, self.goes_on = trio.Event(), trio.Event()

    async def _pass(self, call: str) -> None:
        if call == self.at:
            self.is_there.set()
            await self.goes_on.wait()

    async def has_image(self, reference: str, platform: str = "") -> bool:
        return self.at != "pull"

    async def pull(self, reference: str, policy: str = "always", platform: str = "") -> AsyncGenerator[str, None]:
        await self._pass("pull")
        yield "done"

    async def create(self, spec: Mapping[str, Any]) -> str:
        await self._pass("create")
        return await super().create(spec)

    async def stop(self, name: str, timeout: timedelta) -> None:
        await self._pass("stop")
        await super().stop(name, timeout)

    async def remove(self, name: str) -> None:
        await self._pass("remove")
        await super().remove(name)

    async def inspect(self, name: str) -> Inspected:
        """The first thing that is asked of a container that was started: it never gets healthy."""
        await self._pass("inspect")
        raise UnavailableError("no answer")


class SlowJournal(Journal):
    """Stands still before it commits."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.is_there, self.goes_on = trio.Event(), trio.Event()

    async def commit(self, *arguments: Any) -> None:
        self.is_there.set()
        await self.goes_on.wait()
        await super().commit(*arguments)


class Bench:
    """A node with one deploy on it."""

    def __init__(self, nursery: trio.Nursery, registry: Registry, podman: PretendedPodman, journal: Journal) -> None:
        started, _ = trio.open_memory_channel[Sighting](1)
        self.registry, self.journal = registry, journal
        self.node = Node(
            "rift", cast(Podman, podman), registry, journal, started, NO_CONFIGS, no_proxy(registry, podman)
        )
        self.operations = Operations(nursery, journal)
        self.methods = OperationMethods("rift", journal, self.operations)

    async def deploy(self) -> Operation:
        async def body(operation: Operation) -> None:
            await Deploy(self.node, operation).run(WANTED, frozenset({"api"}))

        return await self.operations.start("deploy", WEB, OPS, body)

    async def cancel(self, number: int, caller: Caller = KYLE) -> wire.OperationInfo:
        answer = await self.methods.cancel_operation(wire.CancelOperationRequest(id=number), caller)
        return answer.operation

    async def events(self) -> list[tuple[str, str, str]]:
        return [(each.kind, each.caller, each.message) for each in await self.registry.events("web")]


REVERTED = "deploy of web: cancelled by kyle; the service was rolled back"


@pytest.mark.parametrize("at", ["pull", "inspect"])
async def test_a_deploy_that_waits_is_cut_off_and_everything_is_as_it_was(
    nursery: trio.Nursery, registry: Registry, at: str
) -> None:
    old = container(BEFORE)
    podman = SlowPodman(old, at=at)
    bench = Bench(nursery, registry, podman, Journal(registry))
    with trio.fail_after(DEADLINE_S):
        operation = await bench.deploy()
        await podman.is_there.wait()
        ended = await bench.cancel(operation.id)
        assert (ended.state, ended.message) == ("reverted", REVERTED)
        # Whoever watches it is told by whom.
        with pytest.raises(RevertedError, match="cancelled by kyle"):
            await operation.finished()
    assert podman.found == {old.name: old}
    assert await registry.service("web") is None
    assert await bench.events() == [("reverted", "kyle", REVERTED)]
    _, reports = await bench.journal.operation(operation.id)
    assert canceller(reports) == "kyle"
    assert bench.operations.running == ()


@pytest.mark.parametrize("at", ["create", "stop"])
async def test_a_step_that_was_begun_is_ended_before_anything_is_taken_back(
    nursery: trio.Nursery, registry: Registry, at: str
) -> None:
    old = container(BEFORE)
    podman = SlowPodman(old, at=at)
    bench = Bench(nursery, registry, podman, Journal(registry))
    ended: list[wire.OperationInfo] = []

    async def cancel() -> None:
        ended.append(await bench.cancel(operation.id))

    with trio.fail_after(DEADLINE_S):
        operation = await bench.deploy()
        await podman.is_there.wait()
        async with trio.open_nursery() as callers:
            callers.start_soon(cancel)
            await wait_all_tasks_blocked()
            # A second time is like the first, and another name changes nothing.
            callers.start_soon(bench.cancel, operation.id, OPS)
            await wait_all_tasks_blocked()
            assert not ended
            podman.goes_on.set()
    assert ended[0].message == REVERTED
    assert podman.found == {old.name: old}


async def test_a_deploy_that_is_being_committed_goes_on_and_the_canceller_is_told(
    nursery: trio.Nursery, registry: Registry
) -> None:
    podman, journal = PretendedPodman(), SlowJournal(registry)
    bench = Bench(nursery, registry, podman, journal)
    stopped = service(component(image="app:v1"), active=False)

    async def body(operation: Operation) -> None:
        await Deploy(bench.node, operation).run(stopped, frozenset({"api"}))

    with trio.fail_after(DEADLINE_S):
        operation = await bench.operations.start("deploy", WEB, OPS, body)
        await journal.is_there.wait()
        with pytest.raises(RefusedError, match=rf"operation {operation.id} cannot be cancelled: .*past its commit"):
            await bench.cancel(operation.id)
        journal.goes_on.set()
        await operation.finished()
        with pytest.raises(RefusedError, match=r"has ended and cannot be cancelled; it is completed"):
            await bench.cancel(operation.id)
    assert len(podman.found) == 1


async def test_who_cancels_in_the_last_moment_before_the_commit_is_not_forgotten(registry: Registry) -> None:
    operation = Operation(1, "deploy", WEB, OPS, datetime.now(UTC), Journal(registry))
    with pytest.raises(CancelledError, match=r"^cancelled by kyle$"), operation.revocable():
        # No checkpoint follows: there is nothing left to cut off.
        operation.cancel("kyle")


async def test_a_deploy_that_has_not_begun_touches_nothing(nursery: trio.Nursery, registry: Registry) -> None:
    bench = Bench(nursery, registry, PretendedPodman(), Journal(registry))
    with trio.fail_after(DEADLINE_S):
        operation = await bench.deploy()
        ended = await bench.cancel(operation.id)
    assert (ended.state, ended.message) == (
        "reverted",
        "deploy of web: cancelled by kyle, before anything was changed",
    )
    assert await registry.service("web") is None


async def test_a_deploy_that_is_being_taken_back_already_says_so(nursery: trio.Nursery, registry: Registry) -> None:
    podman = SlowPodman(at="remove")
    bench = Bench(nursery, registry, podman, Journal(registry))
    with trio.fail_after(DEADLINE_S):
        operation = await bench.deploy()  # fails at its first question, and is taken back
        await podman.is_there.wait()
        with pytest.raises(RefusedError, match="it has failed, and is already being rolled back"):
            await bench.cancel(operation.id)
        podman.goes_on.set()
        with pytest.raises(RefusedError, match="failed at verify"):
            await operation.finished()


@pytest.mark.parametrize(
    ("kind", "instead"),
    [("start", "`mcpctl stop web --wait`"), ("stop", "`mcpctl start web --wait`"), ("sync", "ends on its own")],
)
async def test_what_is_no_deploy_is_refused_and_goes_on(
    nursery: trio.Nursery, registry: Registry, kind: str, instead: str
) -> None:
    bench = Bench(nursery, registry, PretendedPodman(), Journal(registry))
    gate = trio.Event()

    async def body(_: Operation) -> None:
        await gate.wait()

    with trio.fail_after(DEADLINE_S):
        operation = await bench.operations.start(kind, WEB, OPS, body)
        with pytest.raises(RefusedError, match=f"only a deploy can be rolled back.*{instead}"):
            await bench.cancel(operation.id)
        gate.set()
        await operation.finished()


async def test_a_number_that_no_operation_has_is_unknown(nursery: trio.Nursery, registry: Registry) -> None:
    bench = Bench(nursery, registry, PretendedPodman(), Journal(registry))
    for number in (0, 17):
        with pytest.raises(NotFoundError, match="no operation"):
            await bench.cancel(number)


async def test_a_daemon_killed_while_it_took_a_cancelled_deploy_back_ends_it_as_cancelled(
    nursery: trio.Nursery, registry: Registry
) -> None:
    old = container(BEFORE)
    journal = Journal(registry)
    number = await journal.begin(WEB, "deploy", "ops", datetime.now(UTC))
    plan = plan_deploy(WANTED, frozenset({"api"}), [old])
    await journal.decide(number, msgspec.json.encode(plan).decode())
    await journal.take(number, Progress(datetime.now(UTC), "", Step.CANCEL, cancelled("kyle")))
    bench = Bench(nursery, registry, PretendedPodman(old), journal)
    with trio.fail_after(DEADLINE_S):
        await take_up_what_was_left(bench.node, bench.operations)
        (operation,) = bench.operations.running
        with pytest.raises(RefusedError, match="recovering it on its own"):
            operation.cancel("ops")
        with suppress(McpdError):
            await operation.finished()
        await wait_all_tasks_blocked()
    record, _ = await journal.operation(number)
    assert (record.state, record.message) == (State.REVERTED, REVERTED)
    assert await bench.events() == [("reverted", "kyle", REVERTED)]
