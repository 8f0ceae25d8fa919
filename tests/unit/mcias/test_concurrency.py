"""Tokens of MCIAS: many callers at once."""

import pytest
import trio
import trio.testing

from mcpd.errors import UnauthenticatedError, UnavailableError
from mcpd.identity.mcias import MOST_AT_ONCE, Mcias
from tests.support import mcias_process
from tests.support.builders import NOW
from tests.support.mcias_client import VALIDATE, now
from tests.support.waiting import until


async def test_fifty_who_ask_for_one_token_at_once_make_one_request(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    server.mood("slow 0.2")
    before, callers = server.requests(VALIDATE), []

    async def ask() -> None:
        callers.append(await asked.caller(token, now()))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert [each.name for each in callers] == ["operator"] * 50
    assert server.requests(VALIDATE) == before + 1


async def test_fifty_who_ask_for_one_bad_token_at_once_share_the_refusal(
    server: mcias_process.Mcias, asked: Mcias
) -> None:
    server.mood("slow 0.2")
    before, refusals = server.requests(VALIDATE), []

    async def ask() -> None:
        with pytest.raises(UnauthenticatedError) as refused:
            await asked.caller("x", now())
        refusals.append(refused.value)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert len({id(each) for each in refusals}) == 50, "one error object, raised in many tasks, collects tracebacks"
    assert server.requests(VALIDATE) == before + 1


@pytest.mark.parametrize("leaves", ["the first", "another"])
async def test_who_stops_waiting_takes_nothing_from_the_others(
    server: mcias_process.Mcias, asked: Mcias, leaves: str
) -> None:
    token = server.token("operator")
    server.mood("slow 0.3")
    before, callers = server.requests(VALIDATE), []

    async def ask() -> None:
        callers.append(await asked.caller(token, now()))

    async def leave() -> None:
        with trio.move_on_after(0.1):
            await ask()

    with trio.fail_after(3):
        async with trio.open_nursery() as nursery:
            for task in (leave, ask) if leaves == "the first" else (ask, leave):
                nursery.start_soon(task)
                await trio.testing.wait_all_tasks_blocked()
    assert [each.name for each in callers] == ["operator"]
    assert server.requests(VALIDATE) == before + 1


async def test_never_are_too_many_requests_under_way(server: mcias_process.Mcias, asked: Mcias) -> None:
    server.mood("slow 30")
    before = server.requests(VALIDATE)
    async with trio.open_nursery() as crowd:
        for number in range(3 * MOST_AT_ONCE):
            crowd.start_soon(asked.caller, f"token {number}", NOW)
        await trio.to_thread.run_sync(until, lambda: server.requests(VALIDATE) >= before + MOST_AT_ONCE)
        await trio.sleep(0.3)
        assert server.requests(VALIDATE) == before + MOST_AT_ONCE
        crowd.cancel_scope.cancel()


async def test_who_waits_at_the_shutdown_is_told_so(server: mcias_process.Mcias) -> None:
    server.mood("slow 5")
    before = server.requests(VALIDATE)

    async def ask(connected: Mcias) -> None:
        with pytest.raises(UnavailableError, match="shutting down"):
            await connected.caller("x", now())

    async with trio.open_nursery() as outer:
        async with Mcias.connect(server.url, server.ca) as connected:
            outer.start_soon(ask, connected)
            await trio.to_thread.run_sync(until, lambda: server.requests(VALIDATE) > before)
