"""What is kept of operations, and what a later daemon finds of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mcpd.errors import NotFoundError
from mcpd.model import Outcome, Progress, Result, Step, Target
from mcpd.registry.journal import Journal, State
from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from tests.support.builders import NOW, component, service

WEB = Target("web", "api")
LATER = NOW + timedelta(days=1)


@pytest.fixture
def journal(registry: Registry) -> Journal:
    return Journal(registry)


async def test_a_later_daemon_finds_what_is_open_with_what_it_found_and_decided(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as registry:
        journal = Journal(registry)
        done = await journal.begin(Target("blog"), "deploy", "ops", NOW)
        await journal.end(done, State.COMPLETED, "", LATER)
        left = await journal.begin(WEB, "deploy", "ops", NOW)
        await journal.decide(left, '{"any": "thing"}')
        await journal.take(left, Progress(NOW, "api", Step.CREATE, "creating it"))
        await journal.take(left, Progress(NOW, "api", Step.START, "starting it"))
    async with Registry.open(tmp_path / "mcp.db") as registry:
        (found,) = await Journal(registry).open()
    assert (found.id, found.target, found.kind, found.caller) == (left, WEB, "deploy", "ops")
    assert (found.plan, found.committed, found.state, found.step) == (
        '{"any": "thing"}',
        False,
        State.RUNNING,
        "start api",
    )


async def test_a_deploy_counts_with_intent_events_and_its_own_mark_or_not_at_all(
    journal: Journal, registry: Registry
) -> None:
    web = service(component("api"))
    number = await journal.begin(Target("web"), "deploy", "ops", NOW)
    await journal.commit(number, web, {"api": spec_hash(component("api"))}, [("api", "v1")], "ops", NOW)
    (found,) = await journal.open()
    recorded = await registry.service("web")
    assert found.committed
    assert recorded is not None
    assert recorded.components[0].deployed == component("api")
    assert [(each.kind, each.message, each.caller) for each in await registry.events()] == [("deployed", "v1", "ops")]


async def test_an_operation_is_told_again_step_by_step(journal: Journal) -> None:
    number = await journal.begin(WEB, "stop", "ops", NOW)
    step = Progress(NOW, "api", Step.STOP, "stopping web-api")
    await journal.take(number, step)
    await journal.conclude(number, [Outcome("api", Result.STOPPED, "by hand")], NOW)
    await journal.end(number, State.COMPLETED, "", LATER)
    record, reports = await journal.operation(number)
    assert (record.state, record.started_at, record.ended_at) == (State.COMPLETED, NOW, LATER)
    assert reports == (step, Outcome("api", Result.STOPPED, "by hand"))


async def test_an_operation_that_was_never_is_not_found(journal: Journal) -> None:
    with pytest.raises(NotFoundError, match="no operation 7"):
        await journal.operation(7)


async def test_the_newest_are_listed_oldest_first(journal: Journal) -> None:
    numbers = [await journal.begin(Target(name), "stop", "ops", NOW) for name in ("a", "b", "a", "a")]
    await journal.end(numbers[2], State.FAILED, "no", LATER)
    assert [each.id for each in await journal.newest(limit=2)] == numbers[2:]
    assert [each.id for each in await journal.newest("a")] == [numbers[0], numbers[2], numbers[3]]
    assert [each.id for each in await journal.newest("a", running_only=True)] == [numbers[0], numbers[3]]


async def test_what_ended_long_ago_goes_with_its_steps_and_what_is_open_stays(
    journal: Journal, registry: Registry
) -> None:
    old, still_open = [await journal.begin(WEB, "stop", "ops", NOW) for _ in range(2)]
    for number in (old, still_open):
        await journal.take(number, Progress(NOW, "api", Step.STOP, ""))
    await journal.end(old, State.COMPLETED, "", NOW)
    assert await journal.prune(LATER) == 1
    assert [each.id for each in await journal.newest()] == [still_open]
    count = await registry.ask(lambda db: db.execute("SELECT count(*) FROM steps").fetchone()[0])
    assert count == 1
