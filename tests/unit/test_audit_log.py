"""Calls are kept soon, in their order, and none is lost at the end."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mcpd.registry import audit
from mcpd.registry.audit import AuditEntry, AuditLog
from mcpd.registry.store import Registry
from tests.support.builders import NOW
from tests.support.waiting import DEADLINE_S


def entry(number: int, caller: str = "ops", method: str = "Deploy") -> AuditEntry:
    at = NOW + timedelta(minutes=number)
    return AuditEntry(at, method, caller, "admin", "10.0.0.1:1", f"s{number}", "OK", timedelta(milliseconds=number))


async def kept(registry: Registry, *entries: AuditEntry) -> AuditLog:
    """A log that was told of these and has ended."""
    log = AuditLog(registry)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        for each in entries:
            log.note(each)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return log


async def test_what_was_noted_is_kept_at_the_end_at_the_latest(registry: Registry) -> None:
    log = await kept(registry, entry(1), entry(2))
    found = await log.entries()
    assert [(each.id, each.target, each.duration) for each in found] == [
        (1, "s1", timedelta(milliseconds=1)),
        (2, "s2", timedelta(milliseconds=2)),
    ]
    assert found[0].at == entry(1).at


async def test_what_was_noted_is_kept_soon(registry: Registry, nursery: trio.Nursery) -> None:
    log = AuditLog(registry)
    nursery.start_soon(log.run)
    log.note(entry(1))
    with trio.fail_after(DEADLINE_S):
        while not await log.entries():
            await wait_all_tasks_blocked(0.01)


async def test_entries_are_found_by_time_caller_and_method(registry: Registry) -> None:
    log = await kept(registry, entry(1, "ops"), entry(2, "board"), entry(3, "ops", "Plan"))
    assert [each.target for each in await log.entries(since=entry(2).at)] == ["s2", "s3"]
    assert [each.target for each in await log.entries(caller="ops")] == ["s1", "s3"]
    assert [each.target for each in await log.entries(caller="ops", method="Plan")] == ["s3"]
    assert [each.target for each in await log.entries(limit=2)] == ["s2", "s3"]
    assert [each.target for each in await log.entries(after=1, limit=1)] == ["s2"]


async def test_memory_is_bounded_and_what_is_missing_is_counted(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "_MAX_WAITING", 3)
    log = await kept(registry, *(entry(number) for number in range(5)))
    assert len(await log.entries()) == 3
    assert "calls are missing in the audit table" in capsys.readouterr().out


async def test_what_is_old_goes(registry: Registry) -> None:
    log = await kept(registry, entry(1), entry(2), entry(3))
    assert await log.prune(entry(3).at) == 2
    assert [each.target for each in await log.entries()] == ["s3"]


async def test_who_follows_is_told_what_is_written_as_it_is_written_and_of_nothing_else(
    registry: Registry, nursery: trio.Nursery
) -> None:
    await kept(registry, entry(1), entry(2, "board"))
    log = AuditLog(registry)
    nursery.start_soon(log.run)
    questions = 0
    ask = registry.ask

    async def counted(question: Any) -> Any:
        nonlocal questions
        questions += 1
        return await ask(question)

    registry.ask = counted  # type: ignore[method-assign]
    with trio.fail_after(DEADLINE_S):
        async with contextlib.aclosing(log.follow(0, "board", "", 10)) as news:
            waiting: list[list[AuditEntry]] = []

            async def wait() -> None:
                waiting.append(await anext(news))

            async with trio.open_nursery() as asking:
                asking.start_soon(wait)
                while questions < 2:
                    await wait_all_tasks_blocked()
                idle = questions
                # Nobody asks while nothing is written.
                await trio.sleep(3 * audit._PAUSE_S)
                assert questions == idle
                log.note(entry(3))
                log.note(entry(4, "board"))
            assert [[each.target for each in batch] for batch in waiting] == [["s4"]]


async def test_who_follows_from_a_place_is_told_all_behind_it_in_batches(registry: Registry) -> None:
    log = await kept(registry, *(entry(number) for number in range(1, 6)))
    async with contextlib.aclosing(log.follow(1, "", "", 2)) as news:
        assert [[each.id for each in await anext(news)] for _ in range(2)] == [[2, 3], [4, 5]]
    async with contextlib.aclosing(log.follow(2, "ops", "Deploy", 9)) as news:
        assert [each.id for each in await anext(news)] == [3, 4, 5]
    assert await log.newest() == 5
