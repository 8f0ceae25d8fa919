"""Tokens of MCIAS: what is remembered, and for how long."""

from datetime import timedelta

import pytest
import trio
import trio.testing

from mcpd.errors import UnauthenticatedError, UnavailableError
from mcpd.identity import mcias
from mcpd.identity.mcias import CACHE_S, RENEW_S, Mcias
from tests.support import mcias_process
from tests.support.clock import Clock
from tests.support.mcias_client import VALIDATE, now
from tests.support.waiting import until


async def test_what_was_asked_is_known_for_the_cache_time_and_no_longer(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    assert asked.known(token, now()) is None
    before = server.requests(VALIDATE)
    caller = await asked.caller(token, now())
    clock.now += CACHE_S - 0.1
    assert asked.known(token, now()) == caller
    assert await asked.caller(token, now()) == caller
    assert server.requests(VALIDATE) == before + 1
    clock.now += 0.1
    assert asked.known(token, now()) is None
    assert await asked.caller(token, now()) == caller
    assert server.requests(VALIDATE) == before + 2


def test_the_cache_time_is_what_the_design_allows() -> None:
    assert CACHE_S <= 30


async def test_a_revoked_token_stops_working_when_the_cache_time_is_over(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    await asked.caller(token, now())
    server.logout(token)
    clock.now += CACHE_S
    assert asked.known(token, now()) is None
    with pytest.raises(UnauthenticatedError):
        await asked.caller(token, now())


async def test_for_a_call_that_goes_on_mcias_is_asked_early(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    before = server.requests(VALIDATE)
    clock.now += RENEW_S - 0.1
    assert await asked.again(token, now()) == caller
    assert server.requests(VALIDATE) == before
    clock.now += 0.1
    assert await asked.again(token, now()) == caller
    assert server.requests(VALIDATE) == before + 1
    server.logout(token)
    clock.now += RENEW_S
    with pytest.raises(UnauthenticatedError):
        await asked.again(token, now())
    # What is known to be revoked is not believed for the rest of the cache time.
    assert asked.known(token, now()) is None


async def test_a_call_goes_on_while_mcias_is_down_and_only_for_the_cache_time(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    server.stop()
    clock.now += CACHE_S - 0.1
    assert await asked.again(token, now()) == caller
    clock.now += 0.1
    with pytest.raises(UnavailableError):
        await asked.again(token, now())


async def test_nothing_is_remembered_past_the_tokens_own_end(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    assert caller.expires_at is not None
    assert asked.known(token, caller.expires_at - timedelta(seconds=1)) == caller
    assert asked.known(token, caller.expires_at) is None


async def test_an_answer_is_as_old_as_its_question(server: mcias_process.Mcias, asked: Mcias, clock: Clock) -> None:
    token = server.token("operator")
    server.mood("slow 0.3")
    before = server.requests(VALIDATE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.caller, token, now())
        await trio.to_thread.run_sync(until, lambda: server.requests(VALIDATE) > before)
        clock.now += CACHE_S
    assert asked.known(token, now()) is None


async def test_what_failed_is_asked_again(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    server.mood("500")
    with pytest.raises(UnavailableError):
        await asked.caller(token, now())
    assert asked.known(token, now()) is None
    server.mood()
    assert (await asked.caller(token, now())).name == "operator"


async def test_a_known_token_works_while_mcias_is_down_and_only_for_the_cache_time(
    server: mcias_process.Mcias, asked: Mcias, clock: Clock
) -> None:
    token = server.token("operator")
    caller = await asked.caller(token, now())
    server.stop()
    assert asked.known(token, now()) == caller
    clock.now += CACHE_S
    with pytest.raises(UnavailableError):
        await asked.caller(token, now())


async def test_of_too_many_tokens_the_oldest_gives_way(
    server: mcias_process.Mcias, asked: Mcias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcias, "MOST_CACHED", 2)
    tokens = [server.token("operator") for _ in range(3)]
    for token in tokens:
        await asked.caller(token, now())
    assert [asked.known(token, now()) is not None for token in tokens] == [False, True, True]


async def test_no_token_stays_in_memory(server: mcias_process.Mcias, asked: Mcias) -> None:
    token = server.token("operator")
    await asked.caller(token, now())
    assert asked.known(token, now()) is not None
    assert token not in repr(vars(asked))
